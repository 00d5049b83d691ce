//! Sync groups whose members differ: keepalived and an agent that run the same keepalived.conf take the same roles,
//! with any of them on either host.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use xvrrp_lab::{Keepalived, Lab, Namespace, PATIENCE, eventually};

use crate::same_file::{Imported, Running};

/// Longer than any Active_Down_Interval here.
const SETTLED: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Keepalived,
    Xvrrp,
}

use Kind::{Keepalived as K, Xvrrp as X};

/// Two hosts with two segments between them.
struct Site {
    lab: Lab,
    files: [tempfile::TempDir; 2],
}

/// The settings of one member: its priority and more lines.
type Member<'a> = (u8, &'a str);

/// Returns a group of `lan`, on the client's side, and `wan`, on the server's.
fn group(lan: Member<'_>, wan: Member<'_>, trackers: &str, lines: &str) -> String {
    let instance = |name, interface, vrid, address, (priority, lines): Member<'_>| {
        format!(
            "vrrp_instance {name} {{
  state BACKUP
  interface {interface}
  virtual_router_id {vrid}
  priority {priority}
  {lines}
  virtual_ipaddress {{
    {address}/24
  }}
}}
"
        )
    };
    let instances = [instance("lan", "eth0", 51, "192.0.2.1", lan), instance("wan", "eth1", 52, "198.51.100.1", wan)];
    format!(
        "global_defs {{
  vrrp_version 3
  script_user root
}}
{trackers}
{}vrrp_sync_group gw {{
  group {{
    lan
    wan
  }}
{lines}
}}
",
        instances.concat()
    )
}

impl Site {
    fn new() -> Result<Self> {
        Ok(Self { lab: Lab::with_upstream(2)?, files: [tempfile::tempdir()?, tempfile::tempdir()?] })
    }

    fn file(&self, host: usize, name: &str) -> std::path::PathBuf {
        self.files[host].path().join(name)
    }

    /// Starts a daemon with a configuration in which `@` stands for the directory of the host's files.
    fn start(&self, host: usize, kind: Kind, config: &str) -> Result<Running> {
        let config = config.replace('@', &self.files[host].path().display().to_string());
        let namespace: &Namespace = &self.lab.routers[host];
        match kind {
            K => Keepalived::start_with(namespace, &config).map(Running::Keepalived),
            X => Imported::start(namespace, &config, None).map(Running::Xvrrp),
        }
    }
}

/// Waits until both members have this state.
fn wait_for(daemon: &Running, state: &str) -> Result<()> {
    ["lan", "wan"].iter().try_for_each(|member| daemon.wait_for_state(member, state))
}

/// Fails if a member leaves this state while the roles settle.
fn ensure_stays(daemon: &Running, state: &str) -> Result<()> {
    thread::sleep(SETTLED);
    for member in ["lan", "wan"] {
        let (found, _) = daemon.look(member, 0)?;
        ensure!(found == state, "{member} of {} is in {found} instead of {state}:\n{}", daemon.name(), daemon.log());
    }
    Ok(())
}

/// Runs a scenario with both daemons on either host.
fn with_all(scenario: impl Fn(&Site, [Kind; 2]) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let scenario = &scenario;
        let runs: Vec<_> = [[K, K], [X, X], [K, X], [X, K]]
            .into_iter()
            .map(|kinds| (kinds, scope.spawn(move || scenario(&Site::new()?, kinds))))
            .collect();
        for (kinds, run) in runs {
            let outcome = run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.map_err(|error| error.context(format!("{kinds:?}")))?;
        }
        Ok(())
    })
}

// parity 36
#[test]
fn a_member_that_does_not_preempt_keeps_the_whole_group_from_it() -> Result<()> {
    let better = group((200, "advert_int 0.1"), (200, "advert_int 0.1\n  nopreempt"), "", "");
    let worse = group((100, "advert_int 0.1"), (100, "advert_int 0.1"), "", "");
    with_all(|site, [first, second]| {
        let lower = site.start(1, second, &worse)?;
        wait_for(&lower, "MASTER")?;
        let higher = site.start(0, first, &better)?;
        wait_for(&higher, "BACKUP")?;
        ensure_stays(&higher, "BACKUP")?;
        ensure_stays(&lower, "MASTER")?;
        site.lab.pull(1)?;
        wait_for(&lower, "FAULT")?;
        wait_for(&higher, "MASTER")?;
        site.lab.plug(1)?;
        wait_for(&lower, "BACKUP")?;
        ensure_stays(&higher, "MASTER")
    })
}

// parity 3, 67
#[test]
fn members_with_other_priorities_and_intervals_preempt_and_fail_over_together() -> Result<()> {
    let better = group((200, "advert_int 0.1"), (150, "advert_int 0.3"), "", "");
    let worse = group((100, "advert_int 0.1"), (120, "advert_int 0.3"), "", "");
    with_all(|site, [first, second]| {
        let lower = site.start(1, second, &worse)?;
        wait_for(&lower, "MASTER")?;
        let mut higher = site.start(0, first, &better)?;
        wait_for(&higher, "MASTER")?;
        wait_for(&lower, "BACKUP")?;
        site.lab.pull(0)?;
        wait_for(&higher, "FAULT")?;
        wait_for(&lower, "MASTER")?;
        site.lab.plug(0)?;
        wait_for(&higher, "MASTER")?;
        wait_for(&lower, "BACKUP")?;
        higher.stop()?;
        wait_for(&lower, "MASTER")
    })
}

/// Each host is the better one on one segment.
#[test]
fn if_the_hosts_disagree_about_who_is_better_the_role_stays_where_it_is() -> Result<()> {
    let left = group((200, "advert_int 0.1"), (100, "advert_int 0.1"), "", "");
    let right = group((100, "advert_int 0.1"), (200, "advert_int 0.1"), "", "");
    with_all(|site, [first, second]| {
        let one = site.start(0, first, &left)?;
        wait_for(&one, "MASTER")?;
        let other = site.start(1, second, &right)?;
        wait_for(&other, "BACKUP")?;
        ensure_stays(&other, "BACKUP")?;
        site.lab.pull(0)?;
        wait_for(&other, "MASTER")?;
        site.lab.plug(0)?;
        wait_for(&one, "BACKUP")?;
        ensure_stays(&one, "BACKUP")?;
        ensure_stays(&other, "MASTER")
    })
}

fn exists(name: &str, weight: &str) -> String {
    format!("vrrp_script {name} {{\n  script \"/usr/bin/test -e @/{name}\"\n  interval 1\n  {weight}\n}}\n")
}

/// Waits until an instance has this state and priority.
fn wait_for_priority(daemon: &Running, instance: &str, configured: u8, expected: (&str, u8)) -> Result<()> {
    eventually(&format!("{} has {instance} in {expected:?}", daemon.name()), PATIENCE, || {
        let (state, priority) = daemon.look(instance, configured)?;
        ensure!((state.as_str(), priority) == expected, "{state} with {priority}\n{}", daemon.log());
        Ok(())
    })
}

fn touch(path: &Path) -> Result<()> {
    Ok(fs::write(path, "")?)
}

// parity 68, 72
#[test]
fn weights_count_for_the_member_or_the_whole_group_that_tracks_the_check() -> Result<()> {
    let trackers = [exists("all", "weight 0"), exists("lan", "weight -120"), exists("both", "weight 10")].concat();
    let lines = "advert_int 0.1\n  track_script {\n    lan\n    both\n  }";
    let better = group(
        (200, lines),
        (200, "advert_int 0.1"),
        &trackers,
        "  sync_group_tracking_weight\n  track_script {\n    all weight -150\n    both weight 20\n  }",
    );
    let worse = group((100, "advert_int 0.1"), (100, "advert_int 0.1"), "", "");
    with_all(|site, [first, second]| {
        for file in ["all", "lan"] {
            touch(&site.file(0, file))?;
        }
        let higher = site.start(0, first, &better)?;
        wait_for(&higher, "MASTER")?;
        let lower = site.start(1, second, &worse)?;
        wait_for(&lower, "BACKUP")?;
        // The weight of the group counts where both have one.
        touch(&site.file(0, "both"))?;
        wait_for_priority(&higher, "lan", 200, ("MASTER", 220))?;
        wait_for_priority(&higher, "wan", 200, ("MASTER", 220))?;
        // The hosts disagree about who is better.
        fs::remove_file(site.file(0, "lan"))?;
        wait_for_priority(&higher, "lan", 200, ("MASTER", 100))?;
        wait_for_priority(&higher, "wan", 200, ("MASTER", 220))?;
        touch(&site.file(0, "lan"))?;
        wait_for_priority(&higher, "lan", 200, ("MASTER", 220))?;
        fs::remove_file(site.file(0, "all"))?;
        wait_for_priority(&higher, "lan", 200, ("BACKUP", 70))?;
        wait_for_priority(&higher, "wan", 200, ("BACKUP", 70))?;
        wait_for(&lower, "MASTER")
    })
}

/// A check without a weight that both a member and its group track keeps keepalived 2.2.7 from ever starting.
#[test]
fn a_check_without_a_weight_of_a_member_or_the_group_is_a_fault_of_all() -> Result<()> {
    let trackers = [exists("group", ""), exists("member", "")].concat();
    let better = group(
        (200, "advert_int 0.1"),
        (200, "advert_int 0.1\n  track_script {\n    member\n  }"),
        &trackers,
        "  track_script {\n    group\n  }",
    );
    let worse = group((100, "advert_int 0.1"), (100, "advert_int 0.1"), "", "");
    with_all(|site, [first, second]| {
        for file in ["group", "member"] {
            touch(&site.file(0, file))?;
        }
        let higher = site.start(0, first, &better)?;
        wait_for(&higher, "MASTER")?;
        let lower = site.start(1, second, &worse)?;
        wait_for(&lower, "BACKUP")?;
        for file in ["group", "member"] {
            fs::remove_file(site.file(0, file))?;
            wait_for(&higher, "FAULT")?;
            wait_for(&lower, "MASTER")?;
            touch(&site.file(0, file))?;
            wait_for(&higher, "MASTER")?;
            wait_for(&lower, "BACKUP")?;
        }
        Ok(())
    })
}
