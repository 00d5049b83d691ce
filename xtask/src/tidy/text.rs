//! What any text file is checked for.

use crate::complaint::Complaint;

/// A source file longer than this is worth a look, and one longer than that should be two.
pub const LONG: usize = 400;
pub const TOO_LONG: usize = 600;

/// `machine`: directories of this machine, which nothing in the repository may name.
pub fn check(path: &str, text: &str, machine: &[String]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, what: String| complaints.push(Complaint { path: path.to_owned(), line, what });
    let is_source = path.ends_with(".rs");
    if is_source && text.lines().count() > TOO_LONG {
        complain(TOO_LONG + 1, format!("more than {TOO_LONG} lines: a file has one subject"));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(directory) = machine.iter().find(|directory| names_directory(line, directory)) {
            complain(index + 1, format!("`{directory}` is a directory of one machine"));
        }
        let comment = line.trim_start();
        if is_source && comment.starts_with("//") && comment.contains(IGNORED_EXAMPLE) {
            complain(index + 1, "an ignored example is no example".to_owned());
        }
        if is_source && ignores_test(line) {
            complain(index + 1, "a test that does not run is no test".to_owned());
        }
    }
    complaints
}

/// The start of an example in a comment that the compiler never sees.
const IGNORED_EXAMPLE: &str = concat!("```", "ignore");

/// Returns whether the line is an attribute that ignores a test; it may be hidden in another one, as in
/// `#[cfg_attr(test, ignore)]`.
fn ignores_test(line: &str) -> bool {
    let attribute = line.trim_start().strip_prefix("#[").and_then(|attribute| attribute.split('"').next());
    let mut words =
        attribute.unwrap_or_default().split(|character: char| !character.is_alphanumeric() && character != '_');
    words.any(|word| word == "ignore")
}

/// Returns whether the whole directory stands in the line, not only a longer or relative path.
fn names_directory(line: &str, directory: &str) -> bool {
    let continues = |character: char| character.is_alphanumeric() || "._-~".contains(character);
    line.match_indices(directory).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + directory.len()..].chars().next();
        !before.is_some_and(continues) && !after.is_some_and(continues)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_complained_of() {
        assert_eq!(check("agent/src/x.rs", &"\n".repeat(TOO_LONG), &[]), Vec::new());
        assert_eq!(check("agent/src/x.rs", &"\n".repeat(TOO_LONG + 1), &[]).len(), 1);
        assert_eq!(check("Cargo.lock", &"\n".repeat(TOO_LONG + 1), &[]), Vec::new());
    }

    #[test]
    fn a_directory_of_this_machine_is_complained_of() {
        let machine = ["/build/xvrrp".to_owned()];
        let lines = |text| check("README.md", text, &machine).iter().map(|found| found.line).collect::<Vec<_>>();
        assert_eq!(lines("a\ncd /build/xvrrp\n"), [2]);
        assert_eq!(lines("\"/build/xvrrp/target\""), [1]);
        assert_eq!(lines("/build/xvrrp-2 and some/build/xvrrp"), Vec::<usize>::new());
    }

    #[test]
    fn an_ignored_test_is_complained_of_however_it_is_ignored() {
        for (attribute, complaints) in [
            ("    #[ignore]", 1),
            ("#[ignore = \"slow\"]", 1),
            ("#[cfg_attr(not(root), ignore)]", 1),
            ("#[expect(lint, reason = \"we ignore it\")]", 0),
            ("#[arg(ignore_case = true)]", 0),
            ("let ignore = 1;", 0),
        ] {
            assert_eq!(check("tests/tests/x.rs", attribute, &[]).len(), complaints, "{attribute}");
        }
    }

    #[test]
    fn an_ignored_example_is_complained_of() {
        assert_eq!(check("agent/src/x.rs", &format!("fn f() {{}}\n/// {IGNORED_EXAMPLE}\n"), &[])[0].line, 2);
    }
}
