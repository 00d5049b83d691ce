//! Lists every directive that the import knows, with what becomes of it, for docs/keepalived-parity.md.

use std::fs;
use std::path::Path;

use super::grammar;
use super::table::{Answer, Directives};
use super::{announce, global, group, instance, track};

/// The list, which `cargo xtask parity` reads.
const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/keepalived-parity/directives.txt");

const HEAD: &str = "\
# Every directive that the import knows: block (- is none), keyword, and what becomes of it. `read`: the import converts
# it. `note`: it needs nothing, because of this. `change`: xvrrp differs in this way. `advise`: it is left out, with this
# advice. `block`: as the whole block.
# `cargo xtask parity` records this list from the tables in agent/import/src/keepalived.
";

/// Returns the lines of a table.
fn listed<T>(block: &str, directives: Directives<T>) -> Vec<String> {
    directives.iter().map(|(keyword, handling)| line(block, keyword, handling.answer())).collect()
}

fn line(block: &str, keyword: &str, answer: Answer) -> String {
    let answer = match answer {
        Answer::Read => "read".to_owned(),
        Answer::Note(why) => format!("note {why}"),
        Answer::Change(difference) => format!("change {difference}"),
        Answer::Advise(advice) => format!("advise {advice}"),
    };
    format!("{block} {keyword} {answer}")
}

/// Returns the lines of a block that the import does not read.
fn unread(block: &str, keywords: &[&str]) -> Vec<String> {
    keywords.iter().map(|keyword| format!("{block} {keyword} block")).collect()
}

#[test]
fn the_list_of_directives_is_the_one_that_the_documentation_is_made_from() {
    let top_level = grammar::TOP_LEVEL.iter().map(|(keyword, _, answer)| line("-", keyword, *answer)).collect();
    let lines: Vec<String> = [
        top_level,
        listed("global_defs", global::DIRECTIVES),
        listed("vrrp_instance", instance::DIRECTIVES),
        listed("authentication", instance::AUTHENTICATION),
        unread("auth_hmac", grammar::HMAC),
        listed("vrrp_sync_group", group::DIRECTIVES),
        listed("vrrp_script", track::SCRIPT),
        listed("vrrp_track_process", track::PROCESS),
        listed("track_file", track::FILE),
        unread("track_group", &[grammar::TRACK_GROUP]),
        listed("garp_group", announce::GARP_GROUP),
        unread("bfd_instance", grammar::BFD_INSTANCE),
    ]
    .concat();
    let list = format!("{HEAD}{}\n", lines.join("\n"));
    let path = Path::new(LIST);
    if std::env::var_os("XVRRP_RECORD").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, list).unwrap();
    } else {
        assert_eq!(fs::read_to_string(path).unwrap_or_default(), list, "run `cargo xtask parity`");
    }
}
