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

/// Description of a user as whom programs run.
const USER_NAME: &str = "the name of a user of this host, such as \"nobody\", or of a user and a group, such as \
                         \"nobody:nogroup\"";

pub(super) const ROUTER_ID: Key = key("router_id", "1 to 64 characters from A-Z a-z 0-9 . _ -, in quotes");
pub(super) const CONTROL: Key = key("control", "the absolute path of a socket, at most 107 bytes, in quotes");
pub(super) const NETNS: Key =
    key("netns", "the name of a network namespace that `ip netns` lists, or its absolute path, in quotes");
pub(super) const BPFFS: Key = key("bpffs", "the absolute path of a directory in a BPF file system, in quotes");
pub(super) const REALTIME_PRIORITY: Key =
    key("realtime_priority", "an integer from 0 (ordinary scheduling) to 99 (sched(7))");
pub(super) const STARTUP_DELAY: Key = key("startup_delay", "a duration from \"0s\" to \"60m\"");
pub(super) const BOOT_DELAY: Key = key("boot_delay", "a duration from \"0s\" to \"60m\"");
pub(super) const STATIC_ADDRESSES: Key = key(
    "static_addresses",
    "a list of addresses in the words of `ip address add`, such as [\"192.0.2.9/24 dev eth0\"]",
);
pub(super) const STATIC_ROUTES: Key = key(
    "static_routes",
    "a list of routes in the words of `ip route add`, such as [\"198.51.100.0/24 via 192.0.2.254\"]",
);
pub(super) const STATIC_RULES: Key = key(
    "static_rules",
    "a list of rules in the words of `ip rule add`, such as [\"from 198.51.100.0/24 lookup 100 priority 1000\"]",
);
pub(super) const METRICS: Key =
    key("metrics", "an address of this host with a port, such as \"127.0.0.1:9112\" or \"[::1]:9112\"");
pub(super) const SCRIPT_USER: Key = key("script_user", USER_NAME);
pub(super) const SCRIPT_SECURITY: Key = key("script_security", "true or false");
pub(super) const NOTIFY_FIFO: Key = key(
    "notify_fifo",
    "the absolute path of a FIFO in quotes, a table such as { path = \"/run/xvrrp/notify\", run = [\"/etc/xvrrp/reader\"] }, or \
     a list of at most 8 of these",
);
pub(super) const PATH: Key = key("path", "the absolute path of a FIFO, in quotes");
pub(super) const OWNER: Key = key("owner", USER_NAME);
pub(super) const STATES_ON_RELOAD: Key = key("states_on_reload", "true or false");

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
    key("addresses", "a list of at most 255 addresses with prefix length, such as [\"192.0.2.1/24\"]");
pub(super) const UNADVERTISED_ADDRESSES: Key =
    key("unadvertised_addresses", "a list of at most 4096 addresses with prefix length, such as [\"192.0.2.1/24\"]");
pub(super) const FAMILY: Key = key("family", "\"ipv4\" or \"ipv6\"");
pub(super) const LINK_LOCAL_FIRST: Key = key("link_local_first", "true or false");
pub(super) const PREEMPT: Key = key("preempt", "true or false");
pub(super) const PREEMPT_DELAY: Key = key("preempt_delay", "a duration from \"0s\" to \"1000s\"");
pub(super) const CARRIER_FAULT: Key = key("carrier_fault", "true or false");
pub(super) const DOWN_TIMER_ADVERTS: Key = key("down_timer_adverts", "an integer from 2 to 100");
pub(super) const ANSWER_LOWER_PRIORITY: Key = key("answer_lower_priority", "true or false");
pub(super) const ANSWER_HIGHER_PRIORITY: Key = key("answer_higher_priority", "true or false");
pub(super) const ACCEPT: Key = key("accept", "true or false");
pub(super) const LEASE: Key = key("lease", "\"on\" or \"off\"");
pub(super) const VIRTUAL_MAC: Key = key("virtual_mac", "true or false");
pub(super) const CHECKSUM: Key = key("checksum", "\"auto\", \"pseudo-header\" or \"plain\"");
pub(super) const ALLOWED_SOURCES: Key =
    key("allowed_sources", "a list of at most 255 addresses, such as [\"192.0.2.2\"]");
pub(super) const SOURCE_ADDRESSES: Key =
    key("source_addresses", "a list of at most one address of each family, such as [\"192.0.2.2\"]");
pub(super) const UNICAST_PEERS: Key = key(
    "unicast_peers",
    "a list of at most 255 addresses, or of tables such as { address = \"192.0.2.2\", min_ttl = 254 }",
);
pub(super) const PEER_ADDRESS: Key = key("address", "the IP address of another router, in quotes");
pub(super) const MIN_TTL: Key = key("min_ttl", "an integer from 1 to 255");
pub(super) const PASSWORD: Key = key("password", "1 to 8 bytes of text in quotes (RFC 2338 5.3.10)");
/// Description of a program that is notified.
const PROGRAM: &str = "a list of a program and its arguments, such as [\"/etc/xvrrp/notify\", \"active\"], a command for \
                       the shell in quotes, or a table such as { run = [\"/etc/xvrrp/notify\"], user = \"nobody\" }";
pub(super) const RUN: Key = key(
    "run",
    "a list of a program and its arguments, such as [\"/etc/xvrrp/notify\", \"active\"], or a command for the shell in \
     quotes",
);

pub(super) const NOTIFY: Key = key("notify", PROGRAM);
pub(super) const NOTIFY_ACTIVE: Key = key("notify_active", PROGRAM);
pub(super) const NOTIFY_BACKUP: Key = key("notify_backup", PROGRAM);
pub(super) const NOTIFY_FAULT: Key = key("notify_fault", PROGRAM);
pub(super) const NOTIFY_STOP: Key = key("notify_stop", PROGRAM);
pub(super) const NOTIFY_DELETED: Key = key(
    "notify_deleted",
    "true, false, a list of a program and its arguments, such as [\"/etc/xvrrp/notify\", \"deleted\"], a command for the \
     shell in quotes, or a table such as { run = [\"/etc/xvrrp/notify\"], user = \"nobody\" }",
);
pub(super) const NOTIFY_ACTIVE_LOWER_PRIORITY: Key = key("notify_active_lower_priority", PROGRAM);
pub(super) const NOTIFY_PRIORITY_CHANGES: Key = key("notify_priority_changes", "true or false");
pub(super) const NOTIFY_TIMEOUT: Key = key("notify_timeout", "a duration from \"100ms\" to \"60m\"");
pub(super) const SERVICES: Key =
    key("services", "a list of at most 64 systemd units with their suffixes, such as [\"nginx.service\"]");
pub(super) const MAIL_ON: Key =
    key("mail", "true, false, or a list with any of \"active\", \"backup\", \"fault\" and \"stop\"");
pub(super) const ANNOUNCE_COUNT: Key = key("announce_count", "an integer from 1 to 60");
pub(super) const ANNOUNCE_INTERVAL: Key = key("announce_interval", "a duration from \"10ms\" to \"60s\"");
pub(super) const ANNOUNCE_REFRESH: Key = key("announce_refresh", "\"0s\", or a duration from \"1s\" to \"1440m\"");

pub(super) const ROUTES: Key =
    key("routes", "a list of routes in the words of `ip route add`, such as [\"default via 203.0.113.254 dev eth1\"]");
pub(super) const RULES: Key = key(
    "rules",
    "a list of rules in the words of `ip rule add`, such as [\"from 198.51.100.0/24 lookup 100 priority 1000\"]",
);

pub(super) const TRACK: Key =
    key("track", "a list of names of checks, or of tables such as { check = \"uplink\", weight = -20 }");

pub(super) const MEMBERS: Key = key("members", "a list of the names of virtual routers, such as [\"lan\", \"wan\"]");

pub(super) const SCRIPT: Key = key(
    "script",
    "a list of a program and its arguments, such as [\"/usr/local/bin/check\", \"--fast\"], or a command for the shell \
     in quotes",
);
pub(super) const PROCESS: Key = key(
    "process",
    "the name of a process as in /proc/PID/comm, 1 to 15 bytes, in quotes, or a command line as a list, such as \
     [\"/usr/sbin/nginx\"]",
);
pub(super) const ARGUMENTS: Key = key("arguments", "\"any\", \"exact\", \"leading\" or \"prefix\"");
pub(super) const QUORUM: Key = key("quorum", "an integer from 0 to 65535");
pub(super) const QUORUM_MAX: Key = key("quorum_max", "an integer from 0 to 65535");
pub(super) const FORK_DELAY: Key = key("fork_delay", "a duration from \"0s\" to \"60m\"");
pub(super) const TERMINATE_DELAY: Key = key("terminate_delay", "a duration from \"0s\" to \"60m\"");
pub(super) const PID_FILE: Key = key("pid_file", "the absolute path of a file that holds a process id, in quotes");
pub(super) const FILE: Key = key("file", "the absolute path of a file that holds a number, in quotes");
pub(super) const INITIAL_VALUE: Key = key("initial_value", "an integer from -2147483648 to 2147483647");
pub(super) const OVERWRITE: Key = key("overwrite", "true or false");
pub(super) const PING: Key = key("ping", "an IPv4 or IPv6 address in quotes, or a list of 1 to 16 of them");
pub(super) const INIT_FAIL: Key = key("init_fail", "true or false");
pub(super) const INTERVAL: Key = key("interval", "a duration from \"10ms\" to \"60m\"");
pub(super) const TIMEOUT: Key = key("timeout", "a duration from \"10ms\" to \"60m\"");
pub(super) const RISE: Key = key("rise", "an integer from 1 to 255");
pub(super) const FALL: Key = key("fall", "an integer from 1 to 255");
pub(super) const USER: Key = key("user", USER_NAME);
pub(super) const WEIGHT: Key = key("weight", "an integer from -253 to 253 (with 0, a failure is a fault)");
pub(super) const REVERSE: Key = key("reverse", "true or false");

/// Name of the check, in an element of `track`.
pub(super) const TRACKED_CHECK: Key = key("check", "the name of a [[check]], in quotes");

/// The keys outside any table.
pub const TOP_LEVEL: &[Key] = &[AGENT, MAIL, CHECK, VIRTUAL_ROUTER, SYNC_GROUP];

/// The keys of `[[check]]`.
pub const CHECK_KEYS: &[Key] = &[
    NAME,
    SCRIPT,
    INTERFACE,
    PROCESS,
    ARGUMENTS,
    QUORUM,
    QUORUM_MAX,
    FORK_DELAY,
    TERMINATE_DELAY,
    PID_FILE,
    FILE,
    INITIAL_VALUE,
    OVERWRITE,
    PING,
    INTERVAL,
    TIMEOUT,
    RISE,
    FALL,
    INIT_FAIL,
    USER,
    WEIGHT,
    REVERSE,
];

/// The keys that say what is checked. Each check has exactly one of them.
pub(super) const KINDS: &[Key] = &[SCRIPT, INTERFACE, PROCESS, PID_FILE, FILE, PING];

/// The keys of an element of `track`.
pub(super) const TRACK_KEYS: &[Key] = &[TRACKED_CHECK, WEIGHT, REVERSE];

/// The keys of an element of `unicast_peers`.
pub(super) const PEER_KEYS: &[Key] = &[PEER_ADDRESS, MIN_TTL];

/// The keys of a notify program in the form of a table.
pub(super) const PROGRAM_KEYS: &[Key] = &[RUN, USER];

/// The keys of `[agent]`.
pub const AGENT_KEYS: &[Key] = &[
    ROUTER_ID,
    CONTROL,
    METRICS,
    NETNS,
    BPFFS,
    REALTIME_PRIORITY,
    STARTUP_DELAY,
    BOOT_DELAY,
    SCRIPT_USER,
    SCRIPT_SECURITY,
    NOTIFY_FIFO,
    STATIC_ADDRESSES,
    STATIC_ROUTES,
    STATIC_RULES,
];

/// The keys of an element of `notify_fifo`.
pub(super) const FIFO_KEYS: &[Key] = &[PATH, OWNER, RUN, USER, STATES_ON_RELOAD];

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
    UNADVERTISED_ADDRESSES,
    FAMILY,
    LINK_LOCAL_FIRST,
    PREEMPT,
    PREEMPT_DELAY,
    CARRIER_FAULT,
    DOWN_TIMER_ADVERTS,
    ANSWER_LOWER_PRIORITY,
    ANSWER_HIGHER_PRIORITY,
    ACCEPT,
    LEASE,
    VIRTUAL_MAC,
    CHECKSUM,
    SOURCE_ADDRESSES,
    ALLOWED_SOURCES,
    UNICAST_PEERS,
    PASSWORD,
    ANNOUNCE_COUNT,
    ANNOUNCE_INTERVAL,
    ANNOUNCE_REFRESH,
    ROUTES,
    RULES,
    TRACK,
    NOTIFY,
    NOTIFY_ACTIVE,
    NOTIFY_BACKUP,
    NOTIFY_FAULT,
    NOTIFY_STOP,
    NOTIFY_DELETED,
    NOTIFY_ACTIVE_LOWER_PRIORITY,
    NOTIFY_PRIORITY_CHANGES,
    NOTIFY_TIMEOUT,
    SERVICES,
    MAIL_ON,
];

/// The keys of `[[sync_group]]`.
pub const SYNC_GROUP_KEYS: &[Key] = &[
    NAME,
    MEMBERS,
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
    ("notify_master_rx_lower_pri", "notify_active_lower_priority"),
    ("track_interface", "track"),
    ("track_process", "track"),
    ("track_file", "track"),
    ("smtp_alert", "mail"),
    ("dont_track_primary", "carrier_fault = false"),
    ("lower_prio_no_advert", "answer_lower_priority = false"),
    ("higher_prio_send_advert", "answer_higher_priority = true"),
    ("vrrp_startup_delay", "startup_delay"),
    ("virtual_routes", "routes"),
    ("virtual_rules", "rules"),
    ("static_ipaddress", "static_addresses"),
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
            assert!(VIRTUAL_ROUTER_KEYS.iter().chain(AGENT_KEYS).any(|key| key.name == name), "{ours}");
        }
    }

    #[test]
    fn for_any_other_key_the_valid_keys_are_listed() {
        assert_eq!(
            remedy("colour", AGENT_KEYS),
            "expected one of router_id, control, metrics, netns, bpffs, realtime_priority, startup_delay, boot_delay, \
             script_user, script_security, notify_fifo, static_addresses, static_routes, static_rules"
        );
    }
}
