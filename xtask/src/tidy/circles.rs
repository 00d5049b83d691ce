//! Finds files that import from each other in a circle, and circles of the agent's rooms, which are its folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::imports::{ImportedNames, Imports};
use crate::complaint::Complaint;

pub fn check(imports: &Imports) -> Vec<Complaint> {
    let found: Vec<Complaint> = circles(imports).into_iter().map(|circle| complaint(&circle, imports)).collect();
    if !found.is_empty() {
        return found;
    }
    let rooms = between_rooms(imports);
    circles(&rooms).into_iter().map(|circle| complaint(&circle, &rooms)).collect()
}

/// Directory whose folders are rooms.
const AGENT: &str = "agent/src/";

/// Returns the imports between the agent's rooms.
fn between_rooms(imports: &Imports) -> Imports {
    let mut rooms = Imports::new();
    for (from, imports) in imports.iter().filter(|(from, _)| from.starts_with(AGENT)) {
        for (to, ImportedNames { line, names }) in imports.iter().filter(|(to, _)| room(to) != room(from)) {
            let shown = names.iter().map(|name| format!("{name} ({from} from {to})"));
            let of = rooms.entry(room(from)).or_default();
            let new = || ImportedNames { line: *line, names: BTreeSet::new() };
            of.entry(room(to)).or_insert_with(new).names.extend(shown);
        }
    }
    rooms
}

/// Returns the room of a file: `agent/src/status` for `agent/src/status/http.rs`.
fn room(path: &str) -> String {
    let inside = path.strip_prefix(AGENT).unwrap_or(path);
    format!("{AGENT}{}", inside.split('/').next().unwrap_or(inside))
}

/// Returns the largest sets of files in which each file reaches all others.
fn circles(imports: &Imports) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (file.as_str(), reached_from(file, imports))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for &file in reached.keys().filter(|file| reaches(file, file)) {
        if !found.iter().any(|circle| circle.contains(file)) {
            found.push(reached.keys().copied().filter(|other| reaches(file, other) && reaches(other, file)).collect());
        }
    }
    found
}

fn reached_from<'a>(file: &str, imports: &'a Imports) -> BTreeSet<&'a str> {
    let direct = |file: &str| imports.get(file).into_iter().flat_map(|imports| imports.keys().map(String::as_str));
    let mut waiting: Vec<&str> = direct(file).collect();
    let mut reached = BTreeSet::new();
    while let Some(next) = waiting.pop() {
        if reached.insert(next) {
            waiting.extend(direct(next));
        }
    }
    reached
}

/// Makes a complaint that names every import in the circle.
fn complaint(circle: &BTreeSet<&str>, imports: &Imports) -> Complaint {
    let mut what = format!("{} files or rooms import from each other; move what they share below them", circle.len());
    let mut first = None;
    for from in circle {
        let within = imports.get(*from).into_iter().flatten().filter(|(to, _)| circle.contains(to.as_str()));
        for (to, ImportedNames { line, names }) in within {
            let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let _ = write!(what, "\n    {from} -> {to}: {names}");
            first.get_or_insert((*from, *line));
        }
    }
    let (path, line) = first.unwrap_or_default();
    Complaint { path: path.to_owned(), line, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(arrows: &[(&str, &str, &str)]) -> Imports {
        let mut imports = Imports::new();
        for (from, to, name) in arrows {
            let import = ImportedNames { line: 3, names: BTreeSet::from([(*name).to_owned()]) };
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned(), import);
        }
        imports
    }

    #[test]
    fn a_circle_leads_to_one_complaint_with_its_names() {
        let found =
            check(&imports(&[("a", "b", "B"), ("b", "c", "C"), ("c", "a", "A"), ("c", "d", "D"), ("e", "a", "A")]));
        let what = "3 files or rooms import from each other; move what they share below them\n    a -> b: B\n    b -> c: C\n    c -> a: A";
        assert_eq!(found, [Complaint { path: "a".to_owned(), line: 3, what: what.to_owned() }]);
    }

    #[test]
    fn rooms_that_import_from_each_other_through_different_files_are_a_circle() {
        let arrows = [("agent/src/x/1.rs", "agent/src/y/1.rs", "Y"), ("agent/src/y/2.rs", "agent/src/x/2.rs", "X")];
        let found = check(&imports(&arrows));
        assert_eq!(found.iter().map(|complaint| complaint.path.as_str()).collect::<Vec<_>>(), ["agent/src/x"]);
        assert_eq!(check(&imports(&arrows[..1])), []);
    }

    #[test]
    fn imports_that_point_one_way_are_allowed() {
        assert_eq!(check(&imports(&[("a", "b", "B"), ("a", "c", "C"), ("b", "c", "C")])), []);
    }
}
