//! What the user says about an import.

use super::error::ImportError;

/// Program that a configuration was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// keepalived: `keepalived.conf`.
    Keepalived,
    /// heartbeat: `ha.cf` and `haresources`.
    Heartbeat,
    /// FRR: `frr.conf` or `vrrpd.conf`.
    Frr,
}

/// What the files of a configuration do not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Program that the configuration was written for. Default: recognized by name and content of the file.
    pub format: Option<Format>,
    /// Host that the result is for: a node of heartbeat, or what keepalived calls its `--config-id`. Default: the name
    /// of this host, up to its first dot.
    pub node: Option<String>,
}

impl Options {
    /// Returns the host that the result is for.
    pub(super) fn node(&self) -> Result<String, ImportError> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let name = nix::unistd::gethostname()
            .map_err(|error| ImportError::at("host name", format_args!("cannot be read: {error}; give --node")))?;
        let name = name.to_string_lossy();
        Ok(name.split('.').next().unwrap_or_default().to_owned())
    }
}
