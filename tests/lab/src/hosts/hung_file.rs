//! A file on a file system that never answers.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::probe::Service;

/// Opcode `FUSE_INIT` of linux/fuse.h.
const INIT: u32 = 26;
/// Length of `struct fuse_in_header`.
const REQUEST_HEADER: usize = 40;
/// Length of `struct fuse_out_header`.
const REPLY_HEADER: u32 = 16;
/// The version of the protocol, which every kernel since 5.3 supports.
const VERSION: [u32; 2] = [7, 31];
/// Time between two looks for requests.
const PACE: Duration = Duration::from_millis(1);

/// A FUSE file system of one file, whose server takes every request and answers none. A process that looks at the file
/// blocks until this is dropped and cannot be killed, so drop this before anything that waits for such a process to
/// end.
#[derive(Debug)]
pub struct HungFile {
    server: Service,
    _directory: TempDir,
    path: PathBuf,
}

impl HungFile {
    /// Mounts a file system with one file, and hangs from then on.
    pub fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-")?;
        let path = directory.path().join("hung");
        fs::write(&path, "")?;
        let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/fuse");
        let mut device = device.context("cannot open /dev/fuse")?;
        let options = format!("fd={},rootmode=100644,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("hung"), &path, Some("fuse"), flags, Some(options.as_str()))?;
        let answered = answer_init(&mut device);
        let server = Service::start(move |stop| {
            let mut request = vec![0; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                if device.read(&mut request).is_err() {
                    thread::sleep(PACE);
                }
            }
        });
        let this = Self { server, _directory: directory, path };
        answered.map(|()| this)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HungFile {
    fn drop(&mut self) {
        // The server closes the device, and everything that waits for an answer gets an error.
        self.server.finish();
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

fn answer_init(device: &mut File) -> Result<()> {
    let mut request = vec![0; 1 << 16];
    let length = device.read(&mut request)?;
    let word = |at: usize| request.get(at..at + 4).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    ensure!(length >= REQUEST_HEADER && word(4) == Some(INIT), "the first request is not FUSE_INIT");
    // `struct fuse_init_out`: the version, and zeros where the kernel may choose.
    let body: Vec<u8> = VERSION.into_iter().chain([0; 14]).flat_map(u32::to_ne_bytes).collect();
    let length = REPLY_HEADER + u32::try_from(body.len())?;
    let reply = [&length.to_ne_bytes(), &0_u32.to_ne_bytes(), &request[8..16], &*body].concat();
    Ok(device.write_all(&reply)?)
}
