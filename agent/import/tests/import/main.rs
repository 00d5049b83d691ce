//! Samples of keepalived's and heartbeat's configurations, and what becomes of them.
//!
//! Each directory in `samples/` has a configuration, and beside it `xvrrp.toml`, the result, and `left.txt`, what was
//! listed. `XVRRP_RECORD=1 cargo test -p xvrrp-import` writes both again, so that the difference can be read.

mod garbled;
mod keywords;
mod malformed;

use std::fs;
use std::path::{Path, PathBuf};

use xvrrp_import::{Import, Options};

/// The host that samples are imported for.
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
    ["keepalived.conf", "ha.cf"].map(|name| sample.join(name)).into_iter().find(|path| path.exists()).unwrap()
}

/// The result and the list, with paths as seen from the sample's directory.
fn imported(sample: &Path) -> (String, String) {
    let Import { toml, left } =
        xvrrp_import::import(&file(sample), &options()).unwrap_or_else(|error| panic!("{error}"));
    let toml = toml.unwrap_or_default();
    if !toml.is_empty() {
        let checked = xvrrp_config::parse(Path::new("xvrrp.toml"), &toml);
        assert!(checked.is_ok(), "{}: {}", sample.display(), checked.unwrap_err());
    }
    let left: String = left.iter().map(|left| format!("{left}\n")).collect();
    let directory = format!("{}/", sample.display());
    (toml.replace(&directory, ""), left.replace(&directory, ""))
}

#[test]
fn every_sample_becomes_what_is_recorded_and_what_is_left_is_listed() {
    let record = std::env::var_os("XVRRP_RECORD").is_some();
    let mut wrong = Vec::new();
    for sample in samples() {
        let (toml, left) = imported(&sample);
        for (name, text) in [("xvrrp.toml", toml), ("left.txt", left)] {
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
