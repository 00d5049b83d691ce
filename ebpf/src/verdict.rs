//! Decisions of the programs.

/// Decision of the XDP program about a frame.
pub enum XdpVerdict {
    Pass,
    Drop,
    /// Sends the frame back out through the interface that it arrived on.
    Transmit,
}

/// Decision of a TC program about a packet.
pub enum TcVerdict {
    Pass,
    Drop,
}
