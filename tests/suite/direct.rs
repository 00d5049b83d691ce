//! `xvrrp run`, `check` and `reload` take keepalived's files as they are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use xvrrp_lab::{
    Daemon, Keepalived, Lab, Namespace, PATIENCE, VIP, agent_binary, eventually, host_state, run, wait_for_host_state,
};

/// An agent that runs a keepalived.conf, with which a file is included.
struct Direct {
    daemon: Daemon,
    files: TempDir,
}

/// Returns an instance for the lab's address. `more` are more lines of it.
fn instance(priority: u8, more: &str) -> String {
    format!(
        "vrrp_instance lan {{\n interface eth0\n version 3\n virtual_router_id 51\n priority {priority}\n advert_int \
         0.1\n virtual_ipaddress {{\n  {VIP}/24\n }}\n {more}\n}}\n"
    )
}

impl Direct {
    /// Starts an agent with a keepalived.conf that includes this text. It has no extension, so that only its content
    /// says what it is.
    fn start(namespace: &Namespace, included: &str) -> Result<Self> {
        Self::start_by(namespace, &[], included)
    }

    /// Starts it with these words before its command.
    fn start_by(namespace: &Namespace, wrapper: &[&str], included: &str) -> Result<Self> {
        let files = TempDir::with_prefix("xvrrp-lab-direct-")?;
        let path = |name: &str| files.path().join(name);
        fs::write(path("lan"), included)?;
        fs::write(path("main"), format!("include {}\n", path("lan").display()))?;
        let agent = agent_binary()?;
        let mut command = match wrapper {
            [] => namespace.command(&agent)?,
            [program, arguments @ ..] => {
                let mut command = namespace.command(program)?;
                command.args(arguments).arg(&agent);
                command
            }
        };
        command.args(["run", "--node", "alpha", "--config"]).arg(path("main")).arg("--control").arg(path("sock"));
        let daemon = Daemon::start("xvrrp", &mut command, files.path())?;
        Ok(Self { daemon, files })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn status(&self) -> Result<Value> {
        let mut command = Command::new(agent_binary()?);
        Ok(serde_json::from_str(&run(command.args(["status", "--json", "--control"]).arg(self.path("sock")))?)?)
    }

    /// Waits until the first virtual router has these values in the status.
    fn wait_for(&mut self, expected: &[(&str, Value)]) -> Result<()> {
        eventually(&format!("the status has {expected:?}"), PATIENCE, || {
            self.daemon.check_alive()?;
            let status = self.status()?;
            let router = &status["virtual_routers"][0];
            ensure!(expected.iter().all(|(key, value)| router[key] == *value), "{router}");
            Ok(())
        })
    }

    fn reload(&self) -> Result<Output> {
        Ok(Command::new(agent_binary()?).args(["reload", "--control"]).arg(self.path("sock")).output()?)
    }
}

#[test]
fn an_agent_with_a_keepalived_conf_fails_over_and_back_beside_keepalived() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut theirs = Keepalived::start_with(&lab.routers[1], &instance(100, ""))?;
    theirs.wait_for_state("MASTER")?;
    let mut ours = Direct::start(&lab.routers[0], &instance(200, ""))?;
    ours.wait_for(&[("state", "active".into()), ("priority", 200.into())])?;
    theirs.wait_for_state("BACKUP")?;
    lab.pull(0)?;
    theirs.wait_for_state("MASTER")?;
    lab.plug(0)?;
    ours.wait_for(&[("state", "active".into())])?;
    theirs.wait_for_state("BACKUP")?;
    ours.daemon.stop(Signal::SIGTERM, PATIENCE)?;
    theirs.wait_for_state("MASTER")?;
    theirs.ensure_understood()
}

#[test]
fn a_reload_reads_the_included_files_again_and_is_no_failover() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Direct::start(&lab.routers[0], &instance(200, ""))?;
    agent.wait_for(&[("state", "active".into())])?;
    fs::write(agent.path("lan"), instance(150, "track_bfd {\n  fast\n }"))?;
    let output = agent.reload()?;
    ensure!(output.status.success(), "{output:?}");
    agent.wait_for(&[("state", "active".into()), ("priority", 150.into()), ("reason", "resumed".into())])?;
    let warning = format!("WARN {}:10: left out: track_bfd: ", agent.path("lan").display());
    agent.daemon.wait_for_line(&[&warning], PATIENCE)?;
    // SIGHUP does the same.
    fs::write(agent.path("lan"), instance(140, ""))?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent.daemon.pid().try_into()?), Signal::SIGHUP)?;
    agent.wait_for(&[("state", "active".into()), ("priority", 140.into())])?;
    // A change of the interfaces keeps what runs, whatever is in the files by then.
    fs::write(agent.path("lan"), "vrrp_instance lan {\n")?;
    let before = agent.status()?["started"].clone();
    lab.routers[0].ip("address add 192.0.2.77/24 dev eth0")?;
    lab.routers[0].ip("address del 192.0.2.2/24 dev eth0")?;
    eventually("the agent has restarted", PATIENCE, || {
        ensure!(agent.status()?["started"] != before, "it has not");
        Ok(())
    })?;
    agent.wait_for(&[("priority", 140.into())])
}

// parity 7
#[test]
fn the_network_namespace_of_a_keepalived_conf_is_entered_also_after_a_reload() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let outside = format!("--net=/proc/{}/ns/net", std::process::id());
    let file = |priority| format!("net_namespace {}\n{}", host.name(), instance(priority, ""));
    let mut agent = Direct::start_by(host, &["nsenter", &outside], &file(200))?;
    agent.wait_for(&[("state", "active".into())])?;
    ensure!(host.ip("-4 -o address show dev eth0")?.contains(&VIP.to_string()), "the address is somewhere else");
    fs::write(agent.path("lan"), file(150))?;
    let output = agent.reload()?;
    ensure!(output.status.success(), "{output:?}");
    agent.wait_for(&[("state", "active".into()), ("priority", 150.into()), ("reason", "resumed".into())])
}

#[test]
fn a_reload_of_a_wrong_file_is_refused_with_its_line_and_changes_nothing() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Direct::start(&lab.routers[0], &instance(200, ""))?;
    agent.wait_for(&[("state", "active".into())])?;
    let before = agent.status()?["started"].clone();
    let lan = agent.path("lan").display().to_string();
    for (included, message) in [
        (format!("\nincludem {lan}.none\n"), format!("{lan}:2: include: there is no file ")),
        (
            "vrrp_instance lan {\n interface eth0\n virtual_router_id 999\n}\n".to_owned(),
            format!("{lan}:1: left out: vrrp_instance: "),
        ),
        (instance(150, "notify_master /none/none"), format!("{lan}:10: vrrp_instance \"lan\": notify_master: ")),
        (instance(150, "").replace("eth0", "lo"), format!("{lan}:2: vrrp_instance \"lan\": interface: ")),
    ] {
        fs::write(&lan, &included)?;
        let output = agent.reload()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && complaint.contains(&message), "{included}: {complaint}");
        ensure!(complaint.matches(&lan).count() <= 2, "one line for one cause: {complaint}");
        ensure!(agent.status()?["started"] == before && agent.status()?["virtual_routers"][0]["priority"] == 200);
    }
    Ok(())
}

#[test]
fn the_exit_status_of_check_says_whether_something_is_left_out() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = TempDir::with_prefix("xvrrp-lab-direct-")?;
    let file = directory.path().join("keepalived.conf");
    let shown = file.display().to_string();
    for (original, status, words) in [
        (instance(200, ""), 0, vec!["configuration is valid: 1 virtual router; nothing is left out".to_owned()]),
        (instance(255, ""), 0, vec![format!("{shown}:5: changed: priority: becomes 254: "), "1 changed".to_owned()]),
        (
            instance(200, "").replace("eth0", "eth9"),
            0,
            vec![format!("warning: {shown}:2: vrrp_instance \"lan\": interface: there is no interface \"eth9\" yet; ")],
        ),
        (
            instance(200, "track_bfd {\n  fast\n }"),
            3,
            vec![format!("warning: {shown}:10: left out: track_bfd: "), "something is left out: 1 left".to_owned()],
        ),
        (instance(200, "").replace("eth0", "lo"), 2, vec![format!("{shown}:2: vrrp_instance \"lan\": interface: ")]),
        ("vrrp_instance lan {\n}\n".to_owned(), 2, vec![format!("{shown}: has no virtual router that xvrrp can run")]),
        ("options {\n}\n".to_owned(), 2, vec![format!("{shown}:1: \"options\" begins no line of xvrrp, keepalived")]),
    ] {
        fs::write(&file, &original)?;
        let output = lab.routers[0].command(agent_binary()?)?.arg("check").arg(&file).output()?;
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).context("UTF-8")?;
        ensure!(output.status.code() == Some(status), "{original}: {:?}: {printed}", output.status);
        for word in words {
            ensure!(printed.contains(&word), "{word} is not in {printed}");
        }
    }
    Ok(())
}

#[test]
fn cleanup_takes_the_options_with_which_run_has_had_the_file() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let mut agent = Direct::start(host, &instance(200, ""))?;
    agent.wait_for(&[("state", "active".into())])?;
    agent.daemon.stop(Signal::SIGKILL, PATIENCE)?;
    let mut command = host.command(agent_binary()?)?;
    command.args(["cleanup", "--node", "alpha", "--config"]).arg(agent.path("main"));
    let removed = run(command.arg("--control").arg(agent.path("sock")))?;
    let socket = format!("control socket {}", agent.path("sock").display());
    for what in ["address 192.0.2.1/24 on eth0", "programs and maps", &socket] {
        ensure!(removed.contains(what), "{what} is not in:\n{removed}");
    }
    wait_for_host_state(host, &before)
}

// parity 61
#[test]
fn what_a_host_cannot_run_is_disabled_as_in_keepalived_and_the_rest_runs() -> Result<()> {
    let tracked = "track_script {\n  absent\n  strange\n  weak\n }\n notify_master /nonexistent/notify\n notify_stop \
                   /bin/true nosuchuser\n";
    let script = |name: &str, lines: &str| format!("vrrp_script {name} {{\n interval 1\n {lines}\n}}\n");
    let files = TempDir::with_prefix("xvrrp-lab-weak-")?;
    let weak = files.path().join("weak");
    fs::write(&weak, "#!/bin/sh\nexit 1\n")?;
    fs::set_permissions(&weak, Permissions::from_mode(0o777))?;
    let text = format!(
        "global_defs {{\n enable_script_security\n script_user root\n}}\n{}{}{}{}",
        script("absent", "script /nonexistent/check"),
        script("strange", "script /bin/false\n user nosuchuser"),
        script("weak", &format!("script {}", weak.display())),
        instance(200, tracked)
    );
    let lab = Lab::new(2)?;
    let mut theirs = Keepalived::start_with(&lab.routers[1], &text.replace("priority 200", "priority 250"))?;
    theirs.wait_for_state("MASTER")?;
    theirs.stop()?;
    let mut ours = Direct::start(&lab.routers[0], &text)?;
    ours.wait_for(&[("state", "active".into())])?;
    ensure!(ours.status()?["checks"].as_array().is_some_and(Vec::is_empty), "{}", ours.status()?);
    let check = || -> Result<(Option<i32>, String)> {
        let mut command = lab.routers[0].command(agent_binary()?)?;
        let output = command.arg("check").arg(ours.path("main")).output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let (status, messages) = check()?;
    let lan = ours.path("lan");
    let place = |line: usize| format!("{}:{line}: disabled: ", lan.display());
    for (line, words) in [
        (7, "\"/nonexistent/check\" is not a program".to_owned()),
        (11, "this host has no user \"nosuchuser\"".to_owned()),
        (16, format!("{} can be changed", weak.display())),
    ] {
        let told = messages.lines().any(|it| it.starts_with(&place(line)) && it.contains(&words));
        ensure!(told, "line {line}, {words:?}: {messages}");
    }
    ensure!(status == Some(0) && messages.matches(": disabled: ").count() == 5, "{status:?}: {messages}");
    // A change of the interfaces restarts the agent in the same process, which asks the host nothing.
    let before = ours.status()?["started"].clone();
    lab.routers[0].ip("address add 198.51.100.77/24 dev eth0")?;
    lab.routers[0].ip("address del 192.0.2.2/24 dev eth0")?;
    eventually("the agent has restarted", PATIENCE, || {
        ensure!(ours.status()?["started"] != before, "it has not");
        Ok(())
    })?;
    ensure!(ours.status()?["checks"].as_array().is_some_and(Vec::is_empty), "{}", ours.status()?);
    ours.wait_for(&[("state", "active".into())])
}
