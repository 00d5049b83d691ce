//! Imports samples of configurations of keepalived, heartbeat and FRR, and compares the results with the recorded ones.
//!
//! Each directory in `samples/` has a configuration, its result, `xvrrp.toml`, and the notices about it, `notices.txt`.
//! `XVRRP_RECORD=1 cargo test -p xvrrp-import` records both again; the difference shows the change.

mod formats;
mod garbled;
mod keywords;
mod kinds;
mod malformed;
mod reading;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use xvrrp_import::{Import, Options};

/// Returns options for the host that the samples are imported for.
fn options() -> Options {
    Options { format: None, node: Some("alpha".to_owned()) }
}

fn samples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/samples");
    let mut samples: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    samples.sort();
    samples
}

fn file(sample: &Path) -> PathBuf {
    ["keepalived.conf", "ha.cf", "frr.conf"]
        .map(|name| sample.join(name))
        .into_iter()
        .find(|path| path.exists())
        .unwrap()
}

/// Returns the result and the notices, with paths relative to the directory of the sample.
fn imported(sample: &Path) -> (String, String) {
    let Import { configuration, notices } =
        xvrrp_import::import(&file(sample), &options()).unwrap_or_else(|error| panic!("{error}"));
    let toml = configuration.map(|text| text.toml).unwrap_or_default();
    if !toml.is_empty() {
        let checked = xvrrp_config::parse(Path::new("xvrrp.toml"), &toml);
        assert!(checked.is_ok(), "{}: {}", sample.display(), checked.unwrap_err());
    }
    let notices: String = notices.iter().map(|notice| format!("{notice}\n")).collect();
    let directory = format!("{}/", sample.display());
    (toml.replace(&directory, ""), notices.replace(&directory, ""))
}

// parity 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 19, 21, 22, 24, 26, 27, 33, 35, 36, 37, 38, 39, 42, 43, 44, 46
// parity 51, 52, 53, 54, 56, 60, 64, 66, 68, 69, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 83, 85, 88, 91, 97, 102
// parity 47, 103, 104, 105, 106, 107
#[test]
fn every_sample_has_the_recorded_result_and_notices() {
    let record = std::env::var_os("XVRRP_RECORD").is_some();
    let mut wrong = Vec::new();
    for sample in samples() {
        let (toml, notices) = imported(&sample);
        for (name, text) in [("xvrrp.toml", toml), ("notices.txt", notices)] {
            let path = sample.join(name);
            if record {
                fs::write(&path, text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                wrong.push(format!("{} is now:\n{text}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_configuration_without_what_xvrrp_lacks_is_taken_over_whole() {
    // These have load balancing, files that are missing, or directives without a counterpart.
    let incomplete = ["includes", "load-balancer", "oddities", "routes"];
    for sample in samples() {
        let name = sample.file_name().unwrap().to_string_lossy().into_owned();
        let file = file(&sample);
        if file.file_name().is_some_and(|name| name == "keepalived.conf") {
            let import = xvrrp_import::import(&file, &options()).unwrap();
            assert_eq!(import.is_complete(), !incomplete.contains(&name.as_str()), "{name}: {:#?}", import.notices);
        }
    }
}
