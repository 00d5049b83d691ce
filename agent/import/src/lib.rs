//! `xvrrp import`: configurations of keepalived and heartbeat, turned into ours.
//!
//! What comes out says of each key which file and line it comes from. What has no counterpart, and what had to be chosen
//! because the original does not say it, is reported. The result is checked by the configuration's own reader, and what
//! that will not have is left out, and reported too.

#![warn(missing_docs)]

mod document;
mod heartbeat;
mod keepalived;
mod names;
mod place;
mod report;
mod time;

use std::fmt;
use std::path::{Path, PathBuf};

use self::document::finish;
pub use self::place::SourceLine;
pub use self::report::Left;
use xvrrp_config::files;

use self::report::Report;

/// Keeps what is no configuration (a disk image, `/dev/zero`) out of memory.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// keepalived: `keepalived.conf`.
    Keepalived,
    /// heartbeat: `ha.cf` and `haresources`.
    Heartbeat,
}

/// What the files do not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whose configuration it is; otherwise its name and content tell.
    pub format: Option<Format>,
    /// The host that the result is for: a node of heartbeat's, what keepalived calls its `--config-id`. Otherwise this
    /// host's name, up to its first dot.
    pub node: Option<String>,
}

/// What was made of a configuration.
#[derive(Debug)]
pub struct Import {
    /// Accepted by [`xvrrp_config::parse`]. `None`: there is no virtual router in it.
    pub toml: Option<String>,
    /// What has no counterpart, and what was chosen, in the order of the files.
    pub left: Vec<Left>,
}

/// A configuration that cannot be read. Displays as `FILE:LINE: what is wrong; what would be right`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(String);

impl ImportError {
    fn at(place: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self(format!("{place}: {message}"))
    }
}

/// A configuration was imported, but not all of it. Displays as what to do about that.
#[derive(Debug, thiserror::Error)]
#[error("{} to look at, listed above{}", plural(*count), if *result { "" } else { "; nothing to run is in it" })]
pub struct Incomplete {
    /// Of what is left.
    pub count: usize,
    /// Whether there is a result at all.
    pub result: bool,
}

fn plural(count: usize) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

/// Imports the configuration in a file, and those that it includes or that belong to it.
///
/// # Errors
///
/// Fails if one of the files cannot be read, or is not in the format at all.
pub fn import(path: &Path, options: &Options) -> Result<Import, ImportError> {
    let format = match options.format {
        Some(format) => format,
        None => guess(path)?,
    };
    let mut report = Report::default();
    let tables = match format {
        Format::Keepalived => keepalived::import(path, options, &mut report)?,
        Format::Heartbeat => heartbeat::import(path, options, &mut report)?,
    };
    let toml = finish(tables, &mut report);
    let toml = toml.map(|toml| format!("# Made by `xvrrp import {}`.\n\n{toml}", printable(path)));
    Ok(Import { toml, left: report.into_sorted() })
}

/// heartbeat's files have fixed names; keepalived's has blocks, and heartbeat's have none.
fn guess(path: &Path) -> Result<Format, ImportError> {
    if path.file_name().is_some_and(|name| name == "ha.cf" || name == "haresources") {
        return Ok(Format::Heartbeat);
    }
    let text = read_text(path, None)?;
    let first_words = || text.lines().filter_map(|line| line.split_whitespace().next());
    if !text.contains('{') && first_words().any(|word| word == "node") {
        return Ok(Format::Heartbeat);
    }
    Ok(Format::Keepalived)
}

impl Options {
    /// See the field.
    fn node(&self) -> Result<String, ImportError> {
        let own = || nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        match &self.node {
            Some(node) => Ok(node.clone()),
            None => {
                let name = own().map_err(|error| ImportError::at("host name", error))?;
                Ok(name.split('.').next().unwrap_or_default().to_owned())
            }
        }
    }
}

/// What is no UTF-8 is in comments, as a rule: it is replaced.
fn read_text(path: &Path, included_at: Option<&SourceLine>) -> Result<String, ImportError> {
    let wrong = |what: &dyn fmt::Display| match included_at {
        Some(place) => ImportError::at(place, format_args!("include: {}: {what}", printable(path))),
        None => ImportError::at(printable(path), what),
    };
    let bytes =
        files::read(path, MAX_FILE_SIZE).map_err(|error| wrong(&format_args!("cannot be read: {}", error.fault)))?;
    if bytes.contains(&0) {
        return Err(wrong(&"is no text; give the path of a configuration"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn printable(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// A file beside another one.
fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(name)
}
