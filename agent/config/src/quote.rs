//! Text from a configuration, prepared for a message.

/// Longest text that a message shows in full, in characters.
const MAX_SHOWN: usize = 64;

/// Puts a text in quotes, on one line: escapes control characters, and cuts a long text.
pub(super) fn quote(text: &str) -> String {
    format!("{:?}", shorten(text))
}

/// Puts a key in quotes if TOML requires quotes for it.
pub(super) fn bare_or_quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { shorten(key) } else { quote(key) }
}

/// Cuts a long text.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
