//! A host with files of its own: this machine's, and what it changes of them goes nowhere.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::netns::Namespace;
use super::wait::PATIENCE;

/// A file system, a host name and a network that its commands have for themselves. `systemctl` and `journalctl` there are
/// stand-ins: units are started, reloaded and stopped as they say. What was started ends with the namespace.
#[derive(Debug)]
pub struct Machine {
    holder: Daemon,
    _directory: TempDir,
}

impl Machine {
    pub fn start(namespace: &Namespace, name: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-machine-")?;
        let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lab/machine");
        let mut holder = namespace.command("unshare")?;
        holder.args(["--mount", "--uts", "--propagation", "private", "sh"]);
        holder.arg(parts.join("set-up")).arg(name).arg(&parts);
        let mut holder = Daemon::start("machine", &mut holder, directory.path())?;
        holder.wait_for_line(&["ready"], PATIENCE)?;
        Ok(Self { holder, _directory: directory })
    }

    /// A shell script that will run in the root directory there, and end with its first command that fails.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.pid()));
        command.args(["--mount", "--uts", "--net", "--root", "sh", "-ec", &format!("cd /; {script}")]);
        command
    }
}
