//! What the real-time loop may know.

use anyhow::Result;

use super::imports::Imports;
use super::paths;
use crate::complaint::Complaint;

const ELECTION: &str = "agent/src/election/";

/// What the election may import from the rest of the agent: a file, and the names in it; none of them: all.
const KNOWN: &[(&str, &[&str])] = &[
    // What goes into the queue of the addresses' thread, and what comes back.
    ("agent/src/addresses/mod.rs", &["AddressRequest"]),
    ("agent/src/addresses/report.rs", &["AddressReport"]),
    ("agent/src/identity/mod.rs", &[]),
    ("agent/src/process/clock.rs", &[]),
    ("agent/src/process/realtime.rs", &[]),
];

/// `sources`: (path in the workspace, text).
pub fn check(sources: &[(String, String)], imports: &Imports) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for (path, imports) in imports.iter().filter(|(path, _)| path.starts_with(ELECTION)) {
        for (from, import) in imports.iter().filter(|(from, _)| !from.starts_with(ELECTION)) {
            let known = KNOWN.iter().find(|(file, _)| file == from).map(|(_, names)| *names);
            let is_known =
                |name: &String| known.is_some_and(|names| names.is_empty() || names.contains(&name.as_str()));
            for name in import.names.iter().filter(|name| !is_known(name)) {
                let what =
                    format!("`{name}` of {from} does not belong here: the election does not know the management side");
                complaints.push(Complaint { path: path.clone(), line: import.line, what });
            }
        }
    }
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(ELECTION)) {
        for named in paths::of(&[], text)?.iter().filter(|named| named.words.first().is_some_and(|it| it == "tracing"))
        {
            let what = "the election thread logs nothing: a log that blocks would delay adverts".to_owned();
            complaints.push(Complaint { path: path.clone(), line: named.line, what });
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::super::imports;
    use super::*;

    fn lines(election: &str) -> Vec<usize> {
        let files = [
            ("agent/src/lib.rs", "mod election; mod addresses; mod process; mod status;"),
            (ELECTION_FILE, election),
            ("agent/src/addresses/mod.rs", "pub enum Request {} pub struct Handle;"),
            ("agent/src/process/mod.rs", "pub mod clock;"),
            ("agent/src/process/clock.rs", "pub fn now() {}"),
            ("agent/src/status/mod.rs", "pub struct Inspector;"),
        ];
        let sources: Vec<_> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let imports = imports::of(&sources).expect("the snippets are Rust");
        let complaints = check(&sources, &imports).expect("the snippets are Rust");
        complaints.into_iter().map(|complaint| complaint.line).collect()
    }

    const ELECTION_FILE: &str = "agent/src/election/mod.rs";

    #[test]
    fn what_the_election_may_not_know_is_complained_of() {
        assert_eq!(lines("\nuse crate::status::Inspector;"), [2]);
        assert_eq!(lines("use crate::addresses::Request;\nfn f(_: crate::addresses::Handle) {}"), [1]);
        assert_eq!(lines("\nuse tracing::info;\nfn f() { tracing::warn!(\"late\") }"), [2, 3]);
    }

    #[test]
    fn what_the_election_may_know_is_left_alone() {
        assert_eq!(
            lines("use crate::addresses::Request; use crate::process::clock; fn f() { clock::now() }"),
            Vec::<usize>::new()
        );
    }
}
