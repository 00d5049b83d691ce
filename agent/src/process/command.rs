//! Makes commands of what a configuration says to run.

use std::env;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use tokio::process::Command;
use xvrrp_config::CommandLine;
use xvrrp_config::files::Asking;

/// Value of `PATH` if the environment has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Looks up a program in `PATH`. Relative directories in it are ignored, because what they lead to depends on where the
/// agent was started.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let directories = env::split_paths(&path).filter(|directory| directory.is_absolute());
    directories.map(|directory| directory.join(name)).find(|program| is_executable(program))
}

/// Returns whether the path leads to a program that can be run.
pub fn is_executable(path: &Path) -> bool {
    let _asking = Asking::begin();
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// Returns the command to execute, with these arguments after its own.
pub fn command(command: &CommandLine, appended: &[&str]) -> Command {
    let mut words = command.words(appended).into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}
