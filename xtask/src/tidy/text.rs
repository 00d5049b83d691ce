//! Checks that apply to any text file.

use crate::complaint::Complaint;

/// Length in lines from which a source file is reported.
pub const LONG: usize = 400;
/// Largest length of a source file in lines.
pub const TOO_LONG: usize = 600;

/// Checks a file. `machine` lists directories of this machine, which no file may name.
pub fn check(path: &str, text: &str, machine: &[String]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, what: String| complaints.push(Complaint { path: path.to_owned(), line, what });
    let is_source = path.ends_with(".rs");
    if is_source && text.lines().count() > TOO_LONG {
        complain(TOO_LONG + 1, format!("the file has more than {TOO_LONG} lines: split it by subject"));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(directory) = machine.iter().find(|directory| names_directory(line, directory)) {
            complain(index + 1, format!("`{directory}` exists only on this machine"));
        }
        let comment = line.trim_start();
        if is_source && comment.starts_with("//") && comment.contains(IGNORED_EXAMPLE) {
            complain(index + 1, "an ignored example is never compiled: make it compile, or remove it".to_owned());
        }
        if is_source && ignores_test(line) {
            complain(index + 1, "an ignored test never runs: make it run, or remove it".to_owned());
        }
    }
    complaints
}

/// Start of an example in a comment that the compiler never sees.
const IGNORED_EXAMPLE: &str = concat!("```", "ignore");

/// Returns whether the line is an attribute that ignores a test, possibly inside another attribute, as in
/// `#[cfg_attr(test, ignore)]`.
fn ignores_test(line: &str) -> bool {
    let attribute = line.trim_start().strip_prefix("#[").and_then(|attribute| attribute.split('"').next());
    let mut words =
        attribute.unwrap_or_default().split(|character: char| !character.is_alphanumeric() && character != '_');
    words.any(|word| word == "ignore")
}

/// Returns whether the line contains the directory, and not just a longer or a relative path that looks like it.
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
    fn a_source_file_that_is_too_long_leads_to_a_complaint() {
        assert_eq!(check("agent/src/x.rs", &"\n".repeat(TOO_LONG), &[]), Vec::new());
        assert_eq!(check("agent/src/x.rs", &"\n".repeat(TOO_LONG + 1), &[]).len(), 1);
        assert_eq!(check("Cargo.lock", &"\n".repeat(TOO_LONG + 1), &[]), Vec::new());
    }

    #[test]
    fn a_directory_of_this_machine_leads_to_a_complaint() {
        let machine = ["/build/xvrrp".to_owned()];
        let lines = |text| check("README.md", text, &machine).iter().map(|found| found.line).collect::<Vec<_>>();
        assert_eq!(lines("a\ncd /build/xvrrp\n"), [2]);
        assert_eq!(lines("\"/build/xvrrp/target\""), [1]);
        assert_eq!(lines("/build/xvrrp-2 and some/build/xvrrp"), Vec::<usize>::new());
    }

    #[test]
    fn an_ignored_test_leads_to_a_complaint_however_it_is_ignored() {
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
    fn an_ignored_example_leads_to_a_complaint() {
        assert_eq!(check("agent/src/x.rs", &format!("fn f() {{}}\n/// {IGNORED_EXAMPLE}\n"), &[])[0].line, 2);
    }
}
