//! Takes a line apart as keepalived does: comments, braces, words.

use super::parameters::BLANKS;

/// Removes the comment, the backslash before an escaped `!` or `#`, and surrounding blanks. A comment begins with a `!`
/// or `#` that is not in double quotes. A backslash at the end of the line, which continues a definition, stays,
/// without blanks before it.
pub(super) fn without_comment(line: &str) -> String {
    let mut result = String::new();
    let mut quoted = false;
    let mut chars = line.trim_start_matches(BLANKS).chars();
    let mut continued = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                result.push(c);
            }
            '\\' => match chars.next() {
                Some(escaped @ ('!' | '#')) if !quoted => result.push(escaped),
                Some(escaped) => result.extend([c, escaped]),
                None => continued = true,
            },
            '!' | '#' if !quoted => break,
            _ => result.push(c),
        }
    }
    result.truncate(result.trim_end_matches(BLANKS).len());
    if continued {
        result.push('\\');
    }
    result
}

/// Splits a line before or after its first brace outside double quotes, which becomes a line of its own. Returns the
/// line and what follows it.
pub(super) fn split_at_brace(line: &str) -> (&str, Option<&str>) {
    let brace = if line.starts_with(['{', '}']) { Some(0) } else { first_brace(line) };
    let at = match brace {
        None => return (line.trim_matches(BLANKS), None),
        Some(0) => 1,
        Some(at) => at,
    };
    let (line, residue) = line.split_at(at);
    let residue = residue.trim_matches(BLANKS);
    (line.trim_matches(BLANKS), Some(residue).filter(|residue| !residue.is_empty()))
}

/// Returns the position of the first brace outside double quotes. After a quote that is not closed, there is none.
fn first_brace(line: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + line.get(from..)?.find(['{', '}', '"'])?;
        if !line.get(at..)?.starts_with('"') {
            return Some(at);
        }
        from = at + 1 + line.get(at + 1..)?.find('"')? + 1;
    }
}

/// Returns the first word, to name a line in a message.
pub(super) fn first_word(line: &str) -> &str {
    line.split_ascii_whitespace().next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_start_anywhere_except_in_quotes_and_after_a_backslash() {
        for (line, expected) in [
            ("  priority 100 ! high", "priority 100"),
            ("priority 100# high", "priority 100"),
            ("# all of it \\", ""),
            ("script \"/bin/a # !\" # b", "script \"/bin/a # !\""),
            ("auth_pass a\\#b\\!c", "auth_pass a#b!c"),
            ("script \"a\\\" # b\" # c", "script \"a\\\" # b\""),
            ("text \\x # c", "text \\x"),
            ("$A= x   \\", "$A= x\\"),
            ("script \"/bin/a # b", "script \"/bin/a # b"),
        ] {
            assert_eq!(without_comment(line), expected, "{line}");
        }
    }

    #[test]
    fn each_brace_outside_quotes_is_split_off() {
        assert_eq!(split_at_brace("group { a }"), ("group", Some("{ a }")));
        assert_eq!(split_at_brace("{ a }"), ("{", Some("a }")));
        assert_eq!(split_at_brace("}"), ("}", None));
        assert_eq!(split_at_brace("a \"{\" } b"), ("a \"{\"", Some("} b")));
        assert_eq!(split_at_brace("a \"{ }"), ("a \"{ }", None));
        assert_eq!(split_at_brace("a"), ("a", None));
    }
}
