//! Which words keepalived's VRRP process knows in which block, and how it reads what follows them (the
//! `install_keyword` calls in its source).

use super::table::{Answer, Directives};
use super::{advice, announce, global, group, instance, track};

/// How keepalived reads what follows a word that it knows.
#[derive(Clone, Copy)]
pub(super) enum Syntax {
    /// A line.
    Line,
    /// A block of lines that are not directives, such as addresses.
    Values,
    /// A block of directives.
    Block(Level),
    /// A block of directives that keepalived's main process reads.
    Global(Level),
    /// A block that another process of keepalived reads, and the import does not.
    Skipped,
}

/// Returns the syntax of a word that is known in a kind of block.
pub(super) type Level = fn(&str) -> Option<Syntax>;

/// Words outside any block, with how keepalived reads what follows, and what becomes of it.
pub(super) const TOP_LEVEL: &[(&str, Syntax, Answer)] = &[
    ("global_defs", Syntax::Global(global), Answer::Read),
    ("vrrp_instance", Syntax::Block(instance), Answer::Read),
    ("vrrp_sync_group", Syntax::Block(sync_group), Answer::Read),
    ("vrrp_script", Syntax::Block(|word| listed(track::SCRIPT, word)), Answer::Read),
    ("vrrp_track_process", Syntax::Block(|word| listed(track::PROCESS, word)), Answer::Read),
    ("track_file", Syntax::Block(|word| listed(track::FILE, word)), Answer::Read),
    ("vrrp_track_file", Syntax::Block(|word| listed(track::FILE, word)), Answer::Read),
    ("static_ipaddress", Syntax::Values, Answer::Read),
    ("static_routes", Syntax::Values, Answer::Read),
    ("static_rules", Syntax::Values, Answer::Read),
    ("track_group", Syntax::Block(|word| (word == TRACK_GROUP).then_some(Syntax::Values)), Answer::Note(NO_WAITING)),
    ("garp_group", Syntax::Block(garp_group), Answer::Read),
    (
        "interface_up_down_delays",
        Syntax::Values,
        Answer::Change("the loss of a carrier is a fault at once, and its return ends that at once"),
    ),
    ("bfd_instance", Syntax::Block(bfd_instance), Answer::Advise(advice::BFD)),
    ("virtual_server", Syntax::Skipped, Answer::Advise(advice::LVS)),
    ("virtual_server_group", Syntax::Skipped, Answer::Note(VIRTUAL_SERVER)),
    ("SSL", Syntax::Skipped, Answer::Note(VIRTUAL_SERVER)),
    ("net_namespace", Syntax::Line, Answer::Read),
    ("net_namespace_ipvs", Syntax::Line, Answer::Note(VIRTUAL_SERVER)),
    ("namespace_with_ipsets", Syntax::Line, Answer::Note("xvrrp needs no firewall")),
    ("linkbeat_interfaces", Syntax::Values, Answer::Note(advice::CARRIER)),
    ("linkbeat_use_polling", Syntax::Line, Answer::Note(advice::CARRIER)),
    ("instance", Syntax::Line, Answer::Note(PROCESSES)),
    ("use_pid_dir", Syntax::Line, Answer::Note(PROCESSES)),
    ("child_wait_time", Syntax::Line, Answer::Note(PROCESSES)),
];

const VIRTUAL_SERVER: &str = "it counts only for a virtual_server";
const NO_WAITING: &str = "it counts only for static_ipaddress, static_routes and static_rules";
const PROCESSES: &str = "it concerns only the processes of keepalived";

/// The word in a `track_group`.
pub(super) const TRACK_GROUP: &str = "group";

/// Words in `auth_hmac`.
pub(super) const HMAC: &[&str] = &["key", "active_key", "time_window", "anti_replay", "mode"];

/// Words in a `bfd_instance`.
pub(super) const BFD_INSTANCE: &[&str] = &[
    "source_ip",
    "neighbor_ip",
    "neighbour_ip",
    "min_rx",
    "min_tx",
    "idle_tx",
    "multiplier",
    "passive",
    "ttl",
    "hoplimit",
    "max_hops",
    "multihop",
    "weight",
    "vrrp",
    "checker",
];

/// Returns the syntax of a word outside any block.
pub(super) fn top_level(word: &str) -> Option<Syntax> {
    TOP_LEVEL.iter().find(|(known, ..)| *known == word).map(|(_, syntax, _)| *syntax)
}

fn global(word: &str) -> Option<Syntax> {
    if word == "notification_email" { Some(Syntax::Values) } else { listed(global::DIRECTIVES, word) }
}

fn instance(word: &str) -> Option<Syntax> {
    match word {
        "virtual_ipaddress"
        | "virtual_ipaddress_excluded"
        | "virtual_routes"
        | "virtual_rules"
        | "unicast_peer"
        | "track_interface"
        | "track_script"
        | "track_file"
        | "track_process"
        | "track_bfd" => Some(Syntax::Values),
        "authentication" => Some(Syntax::Block(|word| listed(instance::AUTHENTICATION, word))),
        "auth_hmac" => Some(Syntax::Block(hmac)),
        _ => listed(instance::DIRECTIVES, word),
    }
}

fn hmac(word: &str) -> Option<Syntax> {
    HMAC.contains(&word).then_some(Syntax::Line)
}

fn sync_group(word: &str) -> Option<Syntax> {
    match word {
        "group" | "track_interface" | "track_script" | "track_file" | "track_process" | "track_bfd" => {
            Some(Syntax::Values)
        }
        _ => listed(group::DIRECTIVES, word),
    }
}

fn garp_group(word: &str) -> Option<Syntax> {
    if word == "interfaces" { Some(Syntax::Values) } else { listed(announce::GARP_GROUP, word) }
}

fn bfd_instance(word: &str) -> Option<Syntax> {
    BFD_INSTANCE.contains(&word).then_some(Syntax::Line)
}

/// Words that take a line, as most directives do.
fn listed<T>(directives: Directives<T>, word: &str) -> Option<Syntax> {
    directives.iter().any(|(known, _)| *known == word).then_some(Syntax::Line)
}
