//! Notify programs run for every change of state, in order, and the election never waits for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, pause, wait_until, wait_until_is};

/// Writes a notify program that runs this shell script.
fn program(directory: &TempDir, script: &str) -> Result<PathBuf> {
    xvrrp_lab::script(directory.path(), "notify", script)
}

fn router(priority: u8, program: &Path) -> VirtualRouter {
    VirtualRouter::lan(priority).with("notify", &format!("{program:?}"))
}

#[test]
fn the_program_runs_for_every_change_in_order_with_keepaliveds_arguments() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let calls = directory.path().join("calls");
    let script = format!("echo \"$@ $XVRRP_STATE $XVRRP_REASON $XVRRP_VRID $XVRRP_INTERFACE\" >> {}", calls.display());
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
    wait_for_calls(&calls, expected)
}

#[test]
fn another_reason_for_a_fault_is_logged_but_is_no_change_of_state() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let [calls, broken] = ["calls", "broken"].map(|name| directory.path().join(name));
    let script = format!("echo \"$3 $XVRRP_REASON\" >> {}", calls.display());
    let router = router(200, &program(&directory, &script)?).with("track", "[\"broken\"]");
    let check = format!("[[check]]\nname = \"broken\"\nfile = {broken:?}\ninterval = \"50ms\"\n");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], &check)?;
    agent.wait_for_state("lan", "active")?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    fs::write(&broken, "1")?;
    wait_until_is("the check has failed", &serde_json::json!(1), || Ok(agent.status()?["checks"][0]["value"].take()))?;
    let since = agent.virtual_router("lan")?["since"].as_f64().unwrap_or_default();
    lab.plug(0)?;
    agent.daemon.wait_for_line(&["state=fault ", "reason=check_failed"], PATIENCE)?;
    let router = agent.virtual_router("lan")?;
    ensure!(router["reason"] == "check_failed" && router["transitions"]["fault"] == 1, "{router}");
    ensure!(
        (router["since"].as_f64().unwrap_or_default() - since).abs() < 0.1,
        "it was in fault since {since}: {router}"
    );
    fs::remove_file(&broken)?;
    agent.wait_for_state("lan", "active")?;
    let expected = "\
BACKUP checks_passed
MASTER active_down
FAULT interface_down
BACKUP checks_passed
MASTER active_down
";
    wait_for_calls(&calls, expected)
}

/// Waits until the programs have recorded these calls. The agent does not wait for slow programs when it stops.
fn wait_for_calls(file: &Path, expected: &str) -> Result<()> {
    wait_until_is("every program has run", &expected.to_owned(), || Ok(fs::read_to_string(file)?))
}

/// The order is keepalived's. The agent runs the first systemctl on its PATH.
#[test]
fn services_and_programs_of_a_state_are_run_before_the_program_of_every_change() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let calls = directory.path().join("calls");
    let write = |name: &str, line: &str| -> Result<String> {
        let path = xvrrp_lab::script(directory.path(), name, &format!("echo \"{line}\" >> {}", calls.display()))?;
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
systemctl --no-ask-password stop -- nginx.service vpn.target
notify_stop 0 init shutdown 200
notify INSTANCE lan STOP 200
";
    wait_for_calls(&calls, expected)
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
fn a_program_that_hangs_delays_neither_adverts_nor_status_nor_the_next_change() -> Result<()> {
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
    // The router kept advertising, and the Backup never lacked an advert for Active_Down_Interval.
    let due = u64::try_from(start.elapsed().as_millis() / 100)?;
    let more = sent()? - before;
    ensure!(more > due / 2, "{more} adverts of {due}");
    ensure!(backup.transitions("lan", "active") == 0, "{}", backup.daemon.log());
    // The state changes although the program of the previous change still runs.
    lab.pull(0)?;
    backup.wait_for_state("lan", "active")?;
    active.wait_for_state("lan", "fault")?;
    // The agent stops too, after a short wait for the program.
    ensure!(active.stop()?.success());
    active.daemon.wait_for_lines(&["WARN", "notify programs still run"], 1)?;
    wait_until("the address is removed", || {
        Ok(!lab.routers[0].ip("-4 -o address show dev eth0")?.contains("192.0.2.1/"))
    })
}

/// Counts the processes that have ended and that this parent has not reaped.
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
    let calls = directory.path().join("calls");
    let line = |word: &str| format!("echo \"{word} $3\" >> {}", calls.display());
    let script = format!("{}\nsleep 1.5\n{}", line("begin"), line("end"));
    // The script of a check hangs. Each reload kills it, which must leave no zombie either.
    let check =
        "\n[[check]]\nname = \"slow\"\ninterval = \"50ms\"\ntimeout = \"20s\"\nscript = [\"/bin/sleep\", \"15\"]\n";
    let router = router(200, &program(&directory, &script)?).with("track", "[{ check = \"slow\", weight = 5 }]");
    // The lease must outlast a reload on a busy machine: another takeover would be another change.
    let router = router.with("advert_interval", "\"1s\"");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], check)?;
    agent.wait_for_state("lan", "active")?;
    for _ in 0..12 {
        agent.reload()?;
        pause(Duration::from_millis(100))?;
    }
    let expected = "begin BACKUP\nend BACKUP\nbegin MASTER\nend MASTER\n";
    eventually("the program has run once for each change, one run after the other", PATIENCE, || {
        let calls = fs::read_to_string(&calls)?;
        ensure!(calls == expected, "{calls}");
        let zombies = zombies_of(agent.daemon.pid())?;
        ensure!(zombies == 0, "{zombies} zombies");
        Ok(())
    })?;
    ensure!(agent.state("lan")? == "active");
    Ok(())
}
