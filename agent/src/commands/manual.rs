//! Manual pages and completions for shells, both from the command line's definition.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Of the manual: for the administrator.
const SECTION: &str = "8";

/// What the shell reads to complete a command line.
pub fn completions(mut command: Command, shell: Shell) -> Result<String> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).context("the completions are not UTF-8")
}

/// Writes a page for the command, and one for each of its subcommands, into a directory.
pub fn write_pages(command: Command, directory: &Path) -> Result<()> {
    // Otherwise `help` would have a page of its own, and each subcommand's.
    let mut command = command.disable_help_subcommand(true);
    // Gives the subcommands the names under which their pages are found: xvrrp-run(8).
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
