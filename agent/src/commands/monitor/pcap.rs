//! Writes capture files in libpcap's format (draft-ietf-opsawg-pcap): Ethernet frames with times in microseconds.

use std::io::{self, Write};

/// The longest frame that the file may contain, in bytes.
const LONGEST: u32 = 1 << 16;
/// Link type of Ethernet (LINKTYPE_ETHERNET).
const ETHERNET: u32 = 1;

/// Writes the header of the file.
///
/// # Errors
/// The file cannot be written.
pub fn begin(file: &mut impl Write) -> io::Result<()> {
    let [major, minor] = [2_u16, 4].map(u16::to_le_bytes);
    let [magic, zone, accuracy, longest, kind] = [0xa1b2_c3d4, 0, 0, LONGEST, ETHERNET].map(u32::to_le_bytes);
    file.write_all(&[&magic[..], &major, &minor, &zone, &accuracy, &longest, &kind].concat())
}

/// Writes a frame that was `length` bytes long; `frame` may be only its beginning. `at` is in microseconds since 1970.
///
/// # Errors
/// The file cannot be written, or the time does not fit into the format.
pub fn add(file: &mut impl Write, at: u64, frame: &[u8], length: u32) -> io::Result<()> {
    let word = |number: u64| u32::try_from(number).map(u32::to_le_bytes).map_err(io::Error::other);
    let header = [word(at / 1_000_000)?, word(at % 1_000_000)?, word(frame.len() as u64)?, length.to_le_bytes()];
    file.write_all(&[&header.concat(), frame].concat())?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_header_and_each_frame_has_one_too() {
        let mut file = Vec::new();
        begin(&mut file).unwrap();
        add(&mut file, 1_500_000, &[1, 2, 3], 60).unwrap();
        let expected = [
            &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0][..],
            &[1, 0, 0, 0, 0x20, 0xa1, 7, 0, 3, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3],
        ];
        assert_eq!(file, expected.concat());
    }
}
