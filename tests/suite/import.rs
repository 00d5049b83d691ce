//! Imported configurations run, and an agent with one behaves as keepalived does with the original.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{
    Daemon, Frr, FrrConfig, INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VIP, agent_binary, eventually, run,
    workspace,
};

fn sample(path: &str) -> Result<String> {
    let path = workspace().join("agent/import/tests/import/samples").join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// An agent that runs the result of `xvrrp import`.
struct Imported {
    daemon: Daemon,
    directory: TempDir,
}

impl Imported {
    fn from_keepalived(namespace: &Namespace, original: &str) -> Result<Self> {
        Self::start(namespace, &[("keepalived.conf", original)], "alpha")
    }

    fn from_heartbeat(namespace: &Namespace, ha_cf: &str, haresources: &str, node: &str) -> Result<Self> {
        Self::start(namespace, &[("ha.cf", ha_cf), ("haresources", haresources)], node)
    }

    /// Imports the originals, of which the first is named on the command line, and starts an agent with the result.
    fn start(namespace: &Namespace, originals: &[(&str, &str)], node: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-import-")?;
        let path = |name: &str| directory.path().join(name);
        for (name, text) in originals {
            fs::write(path(name), text)?;
        }
        let (agent, result) = (&agent_binary()?, path("xvrrp.toml"));
        let original = path(originals.first().context("an original")?.0);
        let import = Command::new(agent).arg("import").arg(original).args(["--node", node]).output()?;
        // The status is 3 if something is left out.
        let messages = String::from_utf8_lossy(&import.stderr);
        let expected = if messages.contains(": left out: ") { 3 } else { 0 };
        ensure!(import.status.code() == Some(expected), "{}: {messages}", import.status);
        // The hosts of the lab share a file system, so each needs a control socket of its own.
        let control = format!("[agent]\ncontrol = {:?}\n", path("xvrrp.sock"));
        let tables = String::from_utf8(import.stdout)?;
        let (before, routers) = tables.split_once("[[virtual_router]]").context("no virtual router")?;
        ensure!(before.starts_with("# Made by `xvrrp import "), "{before}");
        fs::write(&result, format!("{control}\n[[virtual_router]]{routers}"))?;

        run(namespace.command(agent)?.arg("check").arg(&result))?;
        let daemon = Daemon::start(
            "xvrrp",
            namespace.command(agent)?.arg("run").arg("--config").arg(&result),
            directory.path(),
        )?;
        Ok(Self { daemon, directory })
    }

    /// Waits until the output of `xvrrp status` has these words.
    fn wait_for_status(&self, words: &[&str]) -> Result<()> {
        let control = self.directory.path().join("xvrrp.sock");
        eventually(&format!("the status has {words:?}"), PATIENCE, || {
            let status = run(Command::new(agent_binary()?).arg("status").arg("--control").arg(&control))?;
            ensure!(words.iter().all(|word| status.contains(word)), "{status}");
            Ok(())
        })
    }

    fn stop(&mut self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, PATIENCE).map(drop)
    }
}

/// keepalived with an original, or an agent with the imported configuration.
enum Router {
    Keepalived(Keepalived),
    Xvrrp(Imported),
}

impl Router {
    fn stop(&mut self) -> Result<()> {
        match self {
            Self::Keepalived(keepalived) => keepalived.stop(),
            Self::Xvrrp(imported) => imported.stop(),
        }
    }
}

type Start = fn(&Namespace, &str) -> Result<Router>;

fn keepalived(namespace: &Namespace, original: &str) -> Result<Router> {
    Keepalived::start_with(namespace, original).map(Router::Keepalived)
}

fn imported(namespace: &Namespace, original: &str) -> Result<Router> {
    Imported::from_keepalived(namespace, original).map(Router::Xvrrp)
}

/// Waits until each address is on the expected router and on no other.
fn wait_for_holders(what: &str, lab: &Lab, expected: &[(&str, usize)]) -> Result<()> {
    eventually(what, PATIENCE, || {
        for (index, router) in lab.routers.iter().enumerate() {
            let shown = router.ip(&format!("-4 -o address show dev {INTERFACE}"))?;
            for (address, holder) in expected {
                let holds = shown.contains(&format!(" {address}/"));
                ensure!(holds == (*holder == index), "router {index}, {address}: {shown}");
            }
        }
        Ok(())
    })
}

/// Returns what a pair of routers sends, once for each kind of advert, from the start through takeovers to a stop.
fn behaviour(start: Start, originals: [&str; 2], expected: &[(&str, usize)]) -> Result<BTreeSet<Vec<String>>> {
    let lab = Lab::new(2)?;
    let on = |router| expected.iter().map(|(address, _)| (*address, router)).collect::<Vec<_>>();
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    let mut first = start(&lab.routers[0], originals[0])?;
    wait_for_holders("a single router serves", &lab, &on(0))?;
    let _second = start(&lab.routers[1], originals[1])?;
    wait_for_holders("the better router serves", &lab, expected)?;
    lab.pull(0)?;
    wait_for_holders("the second router takes over when the first is unplugged", &lab, &on(1))?;
    lab.plug(0)?;
    wait_for_holders("the better router serves again", &lab, expected)?;
    first.stop()?;
    wait_for_holders("the second router takes over when the first stops", &lab, &on(1))?;
    capture.finish()?;
    let fields = [
        "ip.src",
        "ip.dst",
        "ip.ttl",
        "vrrp.version",
        "vrrp.virt_rtr_id",
        "vrrp.prio",
        "vrrp.adver_int",
        "vrrp.short_adver_int",
        "vrrp.auth_type",
        "vrrp.auth_string",
        "vrrp.ip_addr",
    ];
    Ok(capture.read("vrrp", &fields)?.into_iter().collect())
}

/// Asserts that pairs of both daemons have the same roles and send the same adverts.
fn compare(originals: [&str; 2], expected: &[(&str, usize)]) -> Result<()> {
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| behaviour(keepalived, originals, expected).context("keepalived"));
        let ours = behaviour(imported, originals, expected).context("xvrrp");
        (theirs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ours)
    });
    let (theirs, ours) = (theirs?, ours?);
    ensure!(theirs == ours, "keepalived sends {theirs:#?}\nxvrrp sends {ours:#?}");
    Ok(())
}

#[test]
fn the_exit_status_says_whether_something_is_left_out() -> Result<()> {
    let directory = TempDir::with_prefix("xvrrp-lab-import-")?;
    let file = directory.path().join("keepalived.conf");
    let hidden = "xvrrp: nothing is left out: 3 notes (--verbose shows the notes)\n";
    let note = ": note: advert_int: becomes 1s, as keepalived rounds it in version 2\n";
    let owner = "vrrp_instance a {\n interface eth0\n virtual_router_id 5\n priority 255\n virtual_ipaddress {\n \
                 192.0.2.1\n }\n}\n";
    for (original, options, status, message) in [
        (sample("crosswise/keepalived.conf")?, &[][..], 0, ""),
        (sample("sub-second/keepalived.conf")?, &[], 0, hidden),
        (sample("sub-second/keepalived.conf")?, &["--verbose"], 0, note),
        (owner.to_owned(), &[], 0, "keepalived.conf:4: changed: priority: becomes 254: "),
        (sample("load-balancer/keepalived.conf")?, &[], 3, "keepalived.conf:21: left out: virtual_server: "),
        (sample("load-balancer/keepalived.conf")?, &[], 3, "\nxvrrp: the import is incomplete: "),
        ("vrrp_instance a {\n".to_owned(), &[], 3, "\nxvrrp: no virtual router was imported: 1 left out, 1 changed\n"),
        ("includem none.conf\n".to_owned(), &[], 2, "keepalived.conf:1: include: there is no file "),
    ] {
        fs::write(&file, &original)?;
        let output = Command::new(agent_binary()?).arg("import").args(options).arg(&file).output()?;
        let messages = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(status), "{:?}: {messages}", output.status);
        ensure!(messages.contains(message) && messages.is_empty() == message.is_empty(), "{messages}");
        ensure!(messages.contains(": note: ") == options.contains(&"--verbose"), "{messages}");
        ensure!(output.stdout.is_empty() == (status == 2 || original.len() < 20), "status {status}");
    }
    Ok(())
}

/// What keepalived or the import makes of a `vrrp_instance`.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    vrid: u8,
    version: u8,
    priority: String,
    preempt: bool,
    password: String,
    addresses: BTreeSet<String>,
    peers: BTreeSet<String>,
}

/// Returns what keepalived has read, by the name of the instance, from its `--dump-conf`.
fn read_by_keepalived(log: &str) -> Result<BTreeMap<String, Read>> {
    // Each line of the log begins with a date that ends with a colon and a space. Lines of the dump are indented, or
    // begin with dashes; others may come between them.
    let lines = log.lines().map(|line| line.split_once(": ").map_or("", |(_, text)| text));
    let lines: Vec<&str> = lines.filter(|line| line.starts_with([' ', '-'])).collect();
    let topology = lines.iter().position(|line| line.contains("< VRRP Topology >")).context("no dump")?;
    let mut all = BTreeMap::new();
    let is_header = |line: &str| line.starts_with(" VRRP Instance = ") || line.starts_with("---");
    let mut rest = lines.get(topology + 1..).context("nothing follows")?;
    while let Some(name) = rest.first().and_then(|line| line.strip_prefix(" VRRP Instance = ")) {
        let end = rest.iter().skip(1).position(|line| is_header(line)).map_or(rest.len(), |at| at + 1);
        let block = rest.get(1..end).unwrap_or_default();
        let value = |key: &str| block.iter().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(" = "));
        let number = |key: &str| value(key).and_then(|text| text.parse().ok()).with_context(|| format!("no {key}"));
        // The lines of a list are indented further than its header.
        let listed = |header: &str| -> BTreeSet<String> {
            let after = block.iter().skip_while(|line| !line.trim_start().starts_with(header)).skip(1);
            let words =
                after.take_while(|line| line.starts_with("     ")).filter_map(|line| line.split_whitespace().next());
            words.map(str::to_owned).collect()
        };
        let read = Read {
            vrid: number("Virtual Router ID")?,
            version: number("VRRP Version")?,
            priority: value("Priority").unwrap_or_default().to_owned(),
            preempt: value("Preempt") == Some("enabled"),
            password: value("Password").unwrap_or_default().to_owned(),
            addresses: listed("Virtual IP"),
            peers: listed("Unicast Peer"),
        };
        all.insert(name.to_owned(), read);
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(all)
}

/// Returns what the import has read.
fn read_by_import(file: &Path) -> Result<BTreeMap<String, Read>> {
    let import = Command::new(agent_binary()?).arg("import").arg(file).args(["--node", "alpha"]).output()?;
    let config = xvrrp_config::parse(Path::new("result"), &String::from_utf8(import.stdout)?)?;
    let of = |router: &xvrrp_config::VirtualRouterConfig| {
        let password = router.password.as_ref().map(|password| password.0).unwrap_or_default();
        let password = String::from_utf8_lossy(&password).trim_end_matches('\0').to_owned();
        let read = Read {
            vrid: router.vrid.get(),
            version: router.version as u8,
            priority: router.priority.to_string(),
            preempt: router.preempt,
            password,
            // keepalived shows a single address without a prefix length.
            addresses: router.addresses.iter().map(|vip| vip.to_string().replace("/32", "")).collect(),
            peers: router.unicast_peers.iter().map(|peer| peer.address.to_string()).collect(),
        };
        (router.name.clone(), read)
    };
    Ok(config.virtual_routers.iter().map(of).collect())
}

// parity 34
#[test]
fn the_import_reads_odd_files_as_keepalived_does() -> Result<()> {
    let lab = Lab::with_upstream(1)?;
    let samples = workspace().join("agent/import/tests/import/samples");
    let odd = [
        ("reading", Some(("the fourth", "the-fourth"))),
        ("braces", None),
        ("order", None),
        ("published-oddities", None),
    ];
    for (name, renamed) in odd {
        let file = samples.join(name).join("keepalived.conf");
        let mut keepalived = Keepalived::start_dumping(&lab.routers[0], &file, "alpha")?;
        keepalived.daemon.wait_for_line(&["< Interfaces >"], PATIENCE)?;
        let mut theirs = read_by_keepalived(&keepalived.daemon.log())?;
        keepalived.stop()?;
        if let Some((old, new)) = renamed {
            let read = theirs.remove(old).context("no instance to rename")?;
            theirs.insert(new.to_owned(), read);
        }
        let ours = read_by_import(&file)?;
        ensure!(theirs == ours, "{name}: keepalived has read {theirs:#?}\nxvrrp has read {ours:#?}");
    }
    Ok(())
}

// parity 2, 29, 30, 32, 34
#[test]
fn an_imported_crosswise_pair_behaves_as_keepalived_does() -> Result<()> {
    let first = sample("crosswise/keepalived.conf")?;
    let second = first.replace("priority 150", "priority x").replace("priority 100", "priority 150");
    let second = second.replace("priority x", "priority 100");
    compare([&first, &second], &[("192.0.2.1", 0), ("192.0.2.50", 1)])
}

// parity 10, 28, 31, 33
#[test]
fn imported_virtual_routers_of_both_versions_behave_as_keepalived_does() -> Result<()> {
    let first = sample("sub-second/keepalived.conf")?;
    let second = first
        .replace("priority 200", "priority 100")
        .replace("virtual_router_id 53", "virtual_router_id 53\n priority 90");
    compare([&first, &second], &[("192.0.2.1", 0), ("192.0.2.60", 0), ("192.0.2.61", 0)])
}

#[test]
fn a_live_pair_migrates_from_keepalived_host_by_host() -> Result<()> {
    let lab = Lab::new(2)?;
    let _echoes = [UdpEcho::start(&lab.routers[0], 0)?, UdpEcho::start(&lab.routers[1], 1)?];
    let first = sample("sub-second/keepalived.conf")?;
    let second = first.replace("priority 200", "priority 100");
    let mut better = Keepalived::start_with(&lab.routers[0], &first)?;
    wait_for_holders("the better keepalived serves", &lab, &[("192.0.2.1", 0)])?;
    let mut worse = Keepalived::start_with(&lab.routers[1], &second)?;
    worse.daemon.wait_for_line(&["(lan)", "BACKUP STATE"], PATIENCE)?;
    let probe = UdpProbe::start(&lab.client, VIP, Duration::from_millis(5))?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    let begin = Instant::now();

    worse.stop()?;
    let worse = Imported::from_keepalived(&lab.routers[1], &second)?;
    worse.wait_for_status(&["lan: BACKUP", "192.0.2.2"])?;
    better.stop()?;
    probe.wait_for_answer_from(1, PATIENCE)?;
    let better = Imported::from_keepalived(&lab.routers[0], &first)?;
    probe.wait_for_answer_from(0, PATIENCE)?;
    better.wait_for_status(&["lan: ACTIVE"])?;

    let end = Instant::now();
    let seen = probe.finish();
    let (_, longest) = seen.longest_gap_between(begin, end).context("no answers")?;
    // Skew_Time at 100 ms adverts is 61 ms. A busy machine needs longer.
    ensure!(longest < Duration::from_secs(1), "no host served for {longest:?}");
    ensure!(seen.hosts() == [0, 1, 0], "the hosts served in the order {:?}", seen.hosts());
    Ok(())
}

#[test]
fn an_imported_configuration_of_frr_backs_up_frr() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut theirs = Frr::start(&lab.routers[0], &FrrConfig::v3(51, 200))?;
    theirs.wait_for_state("Master")?;
    let original = format!(
        "frr version 8.4.4\ninterface {INTERFACE}\n vrrp 51 version 3\n vrrp 51 priority 100\n vrrp 51 \
         advertisement-interval 100\n vrrp 51 ip {VIP}\nexit\n"
    );
    let ours = Imported::start(&lab.routers[1], &[("frr.conf", &original)], "alpha")?;
    ours.wait_for_status(&["eth0-51: BACKUP", "priority 200"])?;
    drop(theirs);
    ours.wait_for_status(&["eth0-51: ACTIVE"])
}

#[test]
fn an_imported_heartbeat_pair_serves_and_fails_over() -> Result<()> {
    let lab = Lab::new(2)?;
    let ha_cf = sample("heartbeat-crosswise/ha.cf")?;
    // The hosts of the lab have no systemd to start nginx.
    let haresources = sample("heartbeat-crosswise/haresources")?.replace(" nginx", "");
    let start = |index: usize, node| Imported::from_heartbeat(&lab.routers[index], &ha_cf, &haresources, node);
    let _alpha = start(0, "alpha")?;
    let mut beta = start(1, "beta")?;
    let (first, second): (&str, &str) = ("192.0.2.1", "192.0.2.50");
    wait_for_holders("each node serves the address that prefers it", &lab, &[(first, 0), (second, 1)])?;
    beta.stop()?;
    wait_for_holders("alpha serves both addresses", &lab, &[(first, 0), (second, 0)])
}
