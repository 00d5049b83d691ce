//! Check scripts and notify programs: how they are found and run, and that keepalived with the original of an imported
//! configuration calls the same programs with the same arguments.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use tempfile::TempDir;
use xvrrp_common::units::{Interval, Priority};
use xvrrp_common::wire::vrrp::AdvertFrame;
use xvrrp_lab::traffic::flood::Flood;
use xvrrp_lab::traffic::frames;
use xvrrp_lab::{
    Daemon, INTERFACE, Keepalived, Lab, Namespace, PATIENCE, VirtualRouter, Xvrrp, agent_binary, eventually,
    wait_until_is,
};

/// A directory in which every user may look for programs.
pub fn directory() -> Result<TempDir> {
    let directory = TempDir::with_prefix("xvrrp-lab-scripts-")?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// A `[[check]]` with this script.
fn check(name: &str, script: &str) -> String {
    format!("\n[[check]]\nname = {name:?}\ninterval = \"100ms\"\ntimeout = \"10s\"\nscript = {script}\n")
}

/// Waits until the only check is in this state, and returns its status.
fn wait_for_check(agent: &Xvrrp, state: &str) -> Result<serde_json::Value> {
    eventually(&format!("the check is {state}"), PATIENCE, || {
        let status = agent.status()?;
        let check = &status["checks"][0];
        ensure!(check["state"] == state, "{status}");
        Ok(check.clone())
    })
}

// parity 73
#[test]
fn a_script_is_looked_up_in_path_and_the_status_shows_where_it_was_found() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let flag = directory.path().join("flag");
    let script = xvrrp_lab::script(directory.path(), "check-service", "exec test -e \"$1\"")?;
    let path = format!("PATH={}:{}", directory.path().display(), std::env::var("PATH")?);
    let router = VirtualRouter::lan(200).with("track", "[{ check = \"service\", weight = 5 }]");
    let tables = check("service", &format!("[\"check-service\", {flag:?}]"));
    let agent = Xvrrp::start_by(&lab.routers[0], &[router], &["env", &path], &tables)?;
    let down = wait_for_check(&agent, "down")?;
    ensure!(down["target"] == format!("{} {}", script.display(), flag.display()), "{down}");
    fs::write(&flag, "")?;
    wait_for_check(&agent, "up").map(drop)
}

#[test]
fn a_script_that_is_a_string_is_run_by_the_shell() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let flag = directory.path().join("maintenance");
    let router = VirtualRouter::lan(200).with("track", "[{ check = \"maintenance\", weight = 5 }]");
    let script = format!("[ -e {} ] && exit 1 || exit 0", flag.display());
    let agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], &check("maintenance", &format!("{script:?}")))?;
    let up = wait_for_check(&agent, "up")?;
    ensure!(up["target"] == script, "{up}");
    fs::write(&flag, "")?;
    let down = wait_for_check(&agent, "down")?;
    ensure!(down["failure"] == "exit status: 1", "{down}");
    Ok(())
}

/// A directory with a program `record` that adds its arguments, each in angle brackets, to the file `calls`.
struct Recorder(TempDir);

impl Recorder {
    fn new() -> Result<Self> {
        let directory = directory()?;
        let line = "line=\nfor word; do line=\"$line <$word>\"; done\necho \"${line# }\"";
        xvrrp_lab::script(directory.path(), "record", &format!("{line} >> {}/calls", directory.path().display()))?;
        Ok(Self(directory))
    }

    /// Puts the path of the program in the place of RECORD.
    fn fill_in(&self, original: &str) -> String {
        original.replace("RECORD", &self.path("record").to_string_lossy())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The calls so far, without their order: keepalived does not wait for a program before it runs the next.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let mut calls: Vec<String> = calls.lines().map(str::to_owned).collect();
        calls.sort_unstable();
        calls
    }

    fn wait_for(&self, expected: &[String]) -> Result<()> {
        eventually("the programs have been called", PATIENCE, || {
            let calls = self.calls();
            ensure!(calls == expected, "{calls:#?} instead of {expected:#?}");
            Ok(())
        })
    }
}

#[test]
fn a_program_of_one_state_gets_its_own_arguments_and_that_of_every_state_also_keepaliveds() -> Result<()> {
    let lab = Lab::new(1)?;
    let recorder = Recorder::new()?;
    let record = recorder.path("record");
    let router = VirtualRouter::lan(200)
        .with("notify_backup", &format!("[{record:?}, \"backup\", \"a b\"]"))
        .with("notify_active", &format!("\"{} shell; exit 0\"", record.display()))
        .with("notify", &format!("\"{} every\"", record.display()));
    let mut agent = Xvrrp::start(&lab.routers[0], &[router])?;
    agent.wait_for_state("lan", "active")?;
    let expected = [
        "<backup> <a b>",
        "<every> <INSTANCE> <lan> <BACKUP> <200>",
        "<every> <INSTANCE> <lan> <MASTER> <200>",
        "<shell>",
    ];
    recorder.wait_for(&expected.map(str::to_owned))
}

#[test]
fn a_notify_program_with_a_user_has_that_users_home_and_groups() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
    let [own, of_all, group] = ["own", "of_all", "group"].map(|name| directory.path().join(name));
    // In the agent's mount namespace, the user `nobody` belongs to another group.
    fs::write(&group, format!("{}xvrrp-lab:x:4711:nobody\n", fs::read_to_string("/etc/group")?))?;
    let line = |file: &Path| {
        format!("echo \"$HOME $USER $(id -un) $(id -gn) $(id -G)\" > {0}.new; mv {0}.new {0}", file.display())
    };
    let mount = format!("mount --bind {} /etc/group && exec \"$@\"", group.display());
    let wrapper = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let router = VirtualRouter::lan(200)
        .with("notify_active", &format!("{{ run = {:?}, user = \"nobody:daemon\" }}", line(&own)))
        .with("notify_backup", &format!("{:?}", line(&of_all)));
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &wrapper, "script_user = \"nobody\"\n")?;
    agent.wait_for_state("lan", "active")?;
    let nobody = User::from_name("nobody")?.context("no user nobody")?;
    let daemon = Group::from_name("daemon")?.context("no group daemon")?;
    let primary = Group::from_gid(nobody.gid)?.context("no primary group")?;
    let home = nobody.dir.display();
    for (file, gid, group) in [(&own, daemon.gid, "daemon"), (&of_all, nobody.gid, &primary.name)] {
        let expected = format!("{home} nobody nobody {group} {gid} 4711\n");
        wait_until_is("the program has run", &expected, || Ok(fs::read_to_string(file).unwrap_or_default()))?;
    }
    Ok(())
}

// parity 22
#[test]
fn with_script_security_a_program_that_another_user_could_replace_is_refused_with_the_part_of_its_path() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let [below, linked, file] = ["below", "linked", "xvrrp.toml"].map(|name| directory.path().join(name));
    fs::create_dir(&below)?;
    let script = xvrrp_lab::script(&below, "script", "exit 0")?;
    symlink("below/script", &linked)?;
    let run = |command: &str, agent: &str| -> Result<Output> {
        let router = VirtualRouter::lan(200).with("notify", &format!("[{linked:?}]"));
        fs::write(&file, format!("[agent]\ncontrol = {:?}\n{agent}\n{router}", directory.path().join("socket")))?;
        let mut program = lab.routers[0].command(agent_binary()?)?;
        let configuration = if command == "run" { vec!["run", "--config"] } else { vec![command] };
        Ok(program.args(configuration).arg(&file).output()?)
    };
    let complaint = |why: &str| {
        format!(
            "{}:9: virtual_router \"lan\": notify: script_security forbids running \"{}\" as root: {why}; make root the \
             only one who can change it, or run the program as another user\n",
            file.display(),
            linked.display()
        )
    };
    let nobody = User::from_name("nobody")?.context("no user nobody")?;
    for (part, weaken, why) in [
        (&below, "chown", "belongs to nobody"),
        (&script, "chown", "belongs to nobody"),
        (&below, "chmod", "can be changed by every user"),
    ] {
        let accepted = run("check", "script_security = true")?;
        ensure!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
        match weaken {
            "chown" => chown(part, Some(nobody.uid.as_raw()), None)?,
            _ => fs::set_permissions(part, Permissions::from_mode(0o777))?,
        }
        for command in ["check", "run"] {
            let refused = run(command, "script_security = true")?;
            let (told, expected) =
                (String::from_utf8(refused.stderr)?, complaint(&format!("{} {why}", part.display())));
            ensure!(told == expected && refused.status.code() == Some(2), "{told} instead of {expected}");
        }
        // It runs as a user that is not root, or without script security.
        for harmless in ["script_security = true\nscript_user = \"nobody\"", "script_security = false"] {
            let accepted = run("check", harmless)?;
            ensure!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
        }
        chown(part, Some(0), None)?;
        fs::set_permissions(part, Permissions::from_mode(0o755))?;
    }
    // The script belongs to another user, and root's shell runs it.
    chown(&script, Some(nobody.uid.as_raw()), None)?;
    let router = VirtualRouter::lan(200).with("notify", &format!("[\"/bin/sh\", {linked:?}]"));
    let keys = "script_security = true";
    fs::write(&file, format!("[agent]\ncontrol = {:?}\n{keys}\n{router}", directory.path().join("socket")))?;
    let refused = lab.routers[0].command(agent_binary()?)?.arg("check").arg(&file).output()?;
    let (told, expected) =
        (String::from_utf8(refused.stderr)?, complaint(&format!("{} belongs to nobody", script.display())));
    ensure!(told == expected && refused.status.code() == Some(2), "{told} instead of {expected}");
    Ok(())
}

/// keepalived with an original, or an agent with what `xvrrp import` makes of it.
pub enum Router {
    Keepalived(Keepalived),
    Xvrrp(Daemon),
}

impl Router {
    pub fn start(imported: bool, namespace: &Namespace, original: &str, directory: &Path) -> Result<Self> {
        if !imported {
            return Ok(Self::Keepalived(Keepalived::start_with(namespace, original)?));
        }
        let toml = import(original, directory)?;
        let mut command = namespace.command(agent_binary()?)?;
        Ok(Self::Xvrrp(Daemon::start("xvrrp", command.args(["run", "--config"]).arg(&toml), directory)?))
    }

    fn reload(&self, original: &str, directory: &Path) -> Result<()> {
        match self {
            Self::Keepalived(keepalived) => keepalived.reload(original),
            Self::Xvrrp(_) => {
                import(original, directory)?;
                let mut reload = Command::new(agent_binary()?);
                xvrrp_lab::run(reload.args(["reload", "--control"]).arg(directory.join("xvrrp.sock"))).map(drop)
            }
        }
    }

    pub fn stop(&mut self) -> Result<()> {
        match self {
            Self::Keepalived(keepalived) => keepalived.stop(),
            Self::Xvrrp(agent) => agent.stop(Signal::SIGTERM, PATIENCE).map(drop),
        }
    }
}

/// Imports an original, and returns the path of the result.
fn import(original: &str, directory: &Path) -> Result<PathBuf> {
    let [conf, toml] = ["keepalived.conf", "xvrrp.toml"].map(|name| directory.join(name));
    fs::write(&conf, original)?;
    let import = Command::new(agent_binary()?).arg("import").arg(&conf).output()?;
    ensure!(import.status.code() == Some(0), "{}", String::from_utf8_lossy(&import.stderr));
    let result = String::from_utf8(import.stdout)?;
    // The hosts of the lab share a file system, so each needs a control socket of its own.
    let control = format!("control = {:?}\n", directory.join("xvrrp.sock"));
    let result = match result.split_once("[agent]") {
        Some((before, after)) => {
            let (comment, after) = after.split_once('\n').context("an empty [agent]")?;
            format!("{before}[agent]{comment}\n{control}{after}")
        }
        None => format!("[agent]\n{control}\n{result}"),
    };
    fs::write(&toml, result)?;
    Ok(toml)
}

/// Waits until the address is on the router's interface, or is not.
fn wait_until_it_serves(lab: &Lab, address: &str, serves: bool) -> Result<()> {
    eventually(&format!("{address} is served: {serves}"), PATIENCE, || {
        let shown = lab.routers[0].ip(&format!("-4 -o address show dev {INTERFACE}"))?;
        ensure!(shown.contains(&format!(" {address}/")) == serves, "{shown}");
        Ok(())
    })
}

/// A router alone in its lab, with the calls of its programs.
struct Observed {
    lab: Lab,
    recorder: Recorder,
    router: Router,
}

impl Observed {
    /// Starts keepalived, or an agent with what is imported. In `original`, RECORD stands for the program that records
    /// its arguments.
    fn start(imported: bool, original: &str, routers: usize) -> Result<Self> {
        let lab = Lab::new(routers)?;
        let recorder = Recorder::new()?;
        let original = recorder.fill_in(original);
        let router = Router::start(imported, &lab.routers[0], &original, recorder.0.path())?;
        wait_until_it_serves(&lab, "192.0.2.1", true)?;
        Ok(Self { lab, recorder, router })
    }

    /// Waits until there are this many calls, and returns them.
    fn calls(&self, count: usize) -> Result<Vec<String>> {
        eventually(&format!("there are {count} calls"), PATIENCE, || {
            let calls = self.recorder.calls();
            ensure!(calls.len() == count, "{calls:#?}");
            Ok(calls)
        })
    }
}

/// Fails unless keepalived and xvrrp have the same result.
pub fn compare<T: PartialEq + std::fmt::Debug>(observe: impl Fn(bool) -> Result<T>) -> Result<()> {
    let theirs = observe(false).context("keepalived")?;
    let ours = observe(true).context("xvrrp")?;
    ensure!(theirs == ours, "keepalived: {theirs:#?}\nxvrrp: {ours:#?}");
    Ok(())
}

// parity 21, 56, 69
#[test]
fn keepalived_calls_the_programs_of_the_original_with_the_same_arguments() -> Result<()> {
    let original = "
global_defs {
    vrrp_version 3
    script_user root
    enable_script_security
}
vrrp_instance lan {
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority 200
    advert_int 0.1
    virtual_ipaddress {
        192.0.2.1/24
    }
    notify_master \"RECORD master 'a b' \\\"c d\\\"\"
    notify_backup \"RECORD backup x\\\\\\\\x20y\"
    notify_fault RECORD root root
    notify_stop \"RECORD stop ' '\"
    notify \"RECORD every\"
}
";
    compare(|imported| {
        let mut observed = Observed::start(imported, original, 1)?;
        observed.lab.pull(0)?;
        wait_until_it_serves(&observed.lab, "192.0.2.1", false)?;
        observed.lab.plug(0)?;
        wait_until_it_serves(&observed.lab, "192.0.2.1", true)?;
        observed.router.stop()?;
        // BACKUP, MASTER, FAULT, BACKUP, MASTER and STOP, each with two programs.
        observed.calls(12)
    })
}

/// Returns an instance of keepalived with these lines.
pub fn instance(name: &str, vrid: u8, address: &str, lines: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {vrid}\n  priority 200\n  \
         advert_int 0.1\n  virtual_ipaddress {{\n    {address}/24\n  }}\n{lines}\n}}\n"
    )
}

pub const GLOBAL: &str = "global_defs {\n  vrrp_version 3\n  script_user root\n  enable_script_security\n}\n";

// parity 57
#[test]
fn a_virtual_router_that_a_reload_removes_is_notified_of_that_as_by_keepalived() -> Result<()> {
    let kept = GLOBAL.to_owned() + &instance("lan", 51, "192.0.2.1", "");
    let notify = "  notify_fault \"RECORD fault\"\n  notify \"RECORD every\"";
    let as_fault = instance("second", 52, "192.0.2.50", notify);
    let with_program = instance("third", 53, "192.0.2.60", &format!("{notify}\n  notify_deleted \"RECORD deleted\""));
    let without = instance("fourth", 54, "192.0.2.70", &format!("{notify}\n  notify_deleted"));
    let original = format!("{kept}{as_fault}{with_program}{without}");
    let removed = ["192.0.2.50", "192.0.2.60", "192.0.2.70"];
    compare(|imported| {
        let observed = Observed::start(imported, &original, 1)?;
        removed.iter().try_for_each(|address| wait_until_it_serves(&observed.lab, address, true))?;
        // BACKUP and MASTER of each of them.
        observed.calls(6)?;
        observed.router.reload(&observed.recorder.fill_in(&kept), observed.recorder.0.path())?;
        removed.iter().try_for_each(|address| wait_until_it_serves(&observed.lab, address, false))?;
        wait_until_it_serves(&observed.lab, "192.0.2.1", true)?;
        // One has a program for the removal.
        observed.calls(10)
    })
}

// parity 58
#[test]
fn an_active_router_that_hears_a_lower_priority_runs_a_program_as_keepalived_does() -> Result<()> {
    let lines = "  notify_master_rx_lower_pri \"RECORD lower 'a b'\"\n  notify \"RECORD every\"";
    let original = GLOBAL.to_owned() + &instance("lan", 51, "192.0.2.1", lines);
    let lower = AdvertFrame {
        source: [192, 0, 2, 3],
        priority: Priority::new(100),
        interval: Interval::from_millis(100),
        ..frames::advert()
    };
    let flood = Flood::of([frames::emit(&lower)]).at(100);
    compare(|imported| {
        let observed = Observed::start(imported, &original, 2)?;
        flood.send(&observed.lab.routers[1], INTERFACE, Duration::from_millis(2_500))?;
        let calls = eventually("the program has run", PATIENCE, || {
            let calls = observed.recorder.calls();
            // keepalived runs it for each advert.
            let different: BTreeSet<String> = calls.iter().cloned().collect();
            ensure!(different.len() == 3, "{different:#?}");
            Ok((different, calls.len()))
        })?;
        let (different, count) = calls;
        // BACKUP and MASTER, and at most one run a second.
        ensure!(!imported || count <= 6, "{count} calls");
        wait_until_it_serves(&observed.lab, "192.0.2.1", true)?;
        Ok(different)
    })
}
