//! Checks the width of prose: comments in Rust, which rustfmt does not wrap, and Markdown outside tables and code.

use crate::complaint::Complaint;

/// Largest width of a line, which is also rustfmt's.
const MAX_WIDTH: usize = 120;

pub fn check(path: &str, text: &str) -> Vec<Complaint> {
    let lines: Vec<(usize, &str)> = if path.ends_with(".rs") {
        text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")).collect()
    } else if path.ends_with(".md") {
        prose(text)
    } else {
        Vec::new()
    };
    let is_wide = |line: &str| line.chars().count() > MAX_WIDTH;
    let wide = lines.into_iter().filter(|(_, line)| is_wide(line));
    wide.map(|(index, _)| Complaint {
        path: path.to_owned(),
        line: index + 1,
        what: format!("the line has more than {MAX_WIDTH} columns: wrap the paragraph again"),
    })
    .collect()
}

/// Returns the lines of a Markdown text that are neither in a table nor in a code block.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let is_prose = |(_, line): &(usize, &str)| {
        let line = line.trim_start();
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence && !line.starts_with('|')
    };
    text.lines().enumerate().filter(is_prose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text).into_iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn a_comment_leads_to_a_complaint_only_if_it_is_wider_than_rustfmt_allows() {
        let comment = |marker: &str, width: usize| format!("{marker}{}", "x".repeat(width - marker.len()));
        for marker in ["// ", "/// ", "//! ", "        // "] {
            assert_eq!(lines("agent/src/x.rs", &comment(marker, MAX_WIDTH)), [0; 0]);
            assert_eq!(lines("agent/src/x.rs", &format!("\n{}", comment(marker, MAX_WIDTH + 1))), [2]);
        }
        assert_eq!(lines("agent/src/x.rs", &comment("let x = ", MAX_WIDTH + 1)), [0; 0]);
    }

    #[test]
    fn the_width_is_counted_in_characters() {
        assert_eq!(lines("README.md", &"→".repeat(MAX_WIDTH)), [0; 0]);
    }

    #[test]
    fn in_markdown_tables_and_code_blocks_may_be_wider() {
        let wide = "x ".repeat(MAX_WIDTH);
        assert_eq!(lines("docs/x.md", &format!("| {wide} |\n```\n{wide}\n```\n{wide}\n")), [5]);
        assert_eq!(lines("docs/x.txt", &wide), [0; 0]);
    }
}
