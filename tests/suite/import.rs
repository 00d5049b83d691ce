//! Imported configurations run, and an agent with one behaves as keepalived does with the original.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use xvrrp_lab::probe::{UdpEcho, UdpProbe};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{
    Daemon, INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VIP, agent_binary, eventually, run, workspace,
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
        // The status is 3 if directives are listed on standard error.
        let expected = if import.stderr.is_empty() { 0 } else { 3 };
        ensure!(
            import.status.code() == Some(expected),
            "{}: {}",
            import.status,
            String::from_utf8_lossy(&import.stderr)
        );
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
fn the_exit_status_says_whether_everything_was_converted() -> Result<()> {
    let directory = TempDir::with_prefix("xvrrp-lab-import-")?;
    let file = directory.path().join("keepalived.conf");
    let broken = "vrrp_instance a {\n".to_owned();
    for (original, status, message) in [
        (sample("crosswise/keepalived.conf")?, 0, ""),
        (sample("load-balancer/keepalived.conf")?, 3, "keepalived.conf:14: dont_track_primary: "),
        (broken, 2, "keepalived.conf:1: this { is never closed; add the }"),
    ] {
        fs::write(&file, &original)?;
        let output = Command::new(agent_binary()?).arg("import").arg(&file).output()?;
        let messages = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(status), "{:?}: {messages}", output.status);
        ensure!(messages.contains(message) && messages.is_empty() == (status == 0), "{messages}");
        ensure!(output.stdout.is_empty() == (status == 2), "status {status}");
    }
    Ok(())
}

#[test]
fn an_imported_crosswise_pair_behaves_as_keepalived_does() -> Result<()> {
    let first = sample("crosswise/keepalived.conf")?;
    let second = first.replace("priority 150", "priority x").replace("priority 100", "priority 150");
    let second = second.replace("priority x", "priority 100");
    compare([&first, &second], &[("192.0.2.1", 0), ("192.0.2.50", 1)])
}

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
