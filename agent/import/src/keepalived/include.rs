//! Finds the files of `include`, `includer`, `includem`, `includew`, `includeb` and `includea`.

use std::fs;
use std::ops::BitOr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

/// Maximum number of alternatives of a pattern with braces.
const MAX_ALTERNATIVES: usize = 1_000;

/// What must hold for keepalived to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demands {
    /// Each file that matches can be read.
    read: bool,
    /// Each file without wildcards exists.
    exist: bool,
    /// Each pattern matches a file.
    matched: bool,
    /// Each alternative of a pattern with braces matches a file.
    braces: bool,
}

impl Demands {
    const READ: Self = Self { read: true, exist: false, matched: false, braces: false };
    const ALL: Self = Self { read: true, exist: true, matched: true, braces: true };

    /// Returns the demands after an `include_check` with these words.
    pub fn changed<'a>(self, words: impl Iterator<Item = &'a str>) -> Self {
        let mut result = self;
        let mut empty = true;
        for (index, word) in words.enumerate() {
            empty = false;
            let (on, name) = match word.split_at_checked(1) {
                Some(("-", name)) => (false, name),
                Some(("+", name)) => (true, name),
                _ if index == 0 => {
                    result = Self::READ;
                    (true, word)
                }
                _ => continue,
            };
            match name {
                "read" => result.read = on,
                "match" => result.exist = on,
                "wildcard_match" => result.matched = on,
                "brace_match" => result.braces = on,
                _ => {}
            }
        }
        if empty { Self::ALL } else { result }
    }
}

impl BitOr for Demands {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            read: self.read | other.read,
            exist: self.exist | other.exist,
            matched: self.matched | other.matched,
            braces: self.braces | other.braces,
        }
    }
}

/// Files that a pattern matches, in the order in which they are read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub files: Vec<PathBuf>,
    pub complaints: Vec<Complaint>,
}

/// Why an include does not read what it seems to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// What is wrong, and what to do.
    pub message: String,
    /// Whether keepalived does not start because of it.
    pub fatal: bool,
    /// Whether a file may be missing that is there on another host.
    pub loss: bool,
}

/// Parses an include. Returns what it demands, and its pattern.
pub(super) fn parse(line: &str) -> Option<(Demands, &str)> {
    let rest = line.strip_prefix("include")?;
    let blank = |text: &str| text.starts_with(|c: char| c.is_ascii_whitespace());
    let (demands, rest) = match rest.chars().next()? {
        _ if blank(rest) => (Demands::default(), rest),
        'r' => (Demands::READ, rest.get(1..)?),
        'm' => (Demands { exist: true, ..Demands::READ }, rest.get(1..)?),
        'w' => (Demands { exist: true, matched: true, ..Demands::READ }, rest.get(1..)?),
        'b' => (Demands { braces: true, ..Demands::READ }, rest.get(1..)?),
        'a' => (Demands::ALL, rest.get(1..)?),
        _ => return None,
    };
    blank(rest).then(|| (demands, rest.trim_matches(|c: char| c.is_ascii_whitespace())))
}

/// Finds the files that match a pattern, as glob(3) does, in this directory.
pub(super) fn find(pattern: &str, directory: &Path, demands: Demands) -> Found {
    let mut found = Found::default();
    let mut complain = |message: String, fatal: bool, loss: bool| {
        found.complaints.push(Complaint { message, fatal, loss });
    };
    let alternatives = alternatives(pattern);
    let braces = alternatives.len() != 1;
    let mut matches = Vec::new();
    let mut missing = alternatives.is_empty();
    for alternative in &alternatives {
        let (files, complete) = expand(alternative, directory);
        missing |= !complete;
        matches.extend(files);
    }
    let shown = directory.join(pattern);
    let shown = shown.display();
    match (matches.is_empty(), missing) {
        (true, true) => {
            let fatal = if braces { demands.braces } else { demands.exist };
            complain(format!("there is no file {shown}; restore it, or remove the line"), fatal, true);
        }
        (true, false) => {
            let message = format!("no file matches {shown}; if there should be one, copy it here as well");
            complain(message, demands.matched, false);
        }
        (false, true) => {
            let message = format!("some of the files of {shown} are missing; restore them, or correct the line");
            complain(message, demands.braces, true);
        }
        (false, false) => {}
    }
    for path in matches {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let wrong = if metadata.is_dir() {
            Some("a directory")
        } else if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            Some("executable")
        } else {
            None
        };
        match wrong {
            Some(wrong) => {
                let message = format!("{} is {wrong}, so keepalived skips it; so does the import", path.display());
                complain(message, demands.read, false);
            }
            None => found.files.push(path),
        }
    }
    found
}

/// Returns the alternatives of a pattern with braces, as GLOB_BRACE has them: `{a,b}.conf` is `a.conf` and `b.conf`. A
/// pattern with too many is one of none.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut all = Vec::new();
    // The next one to expand comes last.
    let mut open = vec![pattern.to_owned()];
    while let Some(next) = open.pop() {
        if all.len() + open.len() > MAX_ALTERNATIVES {
            return Vec::new();
        }
        match braces(&next) {
            Some((before, inside, after)) => {
                open.extend(inside.iter().rev().map(|alternative| format!("{before}{alternative}{after}")));
            }
            None => all.push(next),
        }
    }
    all
}

/// Splits a pattern at its first pair of braces, and what is inside at its commas. `{}` is literal.
fn braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let mut open = Vec::new();
    let mut commas = Vec::new();
    let mut escaped = false;
    for (at, c) in pattern.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match c {
            '\\' => escaped = true,
            '{' if pattern.get(at..)?.starts_with("{}") && open.is_empty() => {}
            '{' => open.push(at),
            ',' if open.len() == 1 => commas.push(at),
            '}' if open.len() == 1 => {
                let first = *open.first()?;
                let mut inside = Vec::new();
                let mut from = first + 1;
                for comma in commas.into_iter().chain([at]) {
                    inside.push(pattern.get(from..comma)?);
                    from = comma + 1;
                }
                return Some((pattern.get(..first)?, inside, pattern.get(at + 1..)?));
            }
            '}' => {
                open.pop();
            }
            _ => {}
        }
    }
    None
}

/// Returns the files that match a pattern without braces, sorted, and whether nothing was missing: a file without
/// wildcards, or a directory to search.
fn expand(pattern: &str, directory: &Path) -> (Vec<PathBuf>, bool) {
    let literal = || {
        let path = directory.join(unescaped(pattern));
        let exists = fs::symlink_metadata(&path).is_ok();
        (if exists { vec![path] } else { Vec::new() }, exists)
    };
    let Some(wildcard) = first_wildcard(pattern) else { return literal() };
    let full = Path::new(&glob::Pattern::escape(&directory.to_string_lossy())).join(translated(pattern));
    // `*` does not match a leading dot.
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let Ok(paths) = glob::glob_with(&full.to_string_lossy(), options) else { return literal() };
    let files: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
    let searched = pattern.get(..wildcard).and_then(|before| before.rsplit_once('/')).map_or("", |(before, _)| before);
    let searched = if pattern.starts_with('/') && searched.is_empty() { "/" } else { searched };
    let searched = directory.join(unescaped(searched));
    let searched = if searched.as_os_str().is_empty() { Path::new(".").to_owned() } else { searched };
    let complete = !files.is_empty() || searched.is_dir();
    (files, complete)
}

/// Returns the position of the first wildcard that no backslash precedes.
fn first_wildcard(pattern: &str) -> Option<usize> {
    let mut escaped = false;
    pattern.char_indices().find_map(|(at, c)| {
        let literal = std::mem::take(&mut escaped);
        escaped = !literal && c == '\\';
        (!literal && matches!(c, '*' | '?' | '[')).then_some(at)
    })
}

/// Removes the backslashes before characters.
fn unescaped(pattern: &str) -> String {
    let mut result = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        result.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    result
}

/// Translates a pattern of glob(3): a backslash makes the next character literal, and `[^` means the same as `[!`.
fn translated(pattern: &str) -> String {
    let mut result = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(literal) => result.push_str(&glob::Pattern::escape(literal.encode_utf8(&mut [0; 4]))),
                None => result.push(c),
            },
            '[' if chars.next_if_eq(&'^').is_some() => result.push_str("[!"),
            // Several mean the same as one; to the library, two search all directories below.
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                result.push(c);
            }
            c => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_distinguished_from_other_words() {
        assert_eq!(parse("include conf.d/*.conf"), Some((Demands::default(), "conf.d/*.conf")));
        assert_eq!(parse("includer\tx"), Some((Demands::READ, "x")));
        assert_eq!(parse("includea x"), Some((Demands::ALL, "x")));
        for other in ["included x", "include", "includex x", "includer", "include_check read"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn braces_are_alternatives_in_their_order() {
        let all = |pattern| alternatives(pattern).join(" ");
        assert_eq!(all("{b,a}.conf"), "b.conf a.conf");
        assert_eq!(all("{a,b{1,2},}x{3,4}"), "ax3 ax4 b1x3 b1x4 b2x3 b2x4 x3 x4");
        assert_eq!(all("a{}b"), "a{}b");
        assert_eq!(all("{a"), "{a");
        assert_eq!(all("\\{a,b}"), "\\{a,b}");
        assert_eq!(alternatives(&"{a,b}".repeat(9)).len(), 512);
        assert_eq!(alternatives(&"{a,b}".repeat(1000)).len(), 0);
    }

    #[test]
    fn wildcards_match_as_in_glob() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join("d")).unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "[x].conf", "*.conf", "d/c.conf"] {
            fs::write(path.join(name), "").unwrap();
        }
        let found = |pattern| {
            let (files, complete) = expand(pattern, path);
            let names = files.iter().map(|file| file.strip_prefix(path).unwrap().to_string_lossy().into_owned());
            (names.collect::<Vec<_>>().join(" "), complete)
        };
        assert_eq!(found("*.conf"), ("*.conf [x].conf a.conf b.conf".to_owned(), true));
        assert_eq!(found("[^a*[].conf"), ("b.conf".to_owned(), true));
        assert_eq!(found("\\*.conf"), ("*.conf".to_owned(), true));
        assert_eq!(found("**.conf"), found("*.conf"));
        assert_eq!(found("*/c.conf"), ("d/c.conf".to_owned(), true));
        assert_eq!(found("[x"), (String::new(), false));
        assert_eq!(found("e*"), (String::new(), true));
        assert_eq!(found("e/*"), (String::new(), false));
        assert_eq!(found("e.conf"), (String::new(), false));
    }

    #[test]
    fn include_check_sets_adds_and_removes_demands() {
        let after = |words: &str, before: Demands| before.changed(words.split_whitespace());
        assert_eq!(after("", Demands::default()), Demands::ALL);
        assert_eq!(after("match", Demands::ALL), Demands { exist: true, ..Demands::READ });
        assert_eq!(after("-brace_match -read", Demands::ALL), Demands { read: false, braces: false, ..Demands::ALL });
        assert_eq!(after("+wildcard_match", Demands::READ), Demands { matched: true, ..Demands::READ });
    }
}
