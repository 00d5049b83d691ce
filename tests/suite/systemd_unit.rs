//! The systemd unit is well-formed, the agent works with the capabilities that the unit grants, and so do the programs
//! that it runs.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Group, User};
use xvrrp_lab::{Lab, VirtualRouter, Xvrrp, agent_binary, run, script, wait_until_is, workspace};

fn unit() -> Result<String> {
    let path = workspace().join("scripts/xvrrp.service");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The drop-in of docs/security.md that lifts all limits.
fn drop_in() -> Result<String> {
    let page = fs::read_to_string(workspace().join("docs/security.md"))?;
    let (_, block) =
        page.split_once("file=/etc/systemd/system/xvrrp.service.d/no-limits.conf\n").context("no drop-in")?;
    let (text, _) = block.split_once("```").context("the drop-in has no end")?;
    Ok(text.to_owned())
}

/// Lets systemd-analyze verify a unit and returns how exposed the service is: 0 to 10.
fn verify(unit: &str) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("xvrrp.service");
    // The unit names a program and a manual that are not installed here. The program is replaced, the manual left out.
    let program = agent_binary()?.canonicalize()?.display().to_string();
    let text: String = unit
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .fold(String::new(), |text, line| text + &line.replace("/usr/bin/xvrrp", &program) + "\n");
    fs::write(&path, text)?;
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().context("systemd-analyze")?;
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    ensure!(verified.status.success() && !complaints.contains("xvrrp.service"), "{complaints}");
    let security = run(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&path))?;
    let score = security.lines().find(|line| line.contains("Overall exposure level")).context("no score")?;
    println!("{score}");
    score.split_whitespace().find_map(|word| word.parse().ok()).with_context(|| format!("no number: {security}"))
}

#[test]
fn the_unit_is_well_formed_and_hardened() -> Result<()> {
    let score = verify(&unit()?)?;
    ensure!(score < 6.0, "{score}");
    Ok(())
}

/// Returns the settings of a unit that limit what its processes may do.
fn limits(unit: &str) -> BTreeSet<&str> {
    let limiting = ["CapabilityBoundingSet", "Lock", "NoNew", "Private", "Protect", "Restrict", "SystemCall"];
    // `Restart=` and `RestartSec=` do not begin like these.
    let keys = unit.lines().filter_map(|line| Some(line.split_once('=')?.0));
    keys.filter(|key| limiting.iter().any(|beginning| key.starts_with(beginning))).collect()
}

#[test]
fn the_documented_drop_in_lifts_every_limit_of_the_unit() -> Result<()> {
    let (unit, drop_in) = (unit()?, drop_in()?);
    ensure!(limits(&unit).len() > 5 && limits(&unit) == limits(&drop_in), "{:?}", limits(&drop_in));
    // What a drop-in sets comes after the unit.
    let without = verify(&unit.replace("[Install]", &format!("{}\n[Install]", drop_in.replace("[Service]", ""))))?;
    // keepalived's unit has 9.6 there.
    ensure!(without > 9.0, "{without}");
    Ok(())
}

/// The directories that check scripts, notify programs and the files that they look at are often in.
#[test]
fn the_unit_shows_programs_the_same_tmp_and_home_as_everyone_else_and_lets_them_write_to_etc() -> Result<()> {
    let unit = unit()?;
    for setting in ["PrivateTmp", "ProtectHome", "ProtectSystem=full", "ProtectSystem=strict", "NoNewPrivileges"] {
        ensure!(!unit.lines().any(|line| line.starts_with(setting)), "{setting}");
    }
    Ok(())
}

/// Returns the beginning of a command that has the capabilities that the unit grants.
fn wrapper() -> Result<[String; 3]> {
    let unit = unit()?;
    let sets = unit.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = sets.flat_map(str::split_whitespace).filter_map(|name| name.strip_prefix("CAP_"));
    let set = names.fold("-all".to_owned(), |set, name| format!("{set},+{}", name.to_lowercase()));
    ensure!(set.contains("+net_admin"), "{set}");
    Ok(["setpriv".to_owned(), "--bounding-set".to_owned(), set])
}

#[test]
fn the_agent_works_with_the_capabilities_that_the_unit_grants() -> Result<()> {
    let lab = Lab::new(1)?;
    let wrapper = wrapper()?;
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    agent.reload()?;
    agent.wait_for_state("lan", "active")?;
    ensure!(agent.stop()?.success());
    // A warning would say that real-time scheduling or locked memory is missing.
    ensure!(agent.daemon.count_lines(&["WARN"]) == 0, "{}", agent.daemon.log());
    Ok(())
}

/// As Postfix's sendmail does, and as scripts in the home of an administrator do.
#[test]
fn under_the_unit_a_notify_program_in_a_private_home_runs_and_a_set_group_id_program_has_its_group() -> Result<()> {
    let lab = Lab::new(1)?;
    // /tmp may be mounted without set-group-ID bits.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (home, program, out) =
        (directory.path().join("home"), directory.path().join("id"), directory.path().join("home/groups"));
    let (nobody, daemon) = (User::from_name("nobody")?, Group::from_name("daemon")?);
    let (nobody, daemon) = (nobody.context("no user nobody")?, daemon.context("no group daemon")?);
    fs::create_dir(&home)?;
    fs::copy("/usr/bin/id", &program)?;
    chown(&program, None, Some(daemon.gid.as_raw()))?;
    fs::set_permissions(&program, Permissions::from_mode(0o2755))?;
    let notify =
        script(&home, "notify", &format!("{} -gn > {1}.new; mv {1}.new {1}", program.display(), out.display()))?;
    fs::set_permissions(&notify, Permissions::from_mode(0o700))?;
    for path in [&notify, &home] {
        chown(path, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))?;
    }
    fs::set_permissions(&home, Permissions::from_mode(0o700))?;
    let router = VirtualRouter::lan(200).with("notify_active", &format!("[{notify:?}]"));
    let wrapper = wrapper()?;
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    wait_until_is("the program has run", &"daemon\n".to_owned(), || Ok(fs::read_to_string(&out).unwrap_or_default()))?;
    ensure!(agent.stop()?.success());
    ensure!(agent.daemon.count_lines(&["WARN"]) == 0, "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn a_program_that_its_user_may_not_run_is_named_by_check_and_in_the_log() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    let [hidden, unreadable] = ["hidden", "unreadable"].map(|name| script(directory.path(), name, "exit 0"));
    let (hidden, unreadable) = (hidden?, unreadable?);
    fs::set_permissions(&hidden, Permissions::from_mode(0o700))?;
    fs::set_permissions(&unreadable, Permissions::from_mode(0o711))?;
    let router = VirtualRouter::lan(200)
        .with("notify", &format!("{{ run = [{hidden:?}], user = \"nobody\" }}"))
        .with("notify_stop", &format!("{{ run = [{unreadable:?}], user = \"nobody\" }}"))
        .with("notify_fault", &format!("[{hidden:?}]"));
    let mut agent = Xvrrp::start(&lab.routers[0], std::slice::from_ref(&router))?;
    let warnings = [("notify", "execute", &hidden), ("notify_stop", "read", &unreadable)].map(|(key, what, program)| {
        format!(
            "virtual_router \"lan\": {key}: the user \"nobody\", with the capabilities that it has here, may not {what} \
             \"{}\", so it always fails",
            program.display()
        )
    });
    for warning in &warnings {
        agent.daemon.wait_for_line(&["WARN", warning], xvrrp_lab::PATIENCE)?;
    }
    ensure!(agent.daemon.count_lines(&["may not"]) == 2, "{}", agent.daemon.log());
    let file = directory.path().join("xvrrp.toml");
    fs::write(&file, format!("[agent]\ncontrol = {:?}\n{router}", directory.path().join("socket")))?;
    let checked = lab.routers[0].command(agent_binary()?)?.arg("check").arg(&file).output()?;
    let told = String::from_utf8(checked.stderr)?;
    ensure!(checked.status.success() && warnings.iter().all(|warning| told.contains(warning)), "{told}");
    ensure!(agent.stop()?.success());
    Ok(())
}
