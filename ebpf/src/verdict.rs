//! What a program decides about a frame.

/// What becomes of a frame that arrived.
pub enum XdpVerdict {
    Pass,
    Drop,
    /// Back to where it came from.
    Transmit,
}

/// What becomes of a packet that a TC program sees.
pub enum TcVerdict {
    Pass,
    Drop,
}
