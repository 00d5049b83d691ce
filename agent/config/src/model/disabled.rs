//! Parts of a configuration that are left out because the host cannot run them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Part of a configuration that can be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// The check of this name.
    Check(String),
    /// The notify program on this line.
    Notify(usize),
    /// The FIFO with this path.
    Fifo(PathBuf),
    /// The program that reads this FIFO.
    Reader(PathBuf),
    /// The default user of programs.
    ScriptUser,
}
