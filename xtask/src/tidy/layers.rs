//! Checks what the real-time loop, the election, may import, and that it logs nothing. Also checks which rooms of the
//! agent return errors that only `main` prints.

use anyhow::Result;

use super::imports::Imports;
use super::paths;
use crate::complaint::Complaint;

const ELECTION: &str = "agent/src/election/";

/// Imports that the election may have from the rest of the agent: a file and the names in it. An empty list allows all
/// names.
const KNOWN: &[(&str, &[&str])] = &[
    // What goes into the queue of the addresses' thread, and what comes back.
    ("agent/src/addresses/mod.rs", &["AddressRequest"]),
    ("agent/src/addresses/report.rs", &["AddressReport"]),
    ("agent/src/identity/mod.rs", &[]),
    ("agent/src/process/clock.rs", &[]),
    ("agent/src/process/realtime.rs", &[]),
];

const AGENT: &str = "agent/src/";
/// Rooms of the agent that use anyhow. Only `main` handles their errors, by printing them.
const USE_ANYHOW: &[&str] = &["agent/src/commands/", "agent/src/main.rs", "agent/src/service/"];

/// Checks sources, given as (path in the workspace, text), and their imports.
pub fn check(sources: &[(String, String)], imports: &Imports) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for (path, imports) in imports.iter().filter(|(path, _)| path.starts_with(ELECTION)) {
        for (from, import) in imports.iter().filter(|(from, _)| !from.starts_with(ELECTION)) {
            let known = KNOWN.iter().find(|(file, _)| file == from).map(|(_, names)| *names);
            let is_known =
                |name: &String| known.is_some_and(|names| names.is_empty() || names.contains(&name.as_str()));
            for name in import.names.iter().filter(|name| !is_known(name)) {
                let what = format!("the election must not import `{name}` from {from}, which is the management side");
                complaints.push(Complaint { path: path.clone(), line: import.line, what });
            }
        }
    }
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(AGENT)) {
        let named = paths::of(&[], text)?;
        let mut complain = |name: &str, what: &str| {
            for named in named.iter().filter(|named| named.words.first().is_some_and(|first| first == name)) {
                complaints.push(Complaint { path: path.clone(), line: named.line, what: what.to_owned() });
            }
        };
        if path.starts_with(ELECTION) {
            complain("tracing", "the election must not log, because a log that blocks would delay adverts");
        }
        if !USE_ANYHOW.iter().any(|room| path.starts_with(room)) {
            complain("anyhow", "this room must return an error type of its own (thiserror), which callers can handle");
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::super::imports;
    use super::*;

    fn lines(election: &str) -> Vec<usize> {
        complaints(&[(ELECTION_FILE, election)])
    }

    /// Returns the lines of the complaints about these files and the rest of a small agent.
    fn complaints(files: &[(&str, &str)]) -> Vec<usize> {
        let others = [
            ("agent/src/lib.rs", "mod election; mod addresses; mod process; mod status;"),
            ("agent/src/addresses/mod.rs", "pub enum AddressRequest {} pub struct AddressThread;"),
            ("agent/src/process/mod.rs", "pub mod clock;"),
            ("agent/src/process/clock.rs", "pub fn now() {}"),
            ("agent/src/status/mod.rs", "pub struct Inspector;"),
        ];
        let sources: Vec<_> =
            files.iter().chain(&others).map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let imports = imports::of(&sources).expect("the snippets are Rust");
        let complaints = check(&sources, &imports).expect("the snippets are Rust");
        complaints.into_iter().map(|complaint| complaint.line).collect()
    }

    const ELECTION_FILE: &str = "agent/src/election/mod.rs";

    #[test]
    fn forbidden_imports_of_the_election_lead_to_complaints() {
        assert_eq!(lines("\nuse crate::status::Inspector;"), [2]);
        assert_eq!(lines("use crate::addresses::AddressRequest;\nfn f(_: crate::addresses::AddressThread) {}"), [1]);
        assert_eq!(lines("\nuse tracing::info;\nfn f() { tracing::warn!(\"late\") }"), [2, 3]);
    }

    #[test]
    fn anyhow_is_for_the_service_the_commands_and_main() {
        for (path, expected) in [
            ("agent/src/commands/status.rs", &[][..]),
            ("agent/src/main.rs", &[]),
            ("agent/src/service/start.rs", &[]),
            ("agent/src/plan/mod.rs", &[1, 2]),
            ("agent/src/succession/reload.rs", &[1, 2]),
        ] {
            let text = "use anyhow::Context;\nfn f() -> anyhow::Result<()> { Ok(()) }";
            assert_eq!(complaints(&[(path, text)]), expected, "{path}");
        }
    }

    #[test]
    fn known_imports_of_the_election_are_allowed() {
        assert_eq!(
            lines("use crate::addresses::AddressRequest; use crate::process::clock; fn f() { clock::now() }"),
            Vec::<usize>::new()
        );
    }
}
