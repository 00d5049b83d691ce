//! Pinned links. A link keeps a program attached to an interface.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aya::programs::links::{FdLink, PinnedLink};

use super::DataplaneError;
use super::link_probe::LinkProbe;

/// A pinned link.
#[derive(Debug)]
pub(super) struct Link {
    path: PathBuf,
    probe: LinkProbe,
    /// Whether this agent has made the link, not a predecessor.
    new: bool,
}

impl Link {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_new(&self) -> bool {
        self.new
    }

    pub(super) fn is_attached(&self) -> bool {
        self.probe.is_attached()
    }

    /// Pins a new link. Replaces a pin of the same name, whose interface is gone.
    pub(super) fn pin(path: &Path, link: FdLink) -> Result<Self, DataplaneError> {
        let failed = |source| DataplaneError::Pins { path: path.to_owned(), source };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        link.pin(path).map_err(|error| failed(io::Error::other(error)))?;
        Self::open(path, true)
    }

    /// Puts back a pin that something else has removed.
    pub(super) fn pin_again(&self) -> Result<(), DataplaneError> {
        self.probe.pin(&self.path).map_err(|source| DataplaneError::Pins { path: self.path.clone(), source })
    }

    /// Opens the link that is pinned at the path.
    pub(super) fn open(path: &Path, new: bool) -> Result<Self, DataplaneError> {
        let probe = LinkProbe::open(path).map_err(|source| DataplaneError::Pins { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), probe, new })
    }
}

/// Opens a predecessor's link. Returns `None` if there is none that can be used.
pub(super) fn adopt<L: TryFrom<FdLink>>(pin: &Path) -> Option<L> {
    FdLink::from(PinnedLink::from_pin(pin).ok()?).try_into().ok()
}
