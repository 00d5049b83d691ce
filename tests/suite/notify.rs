//! Notify programs: told of every change, in order, and never waited for by the election.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, pause};

/// A program in a directory of its own.
fn program(directory: &TempDir, script: &str) -> Result<PathBuf> {
    xvrrp_lab::script(directory.path(), "notify", script)
}

fn router(priority: u8, program: &Path) -> VirtualRouter {
    VirtualRouter::lan(priority).with("notify", &format!("{program:?}"))
}

#[test]
fn every_change_is_told_in_order_in_keepaliveds_words() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let told = directory.path().join("told");
    let script = format!("echo \"$@ $XVRRP_STATE $XVRRP_REASON $XVRRP_VRID $XVRRP_INTERFACE\" >> {}", told.display());
    let mut agent = Xvrrp::start(&lab.routers[0], &[router(200, &program(&directory, &script)?)])?;
    agent.wait_for_state("lan", "active")?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    lab.plug(0)?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success());
    let expected = "\
INSTANCE lan BACKUP 200 backup startup 51 eth0
INSTANCE lan MASTER 200 active active_down 51 eth0
INSTANCE lan FAULT 200 fault interface_down 51 eth0
INSTANCE lan BACKUP 200 backup interface_up 51 eth0
INSTANCE lan MASTER 200 active active_down 51 eth0
INSTANCE lan STOP 200 init shutdown 51 eth0
";
    ensure!(fs::read_to_string(&told)? == expected, "{}", fs::read_to_string(&told)?);
    Ok(())
}

/// What keepalived does first comes first, and systemctl is whatever stands first on the agent's PATH.
#[test]
fn services_and_programs_of_a_state_are_run_before_the_program_of_every_change() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let told = directory.path().join("told");
    let write = |name: &str, line: &str| -> Result<String> {
        let path = xvrrp_lab::script(directory.path(), name, &format!("echo \"{line}\" >> {}", told.display()))?;
        Ok(format!("{path:?}"))
    };
    write("systemctl", "systemctl $*")?;
    let mut router = VirtualRouter::lan(200)
        .with("services", "[\"nginx.service\", \"vpn.target\"]")
        .with("notify", &write("notify", "notify $*")?);
    for key in ["notify_active", "notify_backup", "notify_fault", "notify_stop"] {
        router = router.with(key, &write(key, &format!("{key} $# $XVRRP_STATE $XVRRP_REASON $XVRRP_PRIORITY"))?);
    }
    let path = format!("PATH={}:{}", directory.path().display(), std::env::var("PATH")?);
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &["env", &path], "")?;
    agent.wait_for_state("lan", "active")?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    ensure!(agent.stop()?.success());
    let expected = "\
systemctl --no-ask-password stop -- nginx.service vpn.target
notify_backup 0 backup startup 200
notify INSTANCE lan BACKUP 200
systemctl --no-ask-password start -- nginx.service vpn.target
notify_active 0 active active_down 200
notify INSTANCE lan MASTER 200
systemctl --no-ask-password stop -- nginx.service vpn.target
notify_fault 0 fault interface_down 200
notify INSTANCE lan FAULT 200
";
    let told = fs::read_to_string(&told)?;
    ensure!(told == expected, "{told}");
    Ok(())
}

#[test]
fn a_program_that_takes_longer_than_its_timeout_is_killed_and_the_next_one_is_run() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let hangs = program(&directory, "exec sleep 1000")?;
    let router = router(200, &hangs).with("notify_timeout", "\"200ms\"");
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    agent.daemon.wait_for_lines(&["WARN", "ran for 200ms: killed"], 2)
}

#[test]
fn a_program_that_fails_is_logged() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[router(200, &program(&directory, "exit 3")?)])?;
    agent.daemon.wait_for_line(&["WARN", "virtual_router=lan", "notify failed: exit status: 3"], PATIENCE)?;
    agent.wait_for_state("lan", "active")
}

#[test]
fn a_program_that_hangs_holds_up_neither_adverts_nor_status_nor_the_next_change() -> Result<()> {
    let lab = Lab::new(2)?;
    let directory = tempfile::tempdir()?;
    let hangs = program(&directory, "trap '' TERM; sleep 1000 & sleep 1000")?;
    let mut active = Xvrrp::start(&lab.routers[0], &[router(200, &hangs)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    backup.wait_for_state("lan", "backup")?;
    let sent = || -> Result<u64> { Ok(active.virtual_router("lan")?["adverts_sent"].as_u64().unwrap_or(0)) };
    let before = sent()?;
    let start = Instant::now();
    pause(Duration::from_secs(2))?;
    // Adverts go on at their pace, and the Backup has missed none for Active_Down_Interval.
    let due = u64::try_from(start.elapsed().as_millis() / 100)?;
    let more = sent()? - before;
    ensure!(more > due / 2, "{more} adverts of {due}");
    ensure!(backup.transitions("lan", "active") == 0, "{}", backup.daemon.log());
    // A change is carried out although the last one is still being told.
    lab.pull(0)?;
    backup.wait_for_state("lan", "active")?;
    active.wait_for_state("lan", "fault")?;
    // And so is the end, after a short wait.
    ensure!(active.stop()?.success());
    active.daemon.wait_for_lines(&["WARN", "notify programs still run"], 1)?;
    eventually("the address is gone", PATIENCE, || {
        let addresses = lab.routers[0].ip("-4 -o address show dev eth0")?;
        ensure!(!addresses.contains("192.0.2.1/"), "{addresses}");
        Ok(())
    })
}

/// Processes that have ended, and whose end this one has not seen.
fn zombies_of(parent: u32) -> Result<usize> {
    let mut zombies = 0;
    for entry in fs::read_dir("/proc")? {
        let stat = fs::read_to_string(entry?.path().join("stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        zombies += usize::from(rest.starts_with(&format!("Z {parent} ")));
    }
    Ok(zombies)
}

#[test]
fn programs_that_run_across_reloads_leave_no_zombies_and_do_not_overlap() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let told = directory.path().join("told");
    let line = |word: &str| format!("echo \"{word} $3\" >> {}", told.display());
    let script = format!("{}\nsleep 1.5\n{}", line("begin"), line("end"));
    // A check that hangs is killed at each reload, and leaves no zombie either.
    let check =
        "\n[[check]]\nname = \"slow\"\ninterval = \"50ms\"\ntimeout = \"20s\"\nscript = [\"/bin/sleep\", \"15\"]\n";
    let router = router(200, &program(&directory, &script)?).with("track", "[{ check = \"slow\", weight = 5 }]");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], check)?;
    agent.wait_for_state("lan", "active")?;
    for _ in 0..12 {
        agent.reload()?;
        pause(Duration::from_millis(100))?;
    }
    let expected = "begin BACKUP\nend BACKUP\nbegin MASTER\nend MASTER\n";
    eventually("every change is told once, one after the other", PATIENCE, || {
        let told = fs::read_to_string(&told)?;
        ensure!(told == expected, "{told}");
        let zombies = zombies_of(agent.daemon.pid())?;
        ensure!(zombies == 0, "{zombies} zombies");
        Ok(())
    })?;
    ensure!(agent.state("lan")? == "active");
    Ok(())
}
