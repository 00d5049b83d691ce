//! Format in which the agent sends captured frames to `xvrrp monitor`: one JSON line for each frame.

use std::fmt::Write;
use std::io;

use serde::{Deserialize, Serialize};

/// Line that the agent sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MonitorLine {
    /// Captured frame.
    Frame {
        /// Time of arrival in seconds since 1970.
        at: f64,
        /// Name of the interface that the frame arrived on.
        interface: String,
        /// Name of the counter that counted the frame.
        verdict: String,
        /// Length of the whole frame in bytes.
        length: u32,
        /// The captured part of the frame in hexadecimal.
        frame: String,
    },
    /// Number of frames that found no room in the buffer.
    Lost {
        /// The number, since the previous line of this kind.
        lost: u64,
    },
}

/// Writes bytes in hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads bytes in hexadecimal.
///
/// # Errors
/// The text contains a character that is not a hexadecimal digit.
pub fn bytes(hexadecimal: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<_>> = hexadecimal.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let digits: Vec<u8> = digits.ok_or(io::ErrorKind::InvalidData)?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_same_after_conversion_to_hexadecimal_and_back() {
        let frame: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&hexadecimal(&frame)).unwrap(), frame);
        assert!(bytes("0g").is_err());
    }
}
