//! Follows the guides in docs/ word by word on hosts of a lab: writes the files, runs the commands, and compares what
//! they print with what the guide shows.
//!
//! Words after the language of a code block say where it applies: `on=gw-a`, `on=gw-b`, `on=client` or `on=both`, and
//! `file=PATH` if the block is the content of a file. A block of `text` shows part of what the command before it
//! prints: each of its lines must be among the printed ones, where `…` stands for any text. With `within=SECONDSs`,
//! they must be printed that long after the last command without such a block has been run.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use xvrrp_lab::{Lab, Machine, PATIENCE, alone, eventually, make_package, run, workspace};

/// A code block of a guide.
#[derive(Debug)]
struct Block<'a> {
    /// Line number of its first line.
    line: usize,
    language: &'a str,
    on: Option<&'a str>,
    file: Option<&'a str>,
    /// Time within which the command before it prints this, as the guide says.
    within: Option<&'a str>,
    /// Its lines without the indentation of the fence.
    lines: Vec<&'a str>,
}

/// Returns all code blocks of a text, in order.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, opening)) = lines.next() {
        let indentation = opening.len() - opening.trim_start().len();
        let Some(words) = opening.trim().strip_prefix("```") else { continue };
        let value = |key: &str| words.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
        blocks.push(Block {
            line: line + 1,
            language: words.split(' ').next().unwrap_or_default(),
            on: value("on"),
            file: value("file"),
            within: value("within"),
            lines: inside.map(|line| line.get(indentation..).unwrap_or_default()).collect(),
        });
    }
    blocks
}

/// Whether a printed line is what a guide shows.
fn resembles(line: &str, shown: &str) -> bool {
    let mut parts = shown.trim().split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.trim().strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The two hosts that every guide is about, and a client.
struct Site {
    hosts: [(&'static str, Machine); 3],
    _lab: Lab,
}

impl Site {
    /// Creates the hosts. The package is in the directory in which commands run. It is installed already unless the
    /// guide is about that.
    fn new(installed: bool) -> Result<Self> {
        let lab = Lab::new(2)?;
        let machine = |name, namespace| -> Result<_> { Ok((name, Machine::start(namespace, name)?)) };
        let hosts =
            [machine("gw-a", &lab.routers[0])?, machine("gw-b", &lab.routers[1])?, machine("client", &lab.client)?];
        let site = Self { hosts, _lab: lab };
        let (_, package) = PACKAGE.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        let name = package.file_name().context("a package has a name")?.to_string_lossy();
        for host in ["gw-a", "gw-b"] {
            site.host(host)?.copy(package, &format!("/{name}"))?;
            if installed {
                run(&mut site.host(host)?.command(&format!("dpkg --install /{name}")))?;
            }
        }
        Ok(site)
    }

    fn host(&self, name: &str) -> Result<&Machine> {
        let host = self.hosts.iter().find(|(host, _)| *host == name);
        host.map(|(_, machine)| machine).with_context(|| format!("there is no host {name}"))
    }

    fn write(&self, host: &str, path: &str, text: &str) -> Result<()> {
        let script = format!("mkdir -p \"$(dirname {path})\"; printf '%s\\n' \"$1\" > {path}");
        run(self.host(host)?.command(&script).args(["write", text])).map(drop)
    }

    fn follow(&self, guide: &str) -> Result<()> {
        let text = documentation(guide)?;
        let mut blocks = blocks(&text).into_iter().peekable();
        // When the last command without shown output was started.
        let mut changed = Instant::now();
        while let Some(block) = blocks.next() {
            let place = || format!("docs/{guide}:{}", block.line);
            let shown = blocks.next_if(|next| next.language == "text");
            match (block.language, block.on) {
                ("", None) => {}
                (_, Some(on)) => {
                    if shown.is_none() {
                        changed = Instant::now();
                    }
                    for host in hosts(on) {
                        match block.file {
                            Some(path) => self.write(host, path, &block.lines.join("\n")),
                            None => self.run(host, &block.lines, shown.as_ref().map(|shown| &*shown.lines)),
                        }
                        .with_context(place)?;
                    }
                    if let Some(within) = shown.and_then(|shown| shown.within) {
                        let (limit, taken) = (seconds(within).with_context(place)?, changed.elapsed());
                        ensure!(taken < limit, "{}: took {taken:?}, not {within}", place());
                    }
                }
                (language, None) => bail!(
                    "{}: a block of {language:?} must say on which host it applies, or follow a command if it is output",
                    place()
                ),
            }
        }
        Ok(())
    }

    fn execute(&self, host: &str, command: &str) -> Result<()> {
        let output = self.host(host)?.command(command).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        // Exit code 3 of an import says that it has left something out.
        let done = output.status.success() || command.starts_with("xvrrp import") && output.status.code() == Some(3);
        ensure!(done, "{command} on {host} failed ({}): {complaint}", output.status);
        Ok(())
    }

    /// Runs commands. If a guide shows output, repeats the last command until it prints that, with a deadline.
    fn run(&self, host: &str, commands: &[&str], shown: Option<&[&str]>) -> Result<()> {
        let Some(shown) = shown else { return commands.iter().try_for_each(|command| self.execute(host, command)) };
        let (last, before) = commands.split_last().context("a block without a command")?;
        before.iter().try_for_each(|command| self.execute(host, command))?;
        let machine = self.host(host)?;
        eventually(&format!("{last} on {host} prints {shown:?}"), PATIENCE, || {
            let printed = run(&mut machine.command(last))?;
            let missing = shown.iter().find(|shown| !printed.lines().any(|line| resembles(line, shown)));
            ensure!(missing.is_none(), "the line {missing:?} is not in\n{printed}");
            Ok(())
        })
    }
}

/// Reads a number of whole seconds, such as `5s`.
fn seconds(text: &str) -> Result<Duration> {
    let number = text.strip_suffix('s').with_context(|| format!("{text} is no number of seconds"))?;
    Ok(Duration::from_secs(number.parse()?))
}

fn hosts(on: &str) -> Vec<&str> {
    if on == "both" { vec!["gw-a", "gw-b"] } else { vec![on] }
}

/// A Debian package of the agent under test, which is built once.
static PACKAGE: LazyLock<Result<(TempDir, PathBuf)>> = LazyLock::new(|| {
    let directory = tempfile::tempdir()?;
    let package = make_package(env!("CARGO_PKG_VERSION"), directory.path())?;
    Ok((directory, package))
});

fn documentation(name: &str) -> Result<String> {
    let path = workspace().join("docs").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[test]
fn the_guides_to_a_pair_in_front_of_nginx_work_as_written() -> Result<()> {
    let site = Site::new(false)?;
    site.follow("hot-standby.md")?;
    site.follow("tuning.md")?;
    site.follow("troubleshooting.md")?;
    site.follow("status.md")
}

#[test]
fn the_guide_to_two_hosts_that_both_serve_works_as_written() -> Result<()> {
    Site::new(true)?.follow("crosswise.md")
}

#[test]
fn the_guide_from_keepalived_works_as_written() -> Result<()> {
    let site = Site::new(true)?;
    for (host, priority) in [("gw-a", 200), ("gw-b", 100)] {
        let instance = format!(
            "vrrp_instance lan {{\n interface eth0\n version 3\n virtual_router_id 51\n priority {priority}\n \
             advert_int 0.1\n virtual_ipaddress {{\n  192.0.2.1/24\n }}\n}}"
        );
        site.write(host, "/etc/keepalived/keepalived.conf", &instance)?;
        site.execute(host, "systemctl enable --now keepalived")?;
    }
    site.run("gw-a", &["ip -brief address show dev eth0"], Some(&["eth0…192.0.2.1/24…"]))?;
    site.follow("coming-from-keepalived.md")
}

/// Stands in for the sendmail of a mail server: delivers the mail to a local user's mailbox.
const SENDMAIL: &str = "#!/bin/sh\nmail=$(cat)\nprintf '%s\\n\\n' \"$mail\" >> \"/var/mail/$1\"";

/// nginx is Debian's own, which setup installs. Both the mail server and systemd are stand-ins.
#[test]
fn the_guide_to_the_classic_keepalived_pair_works_as_written() -> Result<()> {
    // It states how long a change of role takes.
    let _alone = alone();
    let site = Site::new(true)?;
    for host in ["gw-a", "gw-b"] {
        site.write(host, "/usr/sbin/sendmail", SENDMAIL)?;
        site.execute(host, "chmod 755 /usr/sbin/sendmail")?;
    }
    site.follow("keepalived-pair.md")
}

#[test]
fn the_guide_from_heartbeat_works_as_written() -> Result<()> {
    let site = Site::new(true)?;
    for host in ["gw-a", "gw-b"] {
        site.write(host, "/etc/ha.d/ha.cf", "keepalive 200ms\ndeadtime 1\nbcast eth0\nnode gw-a gw-b")?;
        site.write(host, "/etc/ha.d/haresources", "gw-a IPaddr::192.0.2.1/24/eth0")?;
        site.write(host, "/lib/systemd/system/heartbeat.service", "[Service]\nType=simple\nExecStart=/bin/sleep 3600")?;
        site.execute(host, "systemctl enable --now heartbeat")?;
    }
    site.follow("coming-from-heartbeat.md")
}

#[test]
fn every_guide_with_commands_is_followed() -> Result<()> {
    // Its commands are those of the repository, which CI runs.
    let others = ["benchmarks.md"];
    let followed = include_str!("guides.rs");
    for entry in fs::read_dir(workspace().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".md") || others.contains(&name.as_str()) {
            continue;
        }
        let text = documentation(&name)?;
        let commands = blocks(&text).iter().filter(|block| block.language == "sh").count();
        ensure!(
            commands == 0 || followed.contains(&format!("follow({name:?})")),
            "docs/{name} has commands, and no test follows it"
        );
    }
    Ok(())
}

#[test]
fn an_ellipsis_in_shown_output_stands_for_any_text() {
    assert!(resembles("  lan: BACKUP for 1.5 s (startup)", "lan: BACKUP for …"));
    assert!(resembles("eth0 UP 192.0.2.2/24 192.0.2.1/24 ", "eth0…192.0.2.1/24"));
    assert!(resembles("served by gw-a", "served by gw-a"));
    assert!(!resembles("served by gw-ab", "served by gw-a"));
    assert!(!resembles("eth0 UP 192.0.2.2/24", "eth0…192.0.2.1/24…"));
    assert!(!resembles("lan: ACTIVE for 1.5 s", "lan: BACKUP for …"));
}
