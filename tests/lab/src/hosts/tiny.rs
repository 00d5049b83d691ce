//! A directory on a small file system of its own that a test can fill up, as /run may be.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::probe::Service;

/// Each directory is called `xv-PID-NUMBER-run`.
const PREFIX: &str = "xv-";
const SUFFIX: &str = "-run";
/// The parent of these directories.
const PLACE: &str = "/tmp";

/// Time between two attempts of the filler to take what has become free.
const PACE: Duration = Duration::from_millis(1);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What the file system has run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// All blocks are in use.
    Space,
    /// All inodes are in use, so no file can be created.
    Inodes,
}

/// A directory that is removed with its content when this is dropped.
#[derive(Debug)]
pub struct TinyDirectory {
    path: PathBuf,
    /// Takes whatever becomes free.
    filler: Mutex<Option<Service>>,
}

impl TinyDirectory {
    /// Mounts a tmpfs of 256 KiB with 64 inodes.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(PLACE).join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        fs::create_dir(&path)?;
        let options = "size=256k,nr_inodes=64,mode=0755";
        let mounted = mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options));
        let this = Self { path, filler: Mutex::default() };
        mounted.with_context(|| format!("cannot mount a tmpfs on {}", this.path.display()))?;
        Ok(this)
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Uses up what is left, and from now on whatever becomes free. An agent that removes a file cannot create it
    /// again.
    pub fn fill(&self, shortage: Shortage) -> Result<()> {
        let directory = self.place_of_filler();
        fs::create_dir(&directory)?;
        let mut taken = Taken { directory, shortage, files: 0 };
        let full = taken.take().context("the file system never gets full")?;
        ensure!(full.kind() == io::ErrorKind::StorageFull, "cannot fill the file system: {full}");
        let service = Service::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(PACE);
                // An error means that the file system is full again, or that this is about to be dropped.
                let _ = taken.take();
            }
        });
        *self.filler.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        Ok(())
    }

    /// Undoes [`Self::fill`].
    pub fn empty(&self) -> Result<()> {
        *self.filler.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(fs::remove_dir_all(self.place_of_filler())?)
    }

    /// Makes the file system read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let flags = if read_only { MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY } else { MsFlags::MS_REMOUNT };
        Ok(mount(None::<&str>, &self.path, None::<&str>, flags, None::<&str>)?)
    }

    fn place_of_filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for TinyDirectory {
    fn drop(&mut self) {
        *self.filler.lock().unwrap_or_else(PoisonError::into_inner) = None;
        remove(&self.path);
    }
}

/// What the filler has taken.
struct Taken {
    directory: PathBuf,
    shortage: Shortage,
    files: u32,
}

impl Taken {
    /// Takes everything that is left, and returns the error that shows that there is no more.
    fn take(&mut self) -> Option<io::Error> {
        match self.shortage {
            Shortage::Inodes => (self.files..).find_map(|number| {
                let made = File::create(self.directory.join(format!("{number}")));
                self.files = number + u32::from(made.is_ok());
                made.err()
            }),
            Shortage::Space => {
                let mut big = match File::options().create(true).append(true).open(self.directory.join("big")) {
                    Ok(big) => big,
                    Err(error) => return Some(error),
                };
                // One page at a time, so that none is left.
                (0..).find_map(|_: u32| big.write_all(&[0; 4096]).err())
            }
        }
    }
}

fn remove(path: &Path) {
    // Detached, since a process that is about to end may have a file open there. The mount may also have failed.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    if let Err(error) = fs::remove_dir(path) {
        eprintln!("cannot remove {}: {error}", path.display());
    }
}

/// Removes the directories that killed test processes have left.
pub(crate) fn sweep() {
    for entry in fs::read_dir(PLACE).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let middle = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        let owner = middle.and_then(|middle| middle.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_removed_from_a_full_directory_cannot_be_created_again() {
        let tiny = TinyDirectory::new().expect("a tmpfs");
        let file = tiny.path().join("file");
        fs::write(&file, "x").expect("there is room");
        tiny.fill(Shortage::Inodes).expect("a full directory");
        fs::remove_file(&file).expect("the file is there");
        let taken = || File::create(&file).map(|_| fs::remove_file(&file)).err().ok_or("the file can be created");
        crate::eventually("the filler takes the inode", crate::PATIENCE, taken).expect("no inode is left");
    }

    #[test]
    fn a_full_directory_takes_nothing_until_it_is_emptied() {
        let tiny = TinyDirectory::new().expect("a tmpfs");
        let file = tiny.path().join("file");
        for shortage in [Shortage::Inodes, Shortage::Space] {
            tiny.fill(shortage).expect("a full directory");
            assert!(fs::write(&file, "x").is_err(), "there is room in spite of a shortage of {shortage:?}");
            // If only space is missing, the file was created.
            let _ = fs::remove_file(&file);
            tiny.empty().expect("an empty directory");
            fs::write(&file, "x").expect("there is room");
            fs::remove_file(&file).expect("the file is there");
        }
        let path = tiny.path().to_owned();
        drop(tiny);
        assert!(!path.exists(), "{} is still there", path.display());
    }
}
