//! Failures of mail.

use std::io;

use xvrrp_config::files::FileError;

/// Why a message could not be formatted, stored or sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum MailError {
    #[error("the server did not answer in time")]
    Timeout,
    #[error(transparent)]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// The server refuses this message to these recipients, but may accept others.
    #[error(transparent)]
    Refused(lettre::transport::smtp::Error),
    #[error(transparent)]
    Address(#[from] lettre::address::AddressError),
    #[error(transparent)]
    Message(#[from] lettre::error::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot store mail: {0}")]
    Queue(#[from] io::Error),
}
