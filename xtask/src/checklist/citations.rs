//! Finds comments that cite rows of a checklist by its mark: `conformance 34` or `conformance 34, 35` anywhere in a
//! comment.
//!
//! A comment above an item belongs to that item. Any other comment belongs to the function that contains it.

/// A citation of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    pub row: u32,
    pub line: usize,
    pub is_test: bool,
    /// True if the comment line consists of the number alone.
    pub is_bare: bool,
    pub place: CitingItem,
}

/// The file, and the function or type in it, that cites a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CitingItem {
    pub path: String,
    pub item: Option<String>,
}

/// Returns the citations in a source. `mark` is the word before the numbers.
pub fn of(mark: &str, path: &str, text: &str) -> Vec<Citation> {
    let mark = format!("{mark} ");
    let lines: Vec<&str> = text.lines().collect();
    let tests_from = lines.iter().position(|line| line.starts_with("mod tests {")).unwrap_or(lines.len());
    let is_test_file = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    let mut citations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((_, comment)) = line.split_once("//") else { continue };
        let Some((before, cited)) = comment.split_once(&mark) else { continue };
        let is_bare = before.trim_matches(['/', '!', ' ']).is_empty() && cited.chars().all(is_list);
        for row in numbers(cited) {
            citations.push(Citation {
                row,
                line: index + 1,
                is_test: is_test_file || index > tests_from,
                is_bare,
                place: CitingItem { path: path.to_owned(), item: item(&lines, index) },
            });
        }
    }
    citations
}

/// Reads the numbers at the start of a text: 34 and 35 from `34, 35) and more`.
fn numbers(cited: &str) -> Vec<u32> {
    let list = cited.split(|character| !is_list(character)).next().unwrap_or_default();
    list.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

fn is_list(character: char) -> bool {
    character.is_ascii_digit() || ", ".contains(character)
}

fn item(lines: &[&str], cited_at: usize) -> Option<String> {
    let is_prelude = |line: &&&str| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with("//") || line.starts_with("#[")
    };
    let is_alone = lines[cited_at].trim_start().starts_with("//");
    let below = lines[cited_at..].iter().find(|line| !is_prelude(line)).filter(|_| is_alone);
    if let Some(name) = below.and_then(|line| declared(line)) {
        return Some(name);
    }
    // Otherwise, it is the nearest function above that is indented less.
    let indent = |line: &str| line.len() - line.trim_start().len();
    let function = |line: &&&str| indent(line) < indent(lines[cited_at]) && line.contains("fn ");
    lines[..cited_at].iter().rev().find(function).and_then(|line| declared(line))
}

/// Returns the name that a line declares: the word after `fn`, `struct` and so on.
fn declared(line: &str) -> Option<String> {
    let mut words = line.split(|character: char| !character.is_alphanumeric() && character != '_');
    const QUALIFIERS: [&str; 8] = ["pub", "crate", "super", "in", "async", "unsafe", "", "default"];
    const KINDS: [&str; 7] = ["fn", "struct", "enum", "const", "static", "type", "trait"];
    let mut kind = words.find(|word| !QUALIFIERS.contains(word))?;
    let mut name = words.find(|word| !word.is_empty())?;
    if kind == "const" && name == "fn" {
        (kind, name) = ("fn", words.find(|word| !word.is_empty())?);
    }
    KINDS.contains(&kind).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(path: &str, text: &str) -> Vec<(u32, Option<String>, bool)> {
        of("conformance", path, text)
            .into_iter()
            .map(|citation| (citation.row, citation.place.item, citation.is_test))
            .collect()
    }

    #[test]
    fn a_comment_above_an_item_belongs_to_that_item() {
        for (text, item) in [
            ("/// Computes it (conformance 19).\n#[must_use]\npub const fn skew() {}", "skew"),
            ("// conformance 19\npub(super) struct Timer;", "Timer"),
            ("    // conformance 19\n\n    const TTL: u8 = 255;", "TTL"),
        ] {
            assert_eq!(cited("common/src/x.rs", text), [(19, Some(item.to_owned()), false)], "{text}");
        }
    }

    #[test]
    fn a_comment_inside_a_function_belongs_to_that_function() {
        let text = "fn outer() {\n    let f = 1; // conformance 3\n    // conformance 4, 5\n    if f == 1 {}\n}\n";
        let outer = || Some("outer".to_owned());
        assert_eq!(cited("ebpf/src/x.rs", text), [(3, outer(), false), (4, outer(), false), (5, outer(), false)]);
    }

    #[test]
    fn tests_are_distinguished_from_code_by_their_place() {
        let test = "#[test]\nfn t() {\n    // RFC 9568 6.1, conformance 20\n}\n";
        assert_eq!(cited("tests/suite/x.rs", test), [(20, Some("t".to_owned()), true)]);
        assert_eq!(cited("common/src/wire/vrrp/tests.rs", test), [(20, Some("t".to_owned()), true)]);
        let beside = format!("// conformance 2\nfn f() {{}}\nmod tests {{\n{test}}}\n");
        let found = cited("common/src/units.rs", &beside);
        assert_eq!(found, [(2, Some("f".to_owned()), false), (20, Some("t".to_owned()), true)]);
    }

    #[test]
    fn a_comment_that_consists_of_the_number_alone_is_bare() {
        let is_bare = |text: &str| {
            of("conformance", "ebpf/src/x.rs", text).iter().map(|citation| citation.is_bare).collect::<Vec<_>>()
        };
        assert_eq!(is_bare("// conformance 28, 56\nfn f() {}\n"), [true, true]);
        assert_eq!(is_bare("let f = 1; // conformance 3\n"), [true]);
        assert_eq!(is_bare("// RFC 9568 6.4.2 (conformance 35): \"Discard the ADVERTISEMENT\".\nfn f() {}\n"), [false]);
    }

    #[test]
    fn the_word_conformance_without_a_number_is_not_a_citation() {
        assert_eq!(cited("agent/src/x.rs", "// conformance is tested\nlet conformance = 5;"), []);
    }
}
