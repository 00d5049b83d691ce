//! Converts a configuration of keepalived, heartbeat or FRR to one of xvrrp: for `xvrrp import`, which prints the
//! result, and for `xvrrp run` and `xvrrp check`, which use it directly ([`Source`]).
//!
//! Each key of the result has a comment with the file and line that it comes from. The import reports what is left out
//! ([`Kind::LeftOut`]), what differs from the original ([`Kind::Changed`]), and what needs nothing ([`Kind::Note`]).
//! The result is checked as `xvrrp check` does; the import leaves out what is wrong there, and reports that too.

#![warn(missing_docs)]

mod document;
mod error;
mod frr;
mod heartbeat;
mod input;
mod keepalived;
mod location;
mod names;
mod options;
mod recognize;
mod report;
mod source;
mod time;
mod ucarp;

use std::path::Path;

use xvrrp_config::Text;

use self::document::{finish, with_origin};
use self::recognize::recognize;
use self::report::ImportReport;

pub use self::error::{HOW_TO_SHOW, ImportError, Incomplete};
pub use self::location::Location;
pub use self::options::{Format, Options};
pub use self::report::{Counts, Kind, Notice};
pub use self::source::{AgentKeys, Source, SourceError};

/// Result of an import.
#[derive(Debug)]
pub struct Import {
    /// A configuration that [`xvrrp_config::parse_text`] accepts, or `None` if it would have no virtual router.
    pub configuration: Option<Text>,
    /// What is left out, what differs and what needs nothing, in the order of the files.
    pub notices: Vec<Notice>,
}

impl Import {
    /// Returns the result as TOML.
    pub fn toml(&self) -> Option<&str> {
        self.configuration.as_ref().map(|text| text.toml.as_str())
    }

    /// Returns the numbers of notices.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.notices)
    }

    /// Returns whether there is a result that does all that the original does.
    pub fn is_complete(&self) -> bool {
        self.configuration.is_some() && self.counts().left_out == 0
    }
}

/// Imports the configuration in a file, with the files that it includes or that belong to it.
///
/// # Errors
/// One of the files cannot be read, or is not in the format.
pub fn import(path: &Path, options: &Options) -> Result<Import, ImportError> {
    import_for(path, options, false)
}

/// Imports a configuration. `runs_here` says whether the result is used on this host at once.
fn import_for(path: &Path, options: &Options, runs_here: bool) -> Result<Import, ImportError> {
    let format = match options.format {
        Some(format) => format,
        None => recognize(path)?,
    };
    let mut report = ImportReport::default();
    let (tables, phrases) = match format {
        Format::Keepalived => (keepalived::import(path, options, runs_here, &mut report)?, keepalived::PHRASES),
        Format::Heartbeat => (heartbeat::import(path, options, &mut report)?, &[][..]),
        Format::Frr => (frr::import(path, &mut report)?, &[][..]),
    };
    let result = finish(tables, &mut report);
    let notices = report.into_sorted();
    Ok(Import { configuration: result.map(|result| with_origin(path, result, phrases, &notices)), notices })
}
