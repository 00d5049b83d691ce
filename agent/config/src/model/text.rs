//! The text of a configuration, and what it was made from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disabled::Item;

/// Text of a configuration. `Debug` does not show it, because passwords in it would end up in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Text {
    /// The configuration in TOML.
    pub toml: String,
    /// What it was made from, if the file is one of another program.
    pub original: Option<Arc<Original>>,
}

/// A configuration of another program, from which a [`Text`] was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Paths of its files, in the order in which they are read.
    files: Vec<String>,
    /// What is known about each line of the TOML.
    lines: Vec<Line>,
    /// Tables of the TOML as messages name them, each with what the original calls it. If that is empty, messages do
    /// not name the table.
    tables: BTreeMap<String, String>,
    /// Keys of the TOML, each with a keyword of the original.
    keywords: Vec<(String, String)>,
    /// Parts of messages that depend on the format of the file, each with what replaces it.
    phrases: Vec<(String, String)>,
    /// What the TOML does not do, as `FILE:LINE: left out: ...`.
    pub left_out: Vec<String>,
    /// What differs from the original, as `FILE:LINE: changed: ...`.
    pub changed: Vec<String>,
    /// What this host cannot run, as `FILE:LINE: disabled: ...`.
    #[serde(default)]
    pub unusable: Vec<String>,
    /// Numbers of what is left out, what differs and what needs nothing, for a message.
    pub counts: String,
    /// What this host cannot run, so that it is left out of the configuration.
    #[serde(default)]
    pub(crate) disabled: Vec<Item>,
}

/// Where a line of the TOML comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// Position of the file, and the line, counted from 1.
    place: Option<(usize, usize)>,
    /// Position of its key and its keyword.
    keyword: Option<usize>,
}

/// Form in which a text is passed to the next agent. Older versions know the first one only.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Toml(String),
    Made { toml: String, original: Box<Original> },
}

impl From<Stored> for Text {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Toml(toml) => Self { toml, original: None },
            Stored::Made { toml, original } => Self { toml, original: Some(Arc::from(original)) },
        }
    }
}

impl From<Text> for Stored {
    fn from(Text { toml, original }: Text) -> Self {
        match original {
            None => Self::Toml(toml),
            Some(original) => Self::Made { toml, original: Box::new(Arc::unwrap_or_clone(original)) },
        }
    }
}

impl Text {
    /// Returns a text that a user has written in TOML.
    pub fn of_toml(toml: impl Into<String>) -> Self {
        Self { toml: toml.into(), original: None }
    }

    /// Returns a message about a line as users read it. `file` is the file that the user has named.
    pub(crate) fn show(&self, file: &Path, line: Option<usize>, message: &str) -> String {
        show(self.original.as_deref(), file, line, message)
    }

    /// Does the same for a message of a kind, which comes after the line.
    pub(crate) fn show_kind(&self, file: &Path, line: usize, kind: &str, message: &str) -> String {
        let original = self.original.as_deref();
        let message = original.map_or(Cow::Borrowed(message), |original| original.reword(Some(line), message).into());
        format!("{}: {kind}: {message}", place(original, file, Some(line)))
    }
}

/// Returns the file and the line of the user that a line of the TOML is, or comes from.
fn place(original: Option<&Original>, file: &Path, line: Option<usize>) -> String {
    let own = line.filter(|_| original.is_none()).map(|line| (file.to_string_lossy(), line));
    let shown = own.or_else(|| original?.place(line?));
    shown.map_or_else(|| file.display().to_string(), |(file, line)| format!("{file}:{line}"))
}

/// Returns a message about a line of the TOML as users read it: with its place, and with the words of the original, if
/// there is one.
pub(crate) fn show(original: Option<&Original>, file: &Path, line: Option<usize>, message: &str) -> String {
    let shown = original.map_or(Cow::Borrowed(message), |original| original.reword(line, message).into());
    format!("{}: {shown}", place(original, file, line))
}

impl Original {
    /// Adds a file, after those that are read before it. Returns its position.
    pub fn add_file(&mut self, file: &str) -> usize {
        self.files.push(file.to_owned());
        self.files.len() - 1
    }

    /// Adds the next line of the TOML, with the position of the file and the line that it comes from, and with its key
    /// and the keyword of the original, as far as there are any.
    pub fn push(&mut self, place: Option<(usize, usize)>, keyword: Option<(&str, &str)>) {
        let line = Line { place, keyword: keyword.map(|pair| self.position(pair)) };
        self.lines.push(line);
    }

    /// Inserts lines of the TOML that are not in the original, the first of them as this line, counted from 1. Each may
    /// have a key, and a word for it.
    pub fn insert<'a>(&mut self, line: usize, keywords: impl IntoIterator<Item = Option<(&'a str, &'a str)>>) {
        let lines: Vec<_> = keywords
            .into_iter()
            .map(|keyword| Line { place: None, keyword: keyword.map(|pair| self.position(pair)) })
            .collect();
        let at = line.saturating_sub(1).min(self.lines.len());
        self.lines.splice(at..at, lines);
    }

    /// Sets what the original calls a table, which messages name like this. If that is empty, messages do not name it.
    pub fn name_table(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.tables.insert(ours.into(), theirs.into());
    }

    /// Replaces a part of messages. Phrases are replaced in the order in which they are added.
    pub fn add_phrase(&mut self, ours: &str, theirs: &str) {
        self.phrases.push((ours.to_owned(), theirs.to_owned()));
    }

    /// Returns a message about a line of the TOML with the words of the original, as far as they are known. The message
    /// has the form `TABLE: KEY: what is wrong`.
    pub fn reword(&self, line: Option<usize>, message: &str) -> String {
        let Some((table, rest)) = message.split_once(": ") else { return message.to_owned() };
        let Some(theirs) = self.tables.get(table) else { return message.to_owned() };
        let keyword = line.and_then(|line| self.keyword(line));
        let keyword = keyword.and_then(|(key, keyword)| Some((keyword, rest.strip_prefix(key)?.strip_prefix(": ")?)));
        let mut wrong = keyword.map_or(rest, |(_, wrong)| wrong).to_owned();
        if ["virtual_router \"", "sync_group \"", "check \""].iter().any(|kind| wrong.contains(kind)) {
            for (ours, theirs) in self.tables.iter().filter(|(ours, _)| ours.ends_with('"')) {
                wrong = wrong.replace(ours, theirs);
            }
        }
        for (ours, theirs) in &self.phrases {
            wrong = wrong.replace(ours, theirs);
        }
        let table = Some(theirs.as_str()).filter(|table| !table.is_empty());
        let keyword = keyword.map(|(keyword, _)| keyword.as_str());
        table.into_iter().chain(keyword).chain([wrong.as_str()]).collect::<Vec<_>>().join(": ")
    }

    /// Returns a key by which lines of the TOML sort in the order of the original. Lines that are not in it come first.
    pub(crate) fn order(&self, line: Option<usize>) -> Option<(usize, usize)> {
        self.line(line?)?.place
    }

    fn line(&self, line: usize) -> Option<&Line> {
        self.lines.get(line.checked_sub(1)?)
    }

    /// Returns the file and the line that a line of the TOML comes from.
    fn place(&self, line: usize) -> Option<(Cow<'_, str>, usize)> {
        let (file, line) = self.line(line)?.place?;
        Some((self.files.get(file)?.into(), line))
    }

    /// Returns the key of a line of the TOML, and its keyword.
    fn keyword(&self, line: usize) -> Option<(&str, &String)> {
        let (key, keyword) = self.keywords.get(self.line(line)?.keyword?)?;
        Some((key, keyword))
    }

    /// Returns the position of a key with its keyword.
    fn position(&mut self, (key, keyword): (&str, &str)) -> usize {
        let known = self.keywords.iter().position(|known| known.0 == key && known.1 == keyword);
        known.unwrap_or_else(|| {
            self.keywords.push((key.to_owned(), keyword.to_owned()));
            self.keywords.len() - 1
        })
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text whose lines come from two files.
    fn text() -> Text {
        let mut original = Original::default();
        let (main, included) = (original.add_file("a.conf"), original.add_file("b.conf"));
        original.push(None, None);
        original.push(Some((main, 7)), Some(("notify_active", "notify_master")));
        original.push(Some((included, 3)), Some(("vrid", "virtual_router_id")));
        original.name_table("virtual_router \"web-front\"", "vrrp_instance \"web front\"");
        original.name_table("agent", "");
        original.add_phrase("set virtual_mac = false", "remove use_vmac");
        Text { toml: String::new(), original: Some(Arc::new(original)) }
    }

    #[test]
    fn a_line_is_shown_as_the_one_that_it_comes_from() {
        let show = |text: &Text, line| text.show(Path::new("main.conf"), line, "wrong");
        let shown = [None, Some(1), Some(2), Some(3), Some(4)].map(|line| show(&text(), line));
        assert_eq!(
            shown,
            ["main.conf: wrong", "main.conf: wrong", "a.conf:7: wrong", "b.conf:3: wrong", "main.conf: wrong"]
        );
        assert_eq!(show(&Text::of_toml(""), Some(4)), "main.conf:4: wrong");
    }

    #[test]
    fn a_message_has_the_words_of_the_original() {
        let original = text().original.unwrap_or_default();
        for (line, message, expected) in [
            (
                Some(2),
                "virtual_router \"web-front\": notify_active: x",
                "vrrp_instance \"web front\": notify_master: x",
            ),
            // Only the key of this line.
            (
                Some(3),
                "virtual_router \"web-front\": notify_active: x",
                "vrrp_instance \"web front\": notify_active: x",
            ),
            (None, "virtual_router \"web-front\": vrid: x", "vrrp_instance \"web front\": vrid: x"),
            (
                Some(3),
                "agent: vrid: as of virtual_router \"web-front\"",
                "virtual_router_id: as of vrrp_instance \"web front\"",
            ),
            (Some(2), "agent: x; set virtual_mac = false", "x; remove use_vmac"),
            (Some(2), "check \"a\": notify_active: x", "check \"a\": notify_active: x"),
            (Some(2), "notify_active", "notify_active"),
        ] {
            assert_eq!(original.reword(line, message), expected, "{line:?}");
        }
    }

    #[test]
    fn inserted_lines_move_the_ones_after_them() {
        let mut original = Arc::unwrap_or_clone(text().original.unwrap_or_default());
        original.insert(2, [None, Some(("control", "--control"))]);
        let places = [1, 2, 3, 4, 5].map(|line| original.order(Some(line)));
        assert_eq!(places, [None, None, None, Some((0, 7)), Some((1, 3))]);
        assert_eq!(original.reword(Some(3), "agent: control: is wrong"), "--control: is wrong");
    }
}
