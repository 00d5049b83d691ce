//! Capture files as libpcap has them (draft-ietf-opsawg-pcap): Ethernet frames with times in microseconds.

use std::io::{self, Write};

/// Longest frame that may be in the file.
const LONGEST: u32 = 1 << 16;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// What stands at the beginning of the file.
pub fn begin(file: &mut impl Write) -> io::Result<()> {
    let [major, minor] = [2_u16, 4].map(u16::to_le_bytes);
    let [magic, zone, accuracy, longest, kind] = [0xa1b2_c3d4, 0, 0, LONGEST, ETHERNET].map(u32::to_le_bytes);
    file.write_all(&[&magic[..], &major, &minor, &zone, &accuracy, &longest, &kind].concat())
}

/// A frame of `length` bytes, or as many of its first ones as there are. `at` is in microseconds since 1970.
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
    fn a_file_has_its_header_and_one_before_each_frame() {
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
