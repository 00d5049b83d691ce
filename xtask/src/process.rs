//! Runs other programs, as child processes or in place of this one.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Returns the directory of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace")
}

/// Makes a command that runs, in the workspace, the cargo by which this program was started.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Makes a command that runs a program as root with our environment. Without sudo, the program runs as the present
/// user, and can report what it lacks.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() || !has_sudo() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--preserve-env").arg(program);
    sudo
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn has_sudo() -> bool {
    output(Command::new("sudo").arg("--version")).is_some()
}

/// Runs a command. If it fails, the error contains the command.
pub fn check(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command in place of this process. Signals reach the program, the shell waits until it has cleaned up, and its
/// exit status is ours.
pub fn become_program(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {command:?}"))
}

/// Returns the output of a command, or `None` if it fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
