//! Statements and blocks.

use super::super::ImportError;
use super::super::place::SourceLine;
use super::lines::Line;

/// A line with its words, and the block in braces that may follow.
#[derive(Debug)]
pub(super) struct Statement {
    pub keyword: String,
    /// What follows it.
    pub words: Vec<String>,
    /// The whole line.
    pub text: String,
    pub place: SourceLine,
    pub block: Option<Vec<Statement>>,
}

impl Statement {
    pub fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(String::as_str)
    }

    pub fn statements(&self) -> &[Statement] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Keyword and words of each statement in its block, as lists of names have them.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &SourceLine)> {
        self.statements().iter().flat_map(|line| {
            let words = std::iter::once(&line.keyword).chain(&line.words);
            words.map(|word| (word.as_str(), &line.place))
        })
    }
}

pub(super) fn parse(lines: &[Line]) -> Result<Vec<Statement>, ImportError> {
    // The statements of each block that is open, with the place of its brace; at the bottom the file's.
    let mut open: Vec<(Vec<Statement>, Option<&SourceLine>)> = vec![(Vec::new(), None)];
    for line in lines {
        let Some((current, _)) = open.last_mut() else { break };
        match line.text.as_str() {
            "{" if current.last().is_some_and(|statement| statement.block.is_none()) => {
                open.push((Vec::new(), Some(&line.place)));
            }
            "{" => return Err(ImportError::at(&line.place, "a block has no name; put its keyword before the {")),
            "}" => {
                let closed = open.pop().filter(|_| !open.is_empty());
                let Some(((statements, _), (outer, _))) = closed.zip(open.last_mut()) else {
                    return Err(ImportError::at(&line.place, "this } closes nothing; remove it, or add the {"));
                };
                if let Some(statement) = outer.last_mut() {
                    statement.block = Some(statements);
                }
            }
            text => current.push(statement(text, &line.place)),
        }
    }
    match open.pop() {
        Some((_, Some(brace))) => Err(ImportError::at(brace, "this { is never closed; add the }")),
        Some((statements, None)) => Ok(statements),
        None => Ok(Vec::new()),
    }
}

fn statement(text: &str, place: &SourceLine) -> Statement {
    let mut words = words(text).into_iter();
    Statement {
        keyword: words.next().unwrap_or_default(),
        words: words.collect(),
        text: text.to_owned(),
        place: place.clone(),
        block: None,
    }
}

/// At white space; double quotes hold words together, and separate them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_at(rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// The words of a command, as a shell would take quotes and backslashes.
pub(super) fn command_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().push(escaped(&mut chars)?),
            c if Some(c) == quote => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && quote.is_none() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// What stands behind a backslash: C's escapes, `\E`, `\cX`, or the character itself.
fn escaped(chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<char> {
    let first = chars.next()?;
    let (radix, most, mut digits) = match first {
        'a' => return Some('\x07'),
        'b' => return Some('\x08'),
        'E' => return Some('\x1b'),
        'f' => return Some('\x0c'),
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'v' => return Some('\x0b'),
        'c' => return chars.next().map(|c| char::from_u32(u32::from(c) & 0x1f).unwrap_or(c)),
        'x' if chars.peek().is_some_and(char::is_ascii_hexdigit) => (16, 2, String::new()),
        '0'..='7' => (8, 3, first.to_string()),
        other => return Some(other),
    };
    while digits.len() < most {
        let Some(digit) = chars.next_if(|c| c.is_digit(radix)) else { break };
        digits.push(digit);
    }
    u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_quotes_hold_words_together_and_separate_them() {
        assert_eq!(words("script \"/bin/a -b c\" user"), ["script", "/bin/a -b c", "user"]);
        assert_eq!(words("a\"b c\"d"), ["a", "b c", "d"]);
        assert_eq!(words("x \"\""), ["x", ""]);
    }

    #[test]
    fn commands_are_taken_apart_as_a_shell_would() {
        let words = |text| command_words(text).unwrap_or_default();
        assert_eq!(words("/bin/sh -c 'exit 1'"), ["/bin/sh", "-c", "exit 1"]);
        assert_eq!(words(r#"a" b"\ c \101\x42"#), ["a b c", "AB"]);
        assert_eq!(command_words("/bin/sh -c 'exit 1"), None);
    }
}
