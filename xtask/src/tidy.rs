//! `cargo xtask tidy`: the rules of ARCHITECTURE.md that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::workspace;

/// A file longer than this should be two.
const MAX_LINES: usize = 600;

/// Files below `within` must not contain any of `words`, unless they are below one of `except`.
struct Rule {
    within: &'static str,
    except: &'static [&'static str],
    /// A word that ends in `::` or `!` may be the start of a longer path.
    words: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: "agent/src/vrrp/",
        except: &[],
        words: &[
            "tokio",
            "aya",
            "nix",
            "libc",
            "rtnetlink",
            "netlink_packet_route",
            "tracing",
            "std::net",
            "std::time",
            "std::thread",
            "std::fs",
            "std::io",
            "SystemTime",
            "crate::clock",
            "crate::net",
            "crate::dataplane",
            "crate::election",
            "crate::config",
            "crate::agent",
            "crate::status",
        ],
        reason: "the protocol is pure: time, packets and configuration come in as arguments",
    },
    Rule {
        within: "agent/src/config/",
        except: &[],
        words: &[
            "tokio",
            "aya",
            "rtnetlink",
            "crate::net",
            "crate::dataplane",
            "crate::election",
            "crate::vrrp",
            "crate::agent",
            "crate::plan",
        ],
        reason: "a configuration is checked without touching the host",
    },
    Rule {
        within: "agent/src/",
        except: &["agent/src/net/"],
        words: &["rtnetlink", "netlink_packet_route"],
        reason: "netlink has one door: agent/src/net",
    },
    Rule {
        within: "agent/src/",
        except: &["agent/src/dataplane/"],
        words: &["aya"],
        reason: "BPF has one door: agent/src/dataplane",
    },
    Rule {
        within: "agent/src/net/",
        except: &[],
        words: &[
            "crate::dataplane",
            "crate::status",
            "crate::election",
            "crate::agent",
            "crate::plan",
            "crate::config",
        ],
        reason: "net, dataplane and status do not know each other, nor who uses them",
    },
    Rule {
        within: "agent/src/dataplane/",
        except: &[],
        words: &[
            "crate::net",
            "crate::status",
            "crate::election",
            "crate::agent",
            "crate::plan",
            "crate::config",
            "crate::vrrp",
        ],
        reason: "net, dataplane and status do not know each other, nor who uses them",
    },
    Rule {
        within: "agent/src/status.rs",
        except: &[],
        words: &[
            "crate::net",
            "crate::dataplane",
            "crate::election",
            "crate::agent",
            "crate::plan",
            "crate::config",
        ],
        reason: "net, dataplane and status do not know each other, nor who uses them",
    },
    Rule {
        within: "agent/src/election/",
        except: &[],
        words: &[
            "tracing",
            "rtnetlink",
            "println!",
            "eprintln!",
            "crate::agent",
            "crate::cli",
            "crate::report",
            "crate::status",
        ],
        reason: "the election thread logs nothing and does not know the management side",
    },
    Rule {
        within: "common/src/",
        except: &["common/src/abi.rs"],
        words: &["aya", "aya_ebpf", "std", "tokio"],
        reason: "common has no I/O and no clock, and compiles for the BPF target",
    },
    Rule {
        within: "common/src/wire/",
        except: &[],
        words: &["crate::abi"],
        reason: "imports point from abi to wire, not back",
    },
    Rule {
        within: "common/src/units.rs",
        except: &[],
        words: &["crate::wire", "crate::abi"],
        reason: "units are the bottom of everything",
    },
    Rule {
        within: "ebpf/src/",
        except: &["ebpf/src/cursor.rs"],
        words: &["data_end"],
        reason: "packet pointers are computed in ebpf/src/cursor.rs only",
    },
    Rule {
        within: "",
        except: &["xtask/src/tidy.rs"],
        words: &["#[ignore"],
        reason: "a test that does not run is no test",
    },
];

pub fn run() -> Result<()> {
    let mut complaints = Vec::new();
    for file in sources(workspace())? {
        let path = file.strip_prefix(workspace())?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
        complaints.extend(check(&path, &text));
    }
    if complaints.is_empty() {
        println!("xtask tidy: no complaints");
        return Ok(());
    }
    bail!("{} complaints\n{}", complaints.len(), complaints.join("\n"));
}

/// Every Rust file of the workspace's members.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = ["common", "ebpf", "agent", "xtask", "tests"]
        .map(|member| root.join(member))
        .into();
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.lines().count() > MAX_LINES {
        complaints.push(format!("{path}: more than {MAX_LINES} lines; a file has one subject"));
    }
    let applies = |rule: &&Rule| {
        path.starts_with(rule.within) && !rule.except.iter().any(|exception| path.starts_with(exception))
    };
    for rule in RULES.iter().filter(applies) {
        for (number, line) in text.lines().enumerate() {
            let code = code(line);
            for word in rule.words.iter().filter(|word| contains_word(code, word)) {
                complaints.push(format!(
                    "{path}:{}: `{word}` does not belong here: {}",
                    number + 1,
                    rule.reason
                ));
            }
        }
    }
    complaints
}

/// The line without a comment at its end; a comment may name anything.
fn code(line: &str) -> &str {
    line.find("//").map_or(line, |comment| &line[..comment])
}

/// Whether `word` stands in `code` by itself, not as part of a longer name.
fn contains_word(code: &str, word: &str) -> bool {
    let continues = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + word.len()..].chars().next();
        !before.is_some_and(continues) && !after.is_some_and(continues)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_complains_of_each_of_its_words() {
        for rule in RULES {
            let path = if rule.within.ends_with(".rs") {
                rule.within.to_owned()
            } else {
                format!("{}x.rs", rule.within)
            };
            for word in rule.words {
                let complaints = check(&path, &format!("fn f() {{}}\nuse {word};\n"));
                assert!(
                    complaints
                        .iter()
                        .any(|complaint| complaint.contains(&format!("{path}:2: `{word}`"))),
                    "{path} may contain {word}: {complaints:?}"
                );
            }
        }
    }

    #[test]
    fn an_exception_is_left_alone() {
        assert_eq!(
            check("agent/src/net/netlink.rs", "use rtnetlink::Handle;"),
            Vec::<String>::new()
        );
        assert_eq!(
            check("agent/src/dataplane/mod.rs", "use aya::Ebpf;"),
            Vec::<String>::new()
        );
        assert_eq!(check("ebpf/src/cursor.rs", "ctx.data_end()"), Vec::<String>::new());
    }

    #[test]
    fn comments_and_longer_names_are_left_alone() {
        assert_eq!(
            check("agent/src/vrrp/router.rs", "// unlike tokio\nlet ayah = tokio_like;"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_long_file_is_complained_of() {
        assert_eq!(check("agent/src/x.rs", &"\n".repeat(MAX_LINES)), Vec::<String>::new());
        assert_eq!(check("agent/src/x.rs", &"\n".repeat(MAX_LINES + 1)).len(), 1);
    }
}
