//! Runs the guest: makes its initial file system, boots it, and reads its console until it ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::image::Image;
use crate::process::{check, workspace};

pub const QEMU: &str = "qemu-system-x86_64";
/// Directory in the guest where it sees the host's programs.
pub const PROGRAMS: &str = "/target";
/// Time limit of the whole run, boot included. On two cores, a run takes one to two minutes.
const DEADLINE: Duration = Duration::from_mins(10);
/// Number of network cards, which are all on one segment.
const CARDS: u8 = 3;
/// Last line that `scripts/guest-init` prints if all commands have succeeded.
const PASSED: &str = "guest: passed";

/// Modules that the guest needs, as paths below `kernel` without suffix. Not every kernel has all of them.
const MODULES: &[&str] = &[
    "drivers/net/net_failover",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/virtio_net",
    "drivers/virtio",
    "fs/9p",
    "fs/fscache",
    "fs/netfs",
    "net/802",
    "net/9p",
    "net/bridge",
    "net/core",
    "net/llc",
    "net/sched",
];

/// Boots the kernel and runs the commands in the guest. Prints the guest's console. Fails unless all commands succeed.
pub fn run(image: &Image, commands: &[String]) -> Result<()> {
    let initial = initial_file_system(image, commands)?;
    let mut guest = Guest(start(image, &initial)?);
    let console = guest.0.stdout.take().context("the console is a pipe")?;
    let (lines, console_lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + DEADLINE;
    let mut passed = false;
    loop {
        match console_lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                passed |= line == PASSED;
                println!("{line}");
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => bail!("the guest did not end within {DEADLINE:?}"),
        }
    }
    let status = guest.0.wait().context("cannot wait for qemu")?;
    if !passed {
        bail!("the tests in the guest have failed (qemu: {status}); see its console above");
    }
    Ok(())
}

/// Process of qemu, which is killed when this is dropped.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // The guest may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(image: &Image, initial: &Path) -> Result<Child> {
    let mut qemu = Command::new(QEMU);
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G"]);
    qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(initial);
    // A kernel that panics ends the guest.
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off"]);
    for (tag, path) in [("usr", PathBuf::from("/usr")), ("programs", super::directories::shared())] {
        let options = "security_model=none,readonly=on,multidevs=remap";
        // qemu's options need commas doubled.
        let path = path.display().to_string().replace(',', ",,");
        qemu.arg("-virtfs").arg(format!("local,path={path},mount_tag={tag},{options}"));
    }
    for card in 0..CARDS {
        qemu.arg("-netdev").arg(format!("hubport,id=segment{card},hubid=0"));
        // Before Linux 6.2, the driver refuses XDP programs while the card may merge segments.
        let merging = "guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
        let mac = format!("52:54:00:00:00:{:02x}", card + 2);
        qemu.arg("-device").arg(format!("virtio-net-pci,netdev=segment{card},mac={mac},romfile=,{merging}"));
    }
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu.spawn().with_context(|| format!("cannot run {qemu:?}"))
}

/// Makes an archive of the first program, its commands and the modules that it needs.
fn initial_file_system(image: &Image, commands: &[String]) -> Result<PathBuf> {
    let root = image.directory.join("initial");
    let _ = fs::remove_dir_all(&root);
    let release = image.modules.file_name().context("the directory of modules has the name of their release")?;
    let modules = root.join("lib/modules").join(release);
    for &module in MODULES {
        copy_modules(&image.modules.join("kernel").join(module), &modules.join("kernel").join(module))?;
    }
    for list in ["modules.builtin", "modules.order"] {
        fs::copy(image.modules.join(list), modules.join(list))?;
    }
    check(Command::new(&image.busybox).args(["depmod", "-b"]).arg(&root).arg(release))?;
    // The modules are below /usr, which the host's /usr covers once no more modules are needed.
    fs::create_dir(root.join("usr"))?;
    fs::rename(root.join("lib"), root.join("usr/lib"))?;
    for directory in ["bin", "sbin", "lib", "lib64"] {
        symlink(Path::new("usr").join(directory), root.join(directory))?;
    }
    fs::copy(&image.busybox, root.join("busybox"))?;
    fs::copy(workspace().join("scripts/guest-init"), root.join("init"))?;
    fs::write(root.join("commands"), commands.join("\n") + "\n")?;

    let archive = image.directory.join("initial.cpio");
    let list = Command::new("find").arg(".").current_dir(&root).stdout(Stdio::piped()).spawn()?;
    let names = list.stdout.context("the list is a pipe")?;
    let mut cpio = Command::new(&image.busybox);
    cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(&root).stderr(Stdio::null());
    check(cpio.stdin(names).stdout(File::create(&archive)?))?;
    Ok(archive)
}

/// Copies a directory of modules, or one module, compressed or not. Does nothing if there is none.
fn copy_modules(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from)?.flatten() {
            copy_modules(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    for suffix in ["", ".ko", ".ko.xz"] {
        let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        if with_suffix(from).is_file() {
            fs::create_dir_all(to.parent().context("a module has a directory")?)?;
            fs::copy(with_suffix(from), with_suffix(to))?;
        }
    }
    Ok(())
}
