//! `xvrrp import`: converts a configuration of keepalived or heartbeat to one of xvrrp.
//!
//! Each key of the result has a comment with the file and line that it comes from. The import reports each directive
//! that has no counterpart, and each value that it had to choose because the original does not have it. The result is
//! checked as `xvrrp check` does; the import leaves out what is wrong there, and reports that too.

#![warn(missing_docs)]

mod document;
mod error;
mod heartbeat;
mod input;
mod keepalived;
mod location;
mod names;
mod options;
mod report;
mod time;

use std::path::Path;

use self::document::finish;
use self::input::{is_of_heartbeat, printable, read_text};
use self::report::ImportReport;

pub use self::error::{ImportError, Incomplete};
pub use self::location::Location;
pub use self::options::{Format, Options};
pub use self::report::Notice;

/// Result of an import.
#[derive(Debug)]
pub struct Import {
    /// A configuration that [`xvrrp_config::parse`] accepts, or `None` if it would have no virtual router.
    pub toml: Option<String>,
    /// What has no exact counterpart and what was chosen, in the order of the files.
    pub notices: Vec<Notice>,
}

/// Imports the configuration in a file, with the files that it includes or that belong to it.
///
/// # Errors
/// One of the files cannot be read, or is not in the format.
pub fn import(path: &Path, options: &Options) -> Result<Import, ImportError> {
    let format = match options.format {
        Some(format) => format,
        None => recognize(path)?,
    };
    let mut report = ImportReport::default();
    let tables = match format {
        Format::Keepalived => keepalived::import(path, options, &mut report)?,
        Format::Heartbeat => heartbeat::import(path, options, &mut report)?,
    };
    let toml = finish(tables, &mut report);
    let toml = toml.map(|toml| format!("# Made by `xvrrp import {}`.\n\n{toml}", printable(path)));
    Ok(Import { toml, notices: report.into_sorted() })
}

/// Recognizes the format. The files of heartbeat have fixed names and no blocks; that of keepalived has blocks.
fn recognize(path: &Path) -> Result<Format, ImportError> {
    if is_of_heartbeat(path) {
        return Ok(Format::Heartbeat);
    }
    let text = read_text(path, None)?;
    let first_words = || text.lines().filter_map(|line| line.split_whitespace().next());
    if !text.contains('{') && first_words().any(|word| word == "node") {
        return Ok(Format::Heartbeat);
    }
    Ok(Format::Keepalived)
}
