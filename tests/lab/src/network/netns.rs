//! Network namespaces that are removed with their guard, also when a test panics.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xvrrp_common::units::MacAddress;
use xvrrp_config::AgentConfig;
use xvrrp_dataplane::{LinkProbe, Pins};

use crate::turns::{self, Share};

/// Each namespace is called `xv-PID-NUMBER-ROLE`.
const PREFIX: &str = "xv-";
const DIRECTORY: &str = "/run/netns";

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace, which is removed when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _share: Share,
}

impl Namespace {
    /// Creates a namespace whose loopback interface is up. `role` is for readers of a listing.
    pub fn new(role: &str) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes network namespaces and needs root; run `cargo xtask test` as root"
        );
        let share = turns::share();
        SWEEP.call_once(sweep);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{number}-{role}", std::process::id()), _share: share };
        run(Command::new("ip").args(["netns", "add", &namespace.name]))?;
        namespace.ip("link set lo up")?;
        // Without IPv6, the kernel sends nothing by itself on a segment.
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        namespace.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        Ok(namespace)
    }

    /// Returns the name that ip(8) uses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where an agent in this namespace pins its kernel half by default.
    pub fn pins(&self) -> Result<PathBuf> {
        pins(&self.name)
    }

    /// Detaches the XDP program that an agent in this namespace has pinned, as an operator could by hand.
    pub fn detach_ingress(&self) -> Result<()> {
        let mut pins = fs::read_dir(self.pins()?)?.flatten().map(|entry| entry.path());
        let ingress = pins.find(|path| path.to_string_lossy().contains("ingress-")).context("no XDP link is pinned")?;
        Ok(LinkProbe::open(&ingress)?.detach()?)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// Runs `work` in this namespace, on a new thread. The thread of the caller stays in its own namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = File::open(self.path()).with_context(|| format!("cannot open namespace {}", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || -> Result<T> {
                setns(handle.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Returns a command that runs in this namespace. Unlike `ip netns exec`, it does not change the mounts.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let handle = File::open(self.path()).with_context(|| format!("cannot open namespace {}", self.name))?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure only makes a system call, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || Ok(setns(handle.as_fd(), CloneFlags::CLONE_NEWNET)?));
        }
        Ok(command)
    }

    /// Runs `ip` with these words, and returns what it prints.
    pub fn ip(&self, words: &str) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Runs a shell command in this namespace, and returns what it prints.
    pub fn sh(&self, line: &str) -> Result<String> {
        run(self.command("sh")?.args(["-c", line]))
    }

    /// Returns the MAC address of an interface.
    pub fn mac(&self, interface: &str) -> Result<MacAddress> {
        let link = self.ip(&format!("-o link show dev {interface}"))?;
        let mac = link.split_whitespace().skip_while(|&word| word != "link/ether").nth(1);
        let mac = mac.with_context(|| format!("no MAC address: {link}"))?;
        let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
        Ok(MacAddress(*bytes.first_chunk().with_context(|| format!("a short MAC address: {mac}"))?))
    }

    /// Enables GRO, so that the driver of the interface polls for frames that arrive without a socket buffer. Otherwise
    /// it does so only if an XDP program is attached to the interface.
    pub fn receive_at_driver(&self, interface: &str) -> Result<()> {
        self.sh(&format!("ethtool --offload {interface} gro on")).map(drop)
    }

    /// Sets a sysctl, whose key has dots.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let value = value.to_owned();
        self.run(move || fs::write(&path, value).with_context(|| format!("cannot write {path}")))?
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("cannot remove namespace {}: {error:#}", self.name);
        }
    }
}

/// Kills every process in the namespace, and removes the namespace and what an agent has pinned for it.
fn remove(name: &str) -> Result<()> {
    let pins = pins(name);
    for pid in inhabitants(name) {
        // An error means that the process has ended by itself.
        let _ = kill(pid, Signal::SIGKILL);
    }
    if let Ok(pins) = pins {
        let _ = fs::remove_dir_all(pins);
    }
    run(Command::new("ip").args(["netns", "del", name])).map(drop)
}

/// Returns where an agent in the namespace pins its kernel half by default.
fn pins(name: &str) -> Result<PathBuf> {
    let namespace = File::open(Path::new(DIRECTORY).join(name))?;
    thread::scope(|scope| {
        let inside = scope.spawn(|| -> Result<PathBuf> {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(Pins::below(Path::new(AgentConfig::DEFAULT_BPFFS))?.directory().to_owned())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lists the processes whose main thread is in the namespace: daemons, and their children that outlived them.
fn inhabitants(name: &str) -> Vec<Pid> {
    let inode = |path: PathBuf| fs::metadata(path).map(|metadata| metadata.ino()).ok();
    let (Some(namespace), Ok(processes)) = (inode(Path::new(DIRECTORY).join(name)), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| inode(PathBuf::from(format!("/proc/{pid}/ns/net"))) == Some(namespace))
        .map(Pid::from_raw)
        .collect()
}

/// Removes what killed test processes have left. The first namespace of a process does this.
pub fn sweep() {
    crate::hosts::sweep();
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            // An error means that another test process was faster.
            let _ = remove(&name);
        }
    }
}

/// Runs a command to its end, and returns what it prints to standard output.
///
/// # Errors
/// The command fails. The error contains its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
