//! XDP programs on an interface.

use core::fmt;

/// Mode in which an XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum XdpMode {
    /// Driver mode: the interface's driver runs the program, before the kernel allocates a packet buffer.
    Driver,
    /// Generic mode: the network stack runs the program.
    Generic,
    /// Offload: the network card runs the program. xvrrp never uses this mode.
    Hardware,
}

impl XdpMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Driver, Self::Generic, Self::Hardware];

    /// Returns the word for logs, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Generic => "generic",
            Self::Hardware => "hardware",
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An XDP program that is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// The kernel's number of the program.
    pub id: u32,
    /// How the program is attached.
    pub mode: XdpMode,
}
