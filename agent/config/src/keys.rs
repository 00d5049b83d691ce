//! Keys of a configuration, with a description of their values for error messages.

/// A key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name of the key in a file.
    pub name: &'static str,
    /// Description of a valid value, which completes "expected ...".
    pub expected: &'static str,
}

const fn key(name: &'static str, expected: &'static str) -> Key {
    Key { name, expected }
}

pub(super) const AGENT: Key = key("agent", "a table [agent]");
pub(super) const VIRTUAL_ROUTER: Key =
    key("virtual_router", "at least one table [[virtual_router]], in double brackets");

pub(super) const SYNC_GROUP: Key = key("sync_group", "tables [[sync_group]], in double brackets");

pub(super) const CHECK: Key = key("check", "tables [[check]], in double brackets");

pub(super) const MAIL: Key = key("mail", "a table [mail]");
pub(super) const SERVER: Key =
    key("server", "the name or address of a mail server, with its port unless it is the default, in quotes");
pub(super) const TLS: Key = key("tls", "\"starttls\", \"implicit\" or \"none\"");
pub(super) const CA_FILE: Key = key("ca_file", "the absolute path of a file of certificates (PEM), in quotes");
pub(super) const USERNAME: Key = key("username", "1 to 255 characters in quotes");
pub(super) const PASSWORD_FILE: Key =
    key("password_file", "the absolute path of a file whose first line is a password, in quotes");
pub(super) const FROM: Key = key("from", "a mail address in quotes");
pub(super) const TO: Key = key("to", "a list of 1 to 64 mail addresses, such as [\"ops@example.net\"]");
pub(super) const HELO: Key = key("helo", "this host's name in the DNS, in quotes");
pub(super) const MAIL_TIMEOUT: Key = key("timeout", "a duration from \"1s\" to \"255s\"");
pub(super) const LIMIT: Key = key("limit", "an integer from 1 to 60");
pub(super) const GATHER: Key = key("gather", "a duration from \"1s\" to \"60m\"");

pub(super) const ROUTER_ID: Key = key("router_id", "1 to 64 characters from A-Z a-z 0-9 . _ -, in quotes");
pub(super) const CONTROL: Key = key("control", "the absolute path of a socket, at most 107 bytes, in quotes");
pub(super) const BPFFS: Key = key("bpffs", "the absolute path of a directory in a BPF file system, in quotes");
pub(super) const REALTIME_PRIORITY: Key =
    key("realtime_priority", "an integer from 0 (ordinary scheduling) to 99 (sched(7))");
pub(super) const METRICS: Key =
    key("metrics", "an address of this host with a port, such as \"127.0.0.1:9112\" or \"[::1]:9112\"");

pub(super) const NAME: Key = key("name", "1 to 64 characters from A-Z a-z 0-9 . _ -, in quotes");
pub(super) const INTERFACE: Key = key("interface", "the name of a network interface, 1 to 15 bytes, in quotes");
pub(super) const VRID: Key = key("vrid", "an integer from 1 to 255 (RFC 9568 5.2.3)");
pub(super) const VERSION: Key = key("version", "the integer 2 (RFC 3768) or 3 (RFC 9568)");
pub(super) const PRIORITY: Key = key("priority", "an integer from 1 to 255 (RFC 9568 5.2.4)");
// RFC 9568 5.2.7 (conformance 25): the interval is 12 bits of centiseconds.
pub(super) const ADVERT_INTERVAL: Key =
    key("advert_interval", "a duration from \"10ms\" to \"40.95s\" in steps of 10ms (RFC 9568 5.2.7)");
pub(super) const ADVERT_INTERVAL_V2: Key =
    key("advert_interval", "whole seconds from \"1s\" to \"255s\" in version 2 (RFC 3768 5.3.7)");
pub(super) const ADDRESSES: Key =
    key("addresses", "a list of 1 to 255 addresses with prefix length, such as [\"192.0.2.1/24\"]");
pub(super) const PREEMPT: Key = key("preempt", "true or false");
pub(super) const PREEMPT_DELAY: Key = key("preempt_delay", "a duration from \"0s\" to \"1000s\"");
pub(super) const ACCEPT: Key = key("accept", "true or false");
pub(super) const LEASE: Key = key("lease", "\"on\" or \"off\"");
pub(super) const VIRTUAL_MAC: Key = key("virtual_mac", "true or false");
pub(super) const CHECKSUM: Key = key("checksum", "\"auto\", \"pseudo-header\" or \"plain\"");
pub(super) const ALLOWED_SOURCES: Key =
    key("allowed_sources", "a list of at most 255 addresses, such as [\"192.0.2.2\"]");
pub(super) const UNICAST_PEERS: Key = key(
    "unicast_peers",
    "a list of at most 255 addresses, or of tables such as { address = \"192.0.2.2\", min_ttl = 254 }",
);
pub(super) const PEER_ADDRESS: Key = key("address", "the IP address of another router, in quotes");
pub(super) const MIN_TTL: Key = key("min_ttl", "an integer from 1 to 255");
pub(super) const PASSWORD: Key = key("password", "1 to 8 printable ASCII characters in quotes (RFC 2338 5.3.10)");
pub(super) const NOTIFY: Key = key("notify", "the absolute path of a program, in quotes");
pub(super) const NOTIFY_ACTIVE: Key = key("notify_active", "the absolute path of a program, in quotes");
pub(super) const NOTIFY_BACKUP: Key = key("notify_backup", "the absolute path of a program, in quotes");
pub(super) const NOTIFY_FAULT: Key = key("notify_fault", "the absolute path of a program, in quotes");
pub(super) const NOTIFY_STOP: Key = key("notify_stop", "the absolute path of a program, in quotes");
pub(super) const NOTIFY_TIMEOUT: Key = key("notify_timeout", "a duration from \"100ms\" to \"60m\"");
pub(super) const SERVICES: Key =
    key("services", "a list of at most 64 systemd units with their suffixes, such as [\"nginx.service\"]");
pub(super) const MAIL_ON: Key =
    key("mail", "true, false, or a list with any of \"active\", \"backup\", \"fault\" and \"stop\"");
pub(super) const ANNOUNCE_COUNT: Key = key("announce_count", "an integer from 1 to 60");
pub(super) const ANNOUNCE_INTERVAL: Key = key("announce_interval", "a duration from \"10ms\" to \"60s\"");

pub(super) const TRACK: Key =
    key("track", "a list of names of checks, or of tables such as { check = \"uplink\", weight = -20 }");

pub(super) const MEMBERS: Key =
    key("members", "a list of the names of at least two virtual routers, such as [\"lan\", \"wan\"]");

pub(super) const SCRIPT: Key = key(
    "script",
    "a list of a program's absolute path and its arguments, such as [\"/usr/local/bin/check\", \"--fast\"]",
);
pub(super) const PROCESS: Key = key("process", "the name of a process as in /proc/PID/comm, 1 to 15 bytes, in quotes");
pub(super) const PID_FILE: Key = key("pid_file", "the absolute path of a file that holds a process id, in quotes");
pub(super) const FILE: Key = key("file", "the absolute path of a file that holds a number, in quotes");
pub(super) const PING: Key = key("ping", "an IPv4 or IPv6 address in quotes");
pub(super) const INTERVAL: Key = key("interval", "a duration from \"10ms\" to \"60m\"");
pub(super) const TIMEOUT: Key = key("timeout", "a duration from \"10ms\" to \"60m\"");
pub(super) const RISE: Key = key("rise", "an integer from 1 to 255");
pub(super) const FALL: Key = key("fall", "an integer from 1 to 255");
pub(super) const USER: Key = key("user", "the name of a user of this host, in quotes");
pub(super) const WEIGHT: Key = key("weight", "an integer from -253 to 253 (with 0, a failure is a fault)");

/// Name of the check, in an element of `track`.
pub(super) const TRACKED_CHECK: Key = key("check", "the name of a [[check]], in quotes");

/// The keys outside any table.
pub const TOP_LEVEL: &[Key] = &[AGENT, MAIL, CHECK, VIRTUAL_ROUTER, SYNC_GROUP];

/// The keys of `[[check]]`.
pub const CHECK_KEYS: &[Key] =
    &[NAME, SCRIPT, INTERFACE, PROCESS, PID_FILE, FILE, PING, INTERVAL, TIMEOUT, RISE, FALL, USER, WEIGHT];

/// The keys that say what is checked. Each check has exactly one of them.
pub(super) const KINDS: &[Key] = &[SCRIPT, INTERFACE, PROCESS, PID_FILE, FILE, PING];

/// The keys of an element of `track`.
pub(super) const TRACK_KEYS: &[Key] = &[TRACKED_CHECK, WEIGHT];

/// The keys of an element of `unicast_peers`.
pub(super) const PEER_KEYS: &[Key] = &[PEER_ADDRESS, MIN_TTL];

/// The keys of `[agent]`.
pub const AGENT_KEYS: &[Key] = &[ROUTER_ID, CONTROL, METRICS, BPFFS, REALTIME_PRIORITY];

/// The keys of `[mail]`.
pub const MAIL_KEYS: &[Key] =
    &[SERVER, TLS, CA_FILE, USERNAME, PASSWORD_FILE, FROM, TO, HELO, MAIL_TIMEOUT, LIMIT, GATHER];

/// The keys of `[[virtual_router]]`.
pub const VIRTUAL_ROUTER_KEYS: &[Key] = &[
    NAME,
    INTERFACE,
    VRID,
    VERSION,
    PRIORITY,
    ADVERT_INTERVAL,
    ADDRESSES,
    PREEMPT,
    PREEMPT_DELAY,
    ACCEPT,
    LEASE,
    VIRTUAL_MAC,
    CHECKSUM,
    ALLOWED_SOURCES,
    UNICAST_PEERS,
    PASSWORD,
    ANNOUNCE_COUNT,
    ANNOUNCE_INTERVAL,
    TRACK,
    NOTIFY,
    NOTIFY_ACTIVE,
    NOTIFY_BACKUP,
    NOTIFY_FAULT,
    NOTIFY_STOP,
    NOTIFY_TIMEOUT,
    SERVICES,
    MAIL_ON,
];

/// The keys of `[[sync_group]]`.
pub const SYNC_GROUP_KEYS: &[Key] =
    &[NAME, MEMBERS, NOTIFY, NOTIFY_ACTIVE, NOTIFY_BACKUP, NOTIFY_FAULT, NOTIFY_STOP, NOTIFY_TIMEOUT, SERVICES];

/// Keywords of keepalived, with the keys that replace them.
const KEEPALIVED: &[(&str, &str)] = &[
    ("virtual_router_id", "vrid"),
    ("advert_int", "advert_interval"),
    ("virtual_ipaddress", "addresses"),
    ("nopreempt", "preempt = false"),
    ("auth_pass", "password"),
    ("unicast_peer", "unicast_peers"),
    ("use_vmac", "virtual_mac"),
    ("vrrp_version", "version"),
    ("garp_master_repeat", "announce_count"),
    ("track_script", "track"),
    ("notify_master", "notify_active"),
    ("track_interface", "track"),
    ("track_process", "track"),
    ("track_file", "track"),
    ("smtp_alert", "mail"),
];

/// Returns what to do about a key that a table does not have.
pub(super) fn remedy(unknown: &str, table: &[Key]) -> String {
    if let Some((_, ours)) = KEEPALIVED.iter().find(|(theirs, _)| *theirs == unknown) {
        return format!("xvrrp calls it {ours}");
    }
    let elsewhere = [
        (AGENT_KEYS, "[agent]"),
        (VIRTUAL_ROUTER_KEYS, "[[virtual_router]]"),
        (CHECK_KEYS, "[[check]]"),
        (SYNC_GROUP_KEYS, "[[sync_group]]"),
        (MAIL_KEYS, "[mail]"),
    ];
    if let Some((_, owner)) = elsewhere.iter().find(|(keys, _)| keys.iter().any(|key| key.name == unknown)) {
        return format!("it belongs in {owner}");
    }
    let nearest = table.iter().map(|key| (distance(unknown, key.name), key.name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => format!("did you mean {name}?"),
        _ => {
            let names: Vec<_> = table.iter().map(|key| key.name).collect();
            format!("expected one of {}", names.join(", "))
        }
    }
}

/// Returns how many characters to insert, delete or replace (Levenshtein distance).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let best = (diagonal + usize::from(a != b)).min(*above + 1).min(left + 1);
            (diagonal, left, *above) = (*above, best, best);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (from, to, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("vird", "vrid", 2),
            ("adress", "addresses", 3),
            ("a", "a", 0),
        ] {
            assert_eq!(distance(from, to), edits, "{from} -> {to}");
        }
    }

    #[test]
    fn a_misspelt_key_is_recognized() {
        assert_eq!(remedy("prioritty", VIRTUAL_ROUTER_KEYS), "did you mean priority?");
        assert_eq!(remedy("address", VIRTUAL_ROUTER_KEYS), "did you mean addresses?");
        assert_eq!(remedy("vird", VIRTUAL_ROUTER_KEYS), "did you mean vrid?");
    }

    #[test]
    fn a_key_of_another_table_is_reported_with_that_table() {
        assert_eq!(remedy("vrid", TOP_LEVEL), "it belongs in [[virtual_router]]");
        assert_eq!(remedy("control", VIRTUAL_ROUTER_KEYS), "it belongs in [agent]");
    }

    #[test]
    fn keywords_of_keepalived_are_translated_to_existing_keys() {
        for (theirs, ours) in KEEPALIVED {
            assert_eq!(remedy(theirs, VIRTUAL_ROUTER_KEYS), format!("xvrrp calls it {ours}"));
            let name = ours.split(' ').next().unwrap_or_default();
            assert!(VIRTUAL_ROUTER_KEYS.iter().any(|key| key.name == name), "{ours}");
        }
    }

    #[test]
    fn for_any_other_key_the_valid_keys_are_listed() {
        assert_eq!(
            remedy("colour", AGENT_KEYS),
            "expected one of router_id, control, metrics, bpffs, realtime_priority"
        );
    }
}
