//! Whatever the text, the import does not panic, and its result is a valid configuration.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use xvrrp_import::{Format, Options};

use super::{file, samples};

/// Fragments that are inserted into an original, or replace one of its words.
const FRAGMENTS: &[&str] = &[
    "{",
    "}",
    "\"",
    "'",
    "\\",
    "!",
    "#",
    "\n",
    "\r\n",
    " ",
    "@alpha ",
    "@^alpha ",
    "$A=",
    "$A",
    "${A}",
    "include x",
    "~SEQ(",
    "\n~SEQ(A, 1, 3) ",
    "\n~LST({A, B}, {1, 2}, 3) ",
    "${_PWD}",
    "${_RANDOM 1 9}",
    "\n$A=\\\n",
    "\\\n",
    "includea x",
    "vrrp 5 ip 192.0.2.9",
    "no",
    "255",
    "256",
    "-1",
    "0",
    "0.001",
    "4294967296",
    "1e9",
    "\u{1b}[2J",
    "\u{feff}",
    "ü",
    "::",
    "/",
    "fe80::1/64",
    "192.0.2.9/24",
    "192.0.2.9/33",
    "eth9",
    "weight",
    "reverse",
    "MASTER",
    "vrrp_instance",
    "vrrp_sync_group",
    "virtual_ipaddress",
    "node",
    "IPaddr::192.0.2.9",
    "deadtime",
];

/// Copies the files of a sample to a directory of their own, changes their text, and imports them.
fn check(original: &Path, change: impl Fn(&str) -> String) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let name = original.file_name().unwrap();
    let copy = directory.path().join(name);
    fs::write(&copy, change(&String::from_utf8_lossy(&fs::read(original).unwrap()))).unwrap();
    if let Ok(resources) = fs::read_to_string(original.with_file_name("haresources")) {
        fs::write(directory.path().join("haresources"), change(&resources)).unwrap();
    }
    let format = match name.to_str() {
        Some("ha.cf") => Format::Heartbeat,
        Some("frr.conf") => Format::Frr,
        _ => Format::Keepalived,
    };
    let options = Options { format: Some(format), node: Some("alpha".to_owned()) };
    match xvrrp_import::import(&copy, &options) {
        Ok(import) => {
            let Some(toml) = import.toml() else { return Ok(()) };
            let checked = xvrrp_config::parse(Path::new("result"), toml);
            prop_assert!(checked.is_ok(), "{}\n{toml}", checked.unwrap_err());
        }
        Err(error) => prop_assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

/// Inserts fragments at positions in the text, in place of the word there or after it.
fn garble(text: &str, changes: &[(Index, &str, bool)]) -> String {
    let mut words: Vec<String> = text.split_inclusive(char::is_whitespace).map(str::to_owned).collect();
    for (at, fragment, instead) in changes {
        if words.is_empty() {
            break;
        }
        let word = at.get(&words).clone();
        let position = at.index(words.len());
        words[position] = if *instead { format!("{fragment} ") } else { format!("{word}{fragment} ") };
    }
    words.concat()
}

proptest! {
    #[test]
    fn a_garbled_original_is_refused_or_becomes_a_valid_configuration(
        sample in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), select(FRAGMENTS), any::<bool>()), 1..8),
    ) {
        check(&file(sample.get::<PathBuf>(&samples())), |text| garble(text, &changes))?;
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        check(&file(&samples()[0]), |_| text.clone())?;
    }
}
