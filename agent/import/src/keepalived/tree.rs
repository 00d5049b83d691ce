//! Statements: lines with their words, and the blocks in braces that may follow.

use std::iter::Peekable;

use super::super::location::Location;

/// White space between words.
const WHITE_SPACE: [char; 6] = [' ', '\t', '\x0c', '\n', '\r', '\x0b'];

/// A line with its words, and the block in braces that may follow.
#[derive(Debug)]
pub(super) struct Statement {
    pub keyword: String,
    /// Words after the keyword.
    pub words: Vec<String>,
    /// The whole line.
    pub text: String,
    pub location: Location,
    pub block: Option<Vec<Statement>>,
}

impl Statement {
    /// Returns a word after the keyword.
    pub fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(String::as_str)
    }

    /// Returns the statements of its block.
    pub fn statements(&self) -> &[Statement] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Returns all words of its block, which is a list of names.
    pub fn listed(&self) -> impl Iterator<Item = (&str, &Location)> {
        self.statements().iter().flat_map(|line| {
            let words = std::iter::once(&line.keyword).chain(&line.words);
            words.map(|word| (word.as_str(), &line.location))
        })
    }

    /// Returns the keyword and the name, as a message shows a block.
    pub fn title(&self) -> String {
        self.word(0).map_or_else(|| self.keyword.clone(), |name| format!("{} {name}", self.keyword))
    }
}

/// Splits a line into words at white space. Text in double quotes is a word of its own. Returns whether each quote is
/// closed; what follows one that is not closed belongs to no word.
pub(super) fn words(text: &str) -> (Vec<String>, bool) {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(WHITE_SPACE);
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some(split) => split,
                None => return (words, false),
            },
            None => rest.split_at(rest.find(|c| WHITE_SPACE.contains(&c) || c == '"').unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start_matches(WHITE_SPACE);
    }
    (words, true)
}

/// Splits a command into words. Quotes and backslashes work as in a shell. Returns `None` if a quote is not closed.
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
            c if WHITE_SPACE.contains(&c) && quote.is_none() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Parses what follows a backslash: an escape of C, `\E`, `\cX`, or the character itself.
fn escaped(chars: &mut Peekable<std::str::Chars>) -> Option<char> {
    let first = chars.next()?;
    let (radix, max, mut digits) = match first {
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
    while digits.len() < max {
        let Some(digit) = chars.next_if(|c| c.is_digit(radix)) else { break };
        digits.push(digit);
    }
    u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_double_quotes_is_one_word() {
        assert_eq!(
            words("script \"/bin/a -b c\" user"),
            (["script", "/bin/a -b c", "user"].map(str::to_owned).into(), true)
        );
        assert_eq!(words("a\"b c\"d"), (["a", "b c", "d"].map(str::to_owned).into(), true));
        assert_eq!(words("x \"\""), (["x", ""].map(str::to_owned).into(), true));
        assert_eq!(words("x\u{a0}y \"z"), (["x\u{a0}y"].map(str::to_owned).into(), false));
    }

    #[test]
    fn commands_are_split_as_by_a_shell() {
        let words = |text| command_words(text).unwrap_or_default();
        assert_eq!(words("/bin/sh -c 'exit 1'"), ["/bin/sh", "-c", "exit 1"]);
        assert_eq!(words(r#"a" b"\ c \101\x42"#), ["a b c", "AB"]);
        assert_eq!(command_words("/bin/sh -c 'exit 1"), None);
    }
}
