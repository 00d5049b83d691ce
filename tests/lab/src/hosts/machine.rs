//! A host that sees the files of this machine and whose changes to them stay private.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::Daemon;
use crate::PATIENCE;
use crate::{Namespace, run};
use crate::{agent_binary, workspace};

/// A host with a file system, processes, a host name and a network of its own. Its `systemctl` and `journalctl` are
/// stand-ins, which start, reload and stop units as the unit files say. Everything that was started ends with this.
#[derive(Debug)]
pub struct Machine {
    /// Its first process, which the holder started, by its number outside.
    init: u32,
    holder: Daemon,
    _directory: TempDir,
}

impl Machine {
    /// Starts a machine with this host name in the network namespace.
    pub fn start(namespace: &Namespace, name: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-machine-")?;
        let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hosts/machine");
        let mut holder = namespace.command("unshare")?;
        // Its first process dies with the holder, and everything in a PID namespace with the first process.
        holder.args(["--mount", "--uts", "--propagation", "private", "--pid", "--fork", "--kill-child", "bash"]);
        holder.arg(parts.join("set-up")).arg(name).arg(&parts);
        let mut holder = Daemon::start("machine", &mut holder, directory.path())?;
        holder.wait_for_line(&["ready"], PATIENCE)?;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.pid()))?;
        let init = children.trim().parse().with_context(|| format!("not one process, but {children:?}"))?;
        Ok(Self { init, holder, _directory: directory })
    }

    /// Copies a file of this machine to a path on the host.
    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        run(self.command(&format!("cat > {to}")).stdin(File::open(from)?)).map(drop)
    }

    /// Returns a command that runs a shell script in the root directory of the host. The script ends at its first
    /// command that fails.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init));
        command.args(["--mount", "--uts", "--net", "--pid", "--root", "sh", "-ec", &format!("cd /; {script}")]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It blocks SIGTERM. An error means that it has ended.
        let _ = self.holder.signal(Signal::SIGKILL);
    }
}

/// Builds a Debian package of the agent under test with this version, and returns its path.
pub fn make_package(version: &str, directory: &Path) -> Result<PathBuf> {
    let mut dist = Command::new(env!("CARGO"));
    dist.args(["xtask", "dist", "--package-version", version]);
    dist.arg("--binary").arg(agent_binary()?).arg("--output").arg(directory);
    run(dist.current_dir(workspace()))?;
    let mut packages = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    packages
        .find(|path| path.to_string_lossy().contains(&format!("xvrrp_{version}_")))
        .with_context(|| format!("`cargo xtask dist` left no package in {}", directory.display()))
}
