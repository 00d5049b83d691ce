//! Recognizes which program a configuration was written for.

use std::path::Path;

use super::error::ImportError;
use super::input::{is_of_heartbeat, printable, read_text};
use super::location::Location;
use super::options::Format;
use super::{frr, keepalived, ucarp};

/// Recognizes the format by the name and the content of the file.
pub(super) fn recognize(path: &Path) -> Result<Format, ImportError> {
    if is_of_heartbeat(path) {
        return Ok(Format::Heartbeat);
    }
    let text = read_text(path)?;
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim()).collect();
    let is_comment = |line: &&&str| line.is_empty() || line.starts_with(['#', '!']);
    let has_word =
        |known: &dyn Fn(&str) -> bool| lines.iter().filter_map(|line| line.split_whitespace().next()).any(known);
    if has_word(&keepalived::begins_line) || lines.iter().all(|line| is_comment(&line)) {
        return Ok(Format::Keepalived);
    }
    if lines.iter().any(|line| frr::is_line(line)) {
        return Ok(Format::Frr);
    }
    if let Some(error) = ucarp::refuse(path, &lines) {
        return Err(error);
    }
    if has_word(&|word| word == "node") && !text.contains('{') {
        return Ok(Format::Heartbeat);
    }
    let first = lines.iter().position(|line| !is_comment(&line)).unwrap_or(0);
    if let Some(header) = lines.iter().position(|line| line.starts_with("[[virtual_router]]")) {
        let message = "this is a configuration of xvrrp already; run `xvrrp check` with it";
        return Err(ImportError::at(Location::new(path, 0).at(header + 1), message));
    }
    Err(ImportError::at(
        Location::new(path, 0).at(first + 1),
        format_args!(
            "{:?} begins no line of xvrrp, keepalived, heartbeat or FRR; give the path of one of their configurations, or \
             name the program: xvrrp import --from keepalived {}",
            lines.get(first).and_then(|line| line.split_whitespace().next()).unwrap_or_default(),
            printable(path)
        ),
    ))
}
