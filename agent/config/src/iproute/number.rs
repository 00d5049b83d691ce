//! Reads numbers.

/// Reads a number: decimal, or hexadecimal with 0x. A leading zero means octal to ip(8), so it is refused.
pub(super) fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => u64::from_str_radix(digits, 16).ok()?,
        Some(_) => return None,
        None if text.len() > 1 && text.starts_with('0') || !text.starts_with(|c: char| c.is_ascii_digit()) => {
            return None;
        }
        None => text.parse().ok()?,
    };
    number.try_into().ok()
}
