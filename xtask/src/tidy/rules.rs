//! The layering: which files may mention what.

use super::Complaint;
use super::mentions::Mention;

/// About the files in the directory, or of the module, `within`, and in none of `except`.
struct Rule {
    within: &'static str,
    except: &'static [&'static str],
    demand: Demand,
    reason: &'static str,
}

enum Demand {
    /// None of these, nor what lies below them.
    Never(&'static [&'static str]),
    /// Of the dependencies and the standard library, these only: crates, or paths in them.
    OnlyCrates(&'static [&'static str]),
    /// Of the crate's own modules, these only: modules, or what lies in them.
    OnlyModules(&'static [&'static str]),
}

use Demand::{Never, OnlyCrates, OnlyModules};

const PURE: &str = "the protocol is pure: time, packets and configuration come in as arguments";
const CONFIG: &str = "a configuration is text that becomes a value: it knows nobody who uses it, and no host";
const IMPORT: &str = "an import is text that becomes a configuration: it knows nobody who uses it, and no host";
const SIBLINGS: &str = "dataplane, mail, metrics, net, notify and status know neither each other nor who uses them";
const TRACKING: &str =
    "tracking looks at the host and reckons priorities: it knows neither the election nor who uses it";
const COMMON: &str = "common has no I/O and no clock, and compiles for the BPF target";
const BOTTOM_UP: &str = "imports point one way: units <- wire <- abi";

const RULES: &[Rule] = &[
    Rule {
        within: "agent/src/vrrp",
        except: &[],
        demand: OnlyCrates(&["core", "alloc", "std", "xvrrp_common", "proptest"]),
        reason: PURE,
    },
    Rule { within: "agent/src/vrrp", except: &[], demand: OnlyModules(&["vrrp"]), reason: PURE },
    Rule {
        within: "agent/src/vrrp",
        except: &[],
        demand: Never(&[
            "std::env",
            "std::fs",
            "std::io",
            "std::net",
            "std::os",
            "std::process",
            "std::sync",
            "std::thread",
            "std::time",
        ]),
        reason: PURE,
    },
    Rule {
        within: "agent/src/config",
        except: &[],
        demand: OnlyCrates(&[
            "core",
            "alloc",
            "std",
            "xvrrp_common",
            "serde",
            "toml",
            "thiserror",
            "proptest",
            "tempfile",
            // The default of router_id.
            "nix::unistd::gethostname",
        ]),
        reason: CONFIG,
    },
    Rule { within: "agent/src/config", except: &[], demand: OnlyModules(&["config", "files"]), reason: CONFIG },
    Rule {
        within: "agent/src/import",
        except: &[],
        demand: OnlyModules(&["import", "config", "files"]),
        reason: IMPORT,
    },
    Rule { within: "agent/src/dataplane", except: &[], demand: OnlyModules(&["dataplane"]), reason: SIBLINGS },
    Rule {
        within: "agent/src/mail",
        except: &[],
        demand: OnlyModules(&["mail", "config", "files", "notify::Change", "realtime::release_memory"]),
        reason: SIBLINGS,
    },
    Rule { within: "agent/src/metrics", except: &[], demand: OnlyModules(&["metrics"]), reason: SIBLINGS },
    Rule { within: "agent/src/net", except: &[], demand: OnlyModules(&["net"]), reason: SIBLINGS },
    Rule {
        within: "agent/src/notify",
        except: &[],
        demand: OnlyModules(&["notify", "config", "program"]),
        reason: SIBLINGS,
    },
    Rule { within: "agent/src/program", except: &[], demand: OnlyModules(&["program", "clock"]), reason: SIBLINGS },
    Rule {
        within: "agent/src/tracking",
        except: &[],
        demand: OnlyModules(&["tracking", "aside", "clock", "config", "files", "net", "program", "vrrp::Checks"]),
        reason: TRACKING,
    },
    Rule { within: "agent/src/status", except: &[], demand: OnlyModules(&["status"]), reason: SIBLINGS },
    Rule {
        within: "agent/src",
        except: &["agent/src/net"],
        demand: Never(&["rtnetlink", "netlink_packet_route"]),
        reason: "netlink has one door: agent/src/net",
    },
    Rule {
        within: "agent/src",
        except: &["agent/src/dataplane"],
        demand: Never(&["aya", "aya_log"]),
        reason: "BPF has one door: agent/src/dataplane",
    },
    Rule {
        within: "agent/src/election",
        except: &[],
        demand: OnlyModules(&[
            "election",
            "vrrp",
            "net",
            "dataplane",
            "clock",
            "realtime",
            // What goes into the queue of the addresses' thread, and what comes back.
            "addresses::Request",
            "addresses::Standing",
        ]),
        reason: "the election does not know the management side",
    },
    Rule {
        within: "agent/src/election",
        except: &[],
        demand: Never(&["tracing", "println!", "eprintln!", "print!", "eprint!", "dbg!"]),
        reason: "the election thread logs nothing: a log that blocks would delay adverts",
    },
    Rule {
        within: "common/src",
        except: &["common/src/abi.rs"],
        demand: OnlyCrates(&["core", "alloc", "zerocopy", "proptest"]),
        reason: COMMON,
    },
    Rule {
        within: "common/src/abi.rs",
        except: &[],
        demand: OnlyCrates(&["core", "alloc", "zerocopy", "aya"]),
        reason: COMMON,
    },
    Rule { within: "common/src/units", except: &[], demand: OnlyModules(&["units"]), reason: BOTTOM_UP },
    Rule { within: "common/src/wire", except: &[], demand: OnlyModules(&["units", "wire"]), reason: BOTTOM_UP },
    Rule {
        within: "ebpf/src",
        except: &[],
        demand: OnlyCrates(&["core", "aya_ebpf", "aya_log_ebpf", "xvrrp_common"]),
        reason: "the kernel half shares code with user space through common only",
    },
    Rule {
        within: "ebpf/src",
        except: &["ebpf/src/cursor.rs"],
        demand: Never(&[".data()", ".data_end()"]),
        reason: "packet pointers are computed in ebpf/src/cursor.rs only",
    },
    Rule { within: "", except: &[], demand: Never(&["#[ignore]"]), reason: "a test that does not run is no test" },
];

/// `crates`: the names that a path may start with to lead out of its crate.
pub fn check(path: &str, mentions: &[Mention], crates: &[String]) -> Vec<Complaint> {
    let applies = |rule: &&Rule| is_in(path, rule.within) && !rule.except.iter().any(|except| is_in(path, except));
    let mut complaints = Vec::new();
    for rule in RULES.iter().filter(applies) {
        for mention in mentions.iter().filter(|mention| rule.demand.forbids(&mention.name, crates)) {
            complaints.push(Complaint {
                path: path.to_owned(),
                line: mention.line,
                what: format!("`{}` does not belong here: {}", mention.name, rule.reason),
            });
        }
    }
    complaints
}

/// `agent/src/net` is `agent/src/net.rs` and what lies in `agent/src/net/`.
fn is_in(path: &str, within: &str) -> bool {
    let rest = path.strip_prefix(within);
    rest.is_some_and(|rest| within.is_empty() || rest.is_empty() || rest.starts_with(['/', '.']))
}

impl Demand {
    fn forbids(&self, name: &str, crates: &[String]) -> bool {
        let mut words = name.split("::");
        let first = words.next().unwrap_or_default();
        match self {
            Never(names) => names.iter().any(|forbidden| is_within(name, forbidden)),
            OnlyCrates(allowed) => {
                crates.iter().any(|known| known == first) && !allowed.iter().any(|allowed| is_within(name, allowed))
            }
            OnlyModules(allowed) => name.strip_prefix("crate::").is_some_and(|inside| {
                words.next().is_some_and(is_module) && !allowed.iter().any(|allowed| is_within(inside, allowed))
            }),
        }
    }
}

fn is_within(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A type or function at a crate's root is no module.
fn is_module(name: &str) -> bool {
    name.starts_with(|first: char| first.is_lowercase()) && !name.ends_with('!')
}

#[cfg(test)]
mod tests {
    use super::super::mentions;
    use super::*;

    const CRATES: &[&str] = &["std", "core", "tokio", "aya", "rtnetlink", "xvrrp", "xvrrp_common"];

    fn complaints(path: &str, source: &str) -> Vec<Complaint> {
        let mentions = mentions::of(path, source).expect("the snippet is Rust");
        let crates: Vec<String> = CRATES.iter().map(|name| (*name).to_owned()).collect();
        check(path, &mentions, &crates)
    }

    #[test]
    fn each_rule_complains_of_what_it_forbids_with_line_and_reason() {
        for rule in RULES {
            let sources: Vec<String> = match rule.demand {
                Never(names) => names.iter().map(|name| snippet(name)).collect(),
                OnlyCrates(_) => vec!["use tokio::net;".to_owned(), "type T = xvrrp::agent::T;".to_owned()],
                OnlyModules(_) => vec!["use crate::{cli};".to_owned(), "fn f() { crate::agent::run() }".to_owned()],
            };
            let path =
                if rule.within.ends_with(".rs") { rule.within.to_owned() } else { format!("{}/x.rs", rule.within) };
            for source in sources {
                let found = complaints(&path, &format!("\n{source}"));
                let ours = found.iter().find(|complaint| complaint.what.ends_with(rule.reason));
                assert_eq!(ours.map(|complaint| complaint.line), Some(2), "{path}: {source}: {found:?}");
            }
        }
    }

    fn snippet(name: &str) -> String {
        match name {
            attribute if attribute.starts_with('#') => format!("{attribute} fn f() {{}}"),
            method if method.starts_with('.') => format!("fn f() {{ x{method} }}"),
            call if call.ends_with('!') => format!("fn f() {{ {call}() }}"),
            path => format!("use {path};"),
        }
    }

    #[test]
    fn what_is_allowed_is_left_alone() {
        for (path, source) in [
            ("agent/src/netns.rs", "use crate::cli;"),
            ("agent/src/net/netlink.rs", "use rtnetlink::Handle; use super::promote; use crate::net::packet;"),
            ("agent/src/dataplane/mod.rs", "use aya::Ebpf; use self::maps::M; use crate::Shared;"),
            (
                "agent/src/vrrp/router.rs",
                "use core::fmt; use super::config; use std::collections::VecDeque; use std_x::time;",
            ),
            ("agent/src/election/mod.rs", "use crate::{vrrp, net::PacketSocket, clock}; use tokio::sync;"),
            ("common/src/abi.rs", "unsafe impl aya::Pod for X {}"),
            ("ebpf/src/cursor.rs", "fn f() { context.data_end() }"),
            ("ebpf/src/arp.rs", "fn f() { frame.data }"),
        ] {
            assert!(complaints(path, source).is_empty(), "{path}: {:?}", complaints(path, source));
        }
    }
}
