//! Generates manual pages and shell completions from the definition of the command line.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Section of the manual: system administration.
const SECTION: &str = "8";

/// Returns the script with which `shell` completes the command line.
///
/// # Errors
/// The generated script is not UTF-8.
pub fn completions(mut command: Command, shell: Shell) -> Result<String> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).context("the completions are not UTF-8")
}

/// Writes a page for the command, and one for each of its subcommands, to a directory.
///
/// # Errors
/// A page cannot be written.
pub fn write_pages(command: Command, directory: &Path) -> Result<()> {
    // Otherwise `help` and its subcommands would have pages of their own.
    let mut command = command.disable_help_subcommand(true);
    // Gives the subcommands the names of their pages, such as xvrrp-run(8).
    command.build();
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
    for command in [&command].into_iter().chain(subcommands) {
        let page = Man::new(command.clone()).section(SECTION).manual("xvrrp").source(source());
        page.generate_to(directory).with_context(|| format!("cannot write manual pages to {}", directory.display()))?;
    }
    Ok(())
}

fn source() -> String {
    format!("xvrrp {}", env!("CARGO_PKG_VERSION"))
}
