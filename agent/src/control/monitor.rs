//! What `xvrrp monitor` gets: a JSON line for each frame.

use std::fmt::Write;
use std::io;

use serde::{Deserialize, Serialize};

/// A line of what the agent sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MonitorLine {
    Frame {
        /// In seconds since 1970.
        at: f64,
        interface: String,
        /// The counter that it was counted by.
        verdict: String,
        /// Of the whole frame, in bytes.
        length: u32,
        /// As much of it as there is, in hexadecimal.
        frame: String,
    },
    Lost {
        lost: u64,
    },
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn bytes(hexadecimal: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<_>> = hexadecimal.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let digits: Vec<u8> = digits.ok_or(io::ErrorKind::InvalidData)?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_through_hexadecimal_unharmed() {
        let frame: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&hexadecimal(&frame)).unwrap(), frame);
        assert!(bytes("0g").is_err());
    }
}
