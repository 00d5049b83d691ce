//! Tracked checks of each kind, what their failure does, and that keepalived takes the same roles with the same
//! weights.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{User, mkfifo};
use tempfile::TempDir;
use xvrrp_config::AgentConfig;
use xvrrp_dataplane::{Pins, Tables};
use xvrrp_lab::{
    Daemon, HungFile, Keepalived, Lab, Namespace, PATIENCE, ServedPair, VirtualRouter, Xvrrp, eventually, pause,
    wait_until, wait_until_is,
};

/// A directory that scripts of any user can read.
fn directory() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// Starts an agent with these `[[check]]` tables. Each table has the additional `keys`.
fn start(namespace: &Namespace, router: VirtualRouter, checks: &[String], keys: &str) -> Result<Xvrrp> {
    let mut tables = String::new();
    for check in checks {
        write!(tables, "\n[[check]]\ninterval = \"50ms\"\n{keys}\n{check}\n")?;
    }
    Xvrrp::start_by(namespace, &[router], &[], &tables)
}

/// A check that passes as long as the file exists.
fn exists(name: &str, path: &Path) -> String {
    format!("name = {name:?}\ntimeout = \"10s\"\nscript = [\"/usr/bin/test\", \"-e\", {path:?}]")
}

/// Waits until the status shows that the first check is a script that has failed.
fn wait_for_failed_script(agent: &Xvrrp) -> Result<()> {
    eventually("the status shows the failure", PATIENCE, || {
        let status = agent.status()?;
        let (check, tracked) = (&status["checks"][0], &status["virtual_routers"][0]["track"][0]);
        ensure!(check["state"] == "down" && check["failure"] == "exit status: 1", "{status}");
        ensure!(check["kind"] == "script" && tracked["state"] == "down", "{status}");
        Ok(())
    })
}

#[test]
fn a_failed_check_of_any_kind_costs_the_role_and_its_recovery_restores_it() -> Result<()> {
    let lab = Lab::new(2)?;
    let router = &lab.routers[0];
    let directory = directory()?;
    let file = |name: &str| directory.path().join(name);
    let (flag, weight, pid_file) = (file("flag"), file("weight"), file("pid"));
    // No other process has this name.
    let program = file(&format!("xvt{}", std::process::id()));
    fs::copy("/bin/sleep", &program)?;
    let service = || -> Result<Daemon> {
        let service = Daemon::start("service", router.command(&program)?.arg("1000"), directory.path())?;
        fs::write(&pid_file, service.pid().to_string())?;
        Ok(service)
    };
    let name = program.file_name().context("a name")?;
    fs::write(&flag, "")?;
    router.ip("link add up0 type veth peer name up1")?;
    router.ip("link set up0 up")?;
    router.ip("link set up1 up")?;
    let checks = [
        format!("{}\nuser = \"nobody\"", exists("script", &flag)),
        "name = \"interface\"\ninterface = \"up0\"".to_owned(),
        format!("name = \"file\"\nfile = {weight:?}"),
        format!("name = \"process\"\nprocess = {name:?}"),
        format!("name = \"pid_file\"\npid_file = {pid_file:?}"),
        "name = \"ping\"\nping = \"192.0.2.100\"\ntimeout = \"1s\"".to_owned(),
    ];
    let track = "[\"script\", \"interface\", { check = \"file\", weight = 1 }, \"process\", \
                 { check = \"pid_file\", weight = -5 }, \"ping\"]";
    let mut running = service()?;
    let mut better = start(router, VirtualRouter::lan(200).with("track", track), &checks, "weight = -150")?;
    better.wait_for_state("lan", "active")?;
    let mut worse = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "backup")?;

    let mut lose = |better: &mut Xvrrp, priority: u8| -> Result<()> {
        better.wait_for_state("lan", "backup")?;
        worse.wait_for_state("lan", "active")?;
        let status = better.virtual_router("lan")?;
        ensure!(status["priority"] == priority && status["configured_priority"] == 200, "{status}");
        Ok(())
    };
    let regain = |better: &mut Xvrrp| -> Result<()> {
        better.wait_for_state("lan", "active")?;
        ensure!(better.virtual_router("lan")?["priority"] == 200);
        Ok(())
    };

    fs::remove_file(&flag)?;
    lose(&mut better, 50)?;
    wait_for_failed_script(&better)?;
    fs::write(&flag, "")?;
    regain(&mut better)?;

    // Without its other end, the interface has no carrier.
    router.ip("link set up1 down")?;
    lose(&mut better, 50)?;
    router.ip("link set up1 up")?;
    regain(&mut better)?;

    fs::write(&weight, "-150\n")?;
    lose(&mut better, 50)?;
    fs::remove_file(&weight)?;
    regain(&mut better)?;

    running.stop(Signal::SIGKILL, PATIENCE)?;
    lose(&mut better, 45)?;
    running = service()?;
    regain(&mut better)?;

    lab.client.ip("link set eth0 down")?;
    lose(&mut better, 50)?;
    lab.client.ip("link set eth0 up")?;
    regain(&mut better)?;
    running.check_alive()
}

#[test]
fn a_failure_of_a_check_without_a_weight_is_a_fault_and_releases_the_role() -> Result<()> {
    let lab = Lab::new(2)?;
    let directory = directory()?;
    let flag = directory.path().join("flag");
    let router = VirtualRouter::lan(200).with("track", "[\"script\"]");
    let mut better = start(&lab.routers[0], router, &[exists("script", &flag)], "rise = 3\nfall = 3")?;
    // The first result counts at once, whatever `fall` says.
    better.wait_for_state("lan", "fault")?;
    let mut worse = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "active")?;
    fs::write(&flag, "")?;
    better.wait_for_state("lan", "active")?;
    worse.wait_for_state("lan", "backup")?;
    fs::remove_file(&flag)?;
    better.wait_for_state("lan", "fault")?;
    worse.daemon.wait_for_line(&["state=active ", "reason=active_released"], PATIENCE)?;
    better.daemon.wait_for_line(&["WARN", "exit status: 1", "check=\"script\"", "state=\"down\""], PATIENCE)?;
    ensure!(better.virtual_router("lan")?["reason"] == "check_failed");
    wait_until("the address is removed", || {
        Ok(!lab.routers[0].ip("-4 -o address show dev eth0")?.contains("192.0.2.1/"))
    })
}

#[test]
fn a_check_that_hangs_is_killed_with_its_children_and_delays_no_advert() -> Result<()> {
    let lab = Lab::new(2)?;
    let directory = directory()?;
    let (flag, pid) = (directory.path().join("hang"), directory.path().join("pid"));
    let hang = format!("trap '' TERM; sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
    let line = format!("if [ -e {} ]; then {hang}; fi", flag.display());
    let check = format!("name = \"script\"\ntimeout = \"2s\"\nscript = [\"/bin/sh\", \"-c\", {line:?}]");
    let router = VirtualRouter::lan(200).with("track", "[\"script\"]");
    let mut better = start(&lab.routers[0], router, &[check], "")?;
    better.wait_for_state("lan", "active")?;
    let mut worse = Xvrrp::start(&lab.routers[1], &[VirtualRouter::lan(100)])?;
    worse.wait_for_state("lan", "backup")?;

    fs::write(&flag, "")?;
    let child = || -> Result<PathBuf> { Ok(Path::new("/proc").join(fs::read_to_string(&pid)?.trim())) };
    let first = eventually("the script hangs", PATIENCE, child)?;
    // The router advertises while the script hangs.
    let sent = || -> Result<u64> { Ok(better.virtual_router("lan")?["adverts_sent"].as_u64().unwrap_or(0)) };
    let before = sent()?;
    pause(Duration::from_millis(800))?;
    ensure!(sent()? > before, "no advert in 800 ms");
    better.wait_for_state("lan", "fault")?;
    worse.wait_for_state("lan", "active")?;
    let gone = |process: &Path| {
        eventually("the script's child is gone", PATIENCE, || {
            ensure!(!process.exists(), "{} still runs", process.display());
            Ok(())
        })
    };
    gone(&first)?;
    eventually("the status shows why the check failed", PATIENCE, || {
        let status = better.status()?;
        ensure!(status["checks"][0]["failure"] == "killed because it ran for 2s", "{status}");
        Ok(())
    })?;

    // The agent kills a script that still hangs when it stops.
    let last = eventually("the script hangs again", PATIENCE, || {
        let last = child()?;
        ensure!(last != first && last.exists(), "{} is the child", last.display());
        Ok(last)
    })?;
    ensure!(better.stop()?.success());
    gone(&last)
}

#[test]
fn endless_files_and_fifos_fail_their_checks_and_delay_nothing() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let file = |name: &str| directory.path().join(name);
    let (fifo, endless) = (file("fifo"), file("endless"));
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR)?;
    symlink("/dev/zero", &endless)?;
    let checks = [format!("name = \"fifo\"\nfile = {fifo:?}"), format!("name = \"endless\"\npid_file = {endless:?}")];
    let track = "[{ check = \"fifo\", weight = 1 }, { check = \"endless\", weight = -5 }]";
    let mut agent = start(&lab.routers[0], VirtualRouter::lan(200).with("track", track), &checks, "")?;
    agent.wait_for_state("lan", "active")?;
    eventually("both checks fail", PATIENCE, || {
        let status = agent.status()?;
        for (index, kind) in ["a FIFO", "a device"].into_iter().enumerate() {
            let failure = status["checks"][index]["failure"].as_str().unwrap_or_default().to_owned();
            ensure!(failure.contains(&format!("it is {kind}; give the path of a regular file")), "{status}");
        }
        Ok(())
    })?;
    let memory = fs::read_to_string(format!("/proc/{}/status", agent.daemon.pid()))?;
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").trim().parse()?;
    ensure!(peak < 512 << 10, "the agent's memory has reached {peak} kB");
    ensure!(agent.stop()?.success());
    Ok(())
}

/// Waits until the status says that the file of the only check cannot be read.
fn wait_until_unreadable(agent: &Xvrrp) -> Result<()> {
    eventually("the file cannot be read", PATIENCE, || {
        let status = agent.status()?;
        let failure = status["checks"][0]["failure"].as_str().unwrap_or_default();
        ensure!(failure.contains("could not be read within"), "{status}");
        Ok(())
    })
}

/// A thread that waits for a file system delays execve(2) until the file system answers.
#[test]
fn a_reload_is_refused_while_a_file_system_does_not_answer_and_no_role_is_lost() -> Result<()> {
    let lab = Lab::new(2)?;
    let hung = HungFile::new()?;
    let checks = [format!("name = \"hung\"\nfile = {:?}", hung.path())];
    let track = "[{ check = \"hung\", weight = 1 }]";
    let agent = start(&lab.routers[0], VirtualRouter::lan(200).with("track", track), &checks, "")?;
    let mut pair = ServedPair::with(lab, agent)?;
    // Declared after the agent, it is dropped before the agent, which cannot end while it waits for the file.
    let hung = hung;
    wait_until_unreadable(&pair.active)?;
    let refused = pair.active.reload().err().context("the agent has reloaded")?;
    ensure!(format!("{refused:#}").contains("with a file of a check does not answer"), "{refused:#}");
    // A successor is another process, which does not wait for the threads of this one.
    let successor = pair.active.replace(&pair.lab.routers[0], &[VirtualRouter::lan(200)])?;
    let mut replaced = std::mem::replace(&mut pair.active, successor);
    let hung = hung;
    pair.active.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    pair.active.reload()?;
    pair.active.wait_for_state("lan", "active")?;
    drop(hung);
    ensure!(replaced.daemon.wait(PATIENCE)?.success(), "{}", replaced.daemon.log());
    pair.check_undisturbed().map(drop)
}

#[test]
fn a_reload_succeeds_once_the_file_system_answers() -> Result<()> {
    let lab = Lab::new(1)?;
    let hung = HungFile::new()?;
    let checks = [format!("name = \"hung\"\nfile = {:?}", hung.path())];
    let track = "[{ check = \"hung\", weight = 1 }]";
    let mut agent = start(&lab.routers[0], VirtualRouter::lan(200).with("track", track), &checks, "")?;
    // It must be dropped before the agent, as above.
    let hung = hung;
    agent.wait_for_state("lan", "active")?;
    wait_until_unreadable(&agent)?;
    let refused = agent.reload().err().context("the agent has reloaded")?;
    ensure!(format!("{refused:#}").contains("does not answer"), "{refused:#}");
    ensure!(agent.state("lan")? == "active");
    drop(hung);
    eventually("the agent reloads", PATIENCE, || agent.reload())?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn a_priority_that_a_check_has_changed_is_in_the_maps_after_a_reload() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let router = &lab.routers[0];
    let check = exists("flag", &directory.path().join("flag"));
    let track = "[{ check = \"flag\", weight = -20 }]";
    let mut agent = start(router, VirtualRouter::unhurried_lan(200).with("track", track), &[check], "")?;
    agent.wait_for_state("lan", "active")?;
    let in_maps = || {
        router.run(|| -> Result<_> {
            let tables = Tables::open(&Pins::below(Path::new(AgentConfig::DEFAULT_BPFFS))?)?;
            Ok(tables.routers().values().next().context("no virtual router")?.priority)
        })?
    };
    wait_until_is("the check changes the priority", &180, in_maps)?;
    agent.reload()?;
    agent.daemon.wait_for_line(&["state=active", "reason=resumed"], PATIENCE)?;
    let (status, in_maps) = (agent.virtual_router("lan")?, in_maps()?);
    ensure!(status["priority"] == 180 && in_maps == 180, "{in_maps} in the maps, and {status}");
    Ok(())
}

// parity 76
#[test]
fn a_script_with_a_user_has_that_users_home_and_groups() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    let (recorded, group) = (directory.path().join("recorded"), directory.path().join("group"));
    // In the agent's mount namespace, the user `nobody` belongs to another group.
    fs::write(&group, format!("{}xvrrp-lab:x:4711:nobody\n", fs::read_to_string("/etc/group")?))?;
    let line = format!(
        "echo \"$HOME $USER $LOGNAME $SHELL $(id -u) $(id -g) $(id -G)\" > {0}.new; mv {0}.new {0}",
        recorded.display()
    );
    let tables =
        format!("\n[[check]]\nname = \"script\"\nuser = \"nobody\"\nscript = [\"/bin/sh\", \"-c\", {line:?}]\n");
    let mount = format!("mount --bind {} /etc/group && exec \"$@\"", group.display());
    let wrapper = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let router = VirtualRouter::lan(200).with("track", "[\"script\"]");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &wrapper, &tables)?;
    agent.wait_for_state("lan", "active")?;
    let nobody = User::from_name("nobody")?.context("no user nobody")?;
    let (home, shell, gid) = (nobody.dir.display(), nobody.shell.display(), nobody.gid);
    let expected = format!("{home} nobody nobody {shell} {} {gid} {gid} 4711\n", nobody.uid);
    let recorded = fs::read_to_string(&recorded)?;
    ensure!(recorded == expected, "{recorded:?} instead of {expected:?}");
    Ok(())
}

#[test]
fn a_check_that_counts_as_failed_at_first_is_a_fault_until_it_has_succeeded() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let flag = directory.path().join("flag");
    let line = format!("while ! [ -e {} ]; do sleep 0.05; done", flag.display());
    let check = format!("name = \"script\"\ntimeout = \"60s\"\nscript = [\"/bin/sh\", \"-c\", {line:?}]");
    let router = VirtualRouter::lan(200).with("track", "[\"script\"]");
    let mut agent = start(&lab.routers[0], router, &[check], "init_fail = true\nrise = 2")?;
    agent.wait_for_state("lan", "fault")?;
    ensure!(agent.virtual_router("lan")?["reason"] == "check_failed");
    fs::write(&flag, "")?;
    agent.wait_for_state("lan", "active")?;
    // The outcome is inherited.
    agent.reload()?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.transitions("lan", "fault") <= 1, "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn a_reload_does_not_write_the_initial_value_of_a_file_again() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let (file, link) = (directory.path().join("number"), directory.path().join("link"));
    symlink(directory.path().join("target"), &link)?;
    let keys = "initial_value = 7\noverwrite = true";
    let checks =
        [format!("name = \"file\"\nfile = {file:?}\n{keys}"), format!("name = \"link\"\nfile = {link:?}\n{keys}")];
    let track = "[{ check = \"file\", weight = 1 }, { check = \"link\", weight = 1 }]";
    let mut agent = start(&lab.routers[0], VirtualRouter::lan(200).with("track", track), &checks, "")?;
    let wait_for = |agent: &Xvrrp, priority: u8| {
        eventually(&format!("the priority is {priority}"), PATIENCE, || {
            let router = agent.virtual_router("lan")?;
            ensure!(router["priority"] == priority, "{router}");
            Ok(())
        })
    };
    wait_for(&agent, 207)?;
    agent.daemon.wait_for_line(&["ERROR", "cannot write the initial value", "it is a link"], PATIENCE)?;
    ensure!(fs::read_to_string(&file)? == "7\n");
    fs::write(&file, "9\n")?;
    wait_for(&agent, 209)?;
    agent.reload()?;
    eventually("the new agent has looked at the file", PATIENCE, || {
        let status = agent.status()?;
        ensure!(status["checks"][0]["value"] == 9 && status["virtual_routers"][0]["priority"] == 209, "{status}");
        Ok(())
    })?;
    ensure!(fs::read_to_string(&file)? == "9\n");
    Ok(())
}

#[test]
fn a_ping_of_several_addresses_succeeds_if_one_answers() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.client.ip("addr add 192.0.2.101/24 dev eth0")?;
    let check = "name = \"ping\"\nping = [\"192.0.2.100\", \"192.0.2.101\", \"192.0.2.102\"]\ntimeout = \"1s\"";
    let router = VirtualRouter::lan(200).with("track", "[\"ping\"]");
    let mut agent = start(&lab.routers[0], router, &[check.to_owned()], "weight = -5")?;
    agent.wait_for_state("lan", "active")?;
    let wait_for = |state: &str, priority: u8| {
        eventually(&format!("the check is {state}"), PATIENCE, || {
            let status = agent.status()?;
            let (check, router) = (&status["checks"][0], &status["virtual_routers"][0]);
            ensure!(check["state"] == state && router["priority"] == priority, "{status}");
            Ok(())
        })
    };
    wait_for("up", 200)?;
    lab.client.ip("addr del 192.0.2.101/24 dev eth0")?;
    pause(Duration::from_secs(2))?;
    wait_for("up", 200)?;
    lab.client.ip("addr del 192.0.2.100/24 dev eth0")?;
    wait_for("down", 195)?;
    let failure = agent.status()?["checks"][0]["failure"].as_str().unwrap_or_default().to_owned();
    ensure!(["192.0.2.100", "192.0.2.101", "192.0.2.102"].iter().all(|one| failure.contains(one)), "{failure}");
    lab.client.ip("addr add 192.0.2.101/24 dev eth0")?;
    wait_for("up", 200)
}

/// Names and weights of three checks that both daemons have. Each check is of the file of that name on its own host.
const WEIGHTS: [(&str, i16); 3] = [("minus", -20), ("plus", 20), ("must", 0)];

fn keepalived_config(priority: u8, files: &Path) -> Result<String> {
    let mut text = "global_defs {\n  vrrp_version 3\n  script_user root\n}\n".to_owned();
    for (name, weight) in WEIGHTS {
        let file = files.join(name);
        let file = file.display();
        writeln!(
            text,
            "vrrp_script {name} {{\n  script \"/usr/bin/test -e {file}\"\n  interval 1\n  weight {weight}\n}}"
        )?;
    }
    writeln!(
        text,
        "vrrp_instance lab {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 51\n  priority {priority}\n  \
         advert_int 0.1\n  track_script {{\n    minus\n    plus\n    must\n  }}\n  virtual_ipaddress {{\n    \
         192.0.2.1/24\n  }}\n}}"
    )?;
    Ok(text)
}

fn xvrrp(namespace: &Namespace, priority: u8, files: &Path) -> Result<Xvrrp> {
    let check = |(name, weight): &(&str, i16)| format!("{}\nweight = {weight}", exists(name, &files.join(name)));
    let checks: Vec<String> = WEIGHTS.iter().map(check).collect();
    let router = VirtualRouter::lan(priority).with("track", "[\"minus\", \"plus\", \"must\"]");
    start(namespace, router, &checks, "")
}

/// Fails unless keepalived and xvrrp with these priorities have the expected states after each change of their files.
fn check_same_weights(theirs: u8, ours: u8) -> Result<()> {
    let lab = Lab::new(2)?;
    let (their_files, our_files) = (directory()?, directory()?);
    let (t, o) = (their_files.path(), our_files.path());
    for files in [t, o] {
        fs::write(files.join("minus"), "")?;
        fs::write(files.join("must"), "")?;
    }
    let mut keepalived = Keepalived::start_with(&lab.routers[0], &keepalived_config(theirs, t)?)?;
    let mut agent = xvrrp(&lab.routers[1], ours, o)?;
    let mut wait_for = |(their_state, our_state): (&str, &str)| -> Result<()> {
        agent.wait_for_state("lan", our_state)?;
        keepalived.wait_for_state(their_state)
    };
    let (better, worse) = if theirs > ours { (t, o) } else { (o, t) };
    let active =
        |is_better: bool| if is_better == (theirs > ours) { ("MASTER", "backup") } else { ("BACKUP", "active") };
    // Each comment has the priorities of the better and of the worse one. 110 and 100:
    wait_for(active(true))?;
    // 90 and 100
    fs::remove_file(better.join("minus"))?;
    wait_for(active(false))?;
    // 90 and 80
    fs::remove_file(worse.join("minus"))?;
    wait_for(active(true))?;
    // 90 and 100
    fs::write(worse.join("plus"), "")?;
    wait_for(active(false))?;
    // 110 and 100
    fs::write(better.join("plus"), "")?;
    wait_for(active(true))?;
    fs::remove_file(better.join("must"))?;
    wait_for(if theirs > ours { ("FAULT", "active") } else { ("MASTER", "fault") })
}

#[test]
fn a_router_that_waits_for_its_first_check_is_in_its_state_since_the_agent_was_started() -> Result<()> {
    let lab = Lab::new(1)?;
    let router = VirtualRouter::lan(200).with("track", "[\"slow\"]");
    let check = "name = \"slow\"\nscript = [\"/bin/sleep\", \"100\"]\ntimeout = \"30s\"".to_owned();
    let started = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let agent = start(&lab.routers[0], router, &[check], "")?;
    eventually("the router waits for its check", PATIENCE, || {
        let router = agent.virtual_router("lan")?;
        ensure!(router["state"] == "init" && router["reason"] == "checks_pending", "{router}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let since = router["since"].as_f64().context("since")?;
        ensure!((started - 0.1..=now + 0.1).contains(&since), "started at {started}, now {now}: {router}");
        ensure!(router["in_state_ms"].as_f64().context("in_state_ms")? < (now - started + 0.1) * 1_000.0, "{router}");
        Ok(())
    })
}

// parity 4, 6, 51, 52, 54, 74, 82
#[test]
fn a_better_keepalived_with_the_same_weights_takes_the_same_roles() -> Result<()> {
    check_same_weights(110, 100)
}

#[test]
fn a_worse_keepalived_with_the_same_weights_takes_the_same_roles() -> Result<()> {
    check_same_weights(100, 110)
}
