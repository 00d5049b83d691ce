//! Recorded elections: the events of each agent and its actions, line by line in virtual time. A change of the
//! protocol's behaviour shows as a difference in `traces/`, which [`RECORD`] records again.

mod scenarios;
mod trace;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

/// Command that records all traces again.
const RECORD: &str = "cargo xtask golden";
/// Environment variable that this command sets.
const RECORDING: &str = "XVRRP_GOLDEN_RECORD";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/traces")
}

#[test]
fn elections_proceed_as_recorded() {
    let mut differences = String::new();
    let mut names = BTreeSet::new();
    for scenario in scenarios::all() {
        let file = format!("{}.jsonl", scenario.name);
        let path = directory().join(&file);
        let actual = trace::of(&scenario);
        if std::env::var_os(RECORDING).is_some() {
            fs::write(&path, &actual).unwrap();
        }
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        if actual != recorded {
            let diff = TextDiff::from_lines(&recorded, &actual);
            differences += &diff.unified_diff().header(&format!("recorded/{file}"), &format!("now/{file}")).to_string();
        }
        assert!(names.insert(file), "two scenarios are called {}", scenario.name);
    }
    assert!(differences.is_empty(), "\n{differences}\nif this change is intended, record it with `{RECORD}`");

    let recorded = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = recorded.filter(|name| !names.contains(name)).collect();
    assert!(left.is_empty(), "there is no scenario for {left:?}: remove these traces");
}

#[test]
fn every_line_is_json() {
    for scenario in scenarios::all() {
        for line in trace::of(&scenario).lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect(line);
            assert!(value.is_object(), "{line}");
        }
    }
}
