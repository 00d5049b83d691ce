//! Mail of changes of state: what it says, and that neither a dead server nor flapping loses it or makes it a flood.

use std::fs::{self, DirEntry};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{Habits, Lab, Mail, MailServer, PATIENCE, VirtualRouter, Xvrrp, agent_binary, eventually};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);

/// `[mail]` to that server, with these lines besides.
fn table(lines: &str) -> String {
    format!("[mail]\nserver = \"{SERVER}\"\nfrom = \"xvrrp@example.net\"\nto = [\"ops@example.net\"]\n{lines}\n")
}

fn start(lab: &Lab, lines: &str) -> Result<Xvrrp> {
    Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &[], &table(lines))
}

/// What a subject says behind the name of the virtual router.
fn said(mail: &Mail) -> &str {
    mail.subject().split(" - ").nth(1).unwrap_or_default()
}

fn receive(server: &MailServer, expected: &[&str]) -> Result<()> {
    for expected in expected {
        let mail = server.next().with_context(|| format!("instead of {expected}"))?;
        ensure!(said(&mail) == *expected, "{expected}: {mail:?}");
    }
    Ok(())
}

#[test]
fn changes_are_mailed_in_keepaliveds_words_encrypted_and_with_a_password() -> Result<()> {
    let lab = Lab::new(1)?;
    let server = MailServer::start(&lab.routers[0], SERVER, Habits { encrypts: true, ..Habits::default() })?;
    let directory = tempfile::tempdir()?;
    let password = directory.path().join("password");
    fs::write(&password, "secret\n")?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let lines = format!("ca_file = {:?}\nusername = \"gw\"\npassword_file = {password:?}", MailServer::certificate());
    let mut agent = start(&lab, &lines)?;
    receive(&server, &["Entering BACKUP state"])?;
    let mail = server.next()?;
    let router_id = lab.routers[0].name();
    ensure!(mail.subject() == format!("[{router_id}] VRRP Instance lan - Entering ACTIVE state"), "{mail:?}");
    // "\0gw\0secret"
    ensure!(mail.encrypted && mail.login.as_deref() == Some("AGd3AHNlY3JldA=="), "{mail:?}");
    ensure!(mail.from == "xvrrp@example.net" && mail.to == ["ops@example.net"], "{mail:?}");
    for (header, part) in [
        ("Auto-Submitted", "auto-generated"),
        ("Date", " +0000"),
        ("From", "<xvrrp@example.net>"),
        ("Message-ID", "@example.net>"),
        ("To", "ops@example.net"),
    ] {
        ensure!(mail.headers.get(header).is_some_and(|value| value.ends_with(part)), "{header}: {mail:?}");
    }
    for part in [
        "is now active (active_down)",
        "before     backup",
        "priority   200",
        "VRID 51",
        "192.0.2.1/24",
        "xvrrp status",
    ] {
        ensure!(mail.body.contains(part), "{part}: {mail:?}");
    }
    ensure!(agent.stop()?.success());
    // What is not asked for is the end's, too.
    receive(&server, &["Stopping"])?;
    ensure!(agent.daemon.count_lines(&["mail"]) == 0, "{}", agent.daemon.log());
    Ok(())
}

#[test]
fn nothing_is_sent_to_a_server_whose_certificate_nobody_has_signed_or_that_does_not_encrypt() -> Result<()> {
    for (encrypts, complaint) in [(true, "certificate"), (false, "STARTTLS")] {
        let lab = Lab::new(1)?;
        let server = MailServer::start(&lab.routers[0], SERVER, Habits { encrypts, ..Habits::default() })?;
        let mut agent = start(&lab, "")?;
        agent.daemon.wait_for_line(&["WARN", "mail: not sent", complaint], PATIENCE)?;
        agent.wait_for_state("lan", "active")?;
        ensure!(server.more().is_empty());
    }
    Ok(())
}

fn spool(agent: &Xvrrp) -> PathBuf {
    agent.control().with_extension("mail")
}

/// The mails that wait.
fn waiting(spool: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(spool)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = files.iter().map(DirEntry::path);
    Ok(paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "eml")).collect())
}

#[test]
fn a_server_that_was_dead_gets_everything_over_a_reload_and_a_restart() -> Result<()> {
    let lab = Lab::new(1)?;
    let plain = "tls = \"none\"\nlimit = 60";
    let mut agent = start(&lab, plain)?;
    agent.wait_for_state("lan", "active")?;
    agent.daemon.wait_for_line(&["WARN", "mail: not sent by 127.0.0.1:2525", "refused"], PATIENCE)?;
    agent.reload()?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    // The agent that is there then finds the same once more.
    agent.reload()?;
    agent.wait_for_state("lan", "fault")?;
    ensure!(agent.stop()?.success());
    let spool = spool(&agent);
    ensure!(waiting(&spool)?.len() == 3, "{:?}: {}", waiting(&spool)?, agent.daemon.log());

    let server = MailServer::start(&lab.routers[0], SERVER, Habits::default())?;
    lab.plug(0)?;
    agent.start_again_with(&lab.routers[0], &[VirtualRouter::lan(200)], &table(plain))?;
    receive(
        &server,
        &[
            "Entering BACKUP state",
            "Entering ACTIVE state",
            "Entering FAULT state",
            "Entering BACKUP state",
            "Entering ACTIVE state",
        ],
    )?;
    eventually("none is left", PATIENCE, || {
        let left = waiting(&spool)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

#[test]
fn a_server_that_comes_back_while_the_agent_runs_gets_what_it_has_missed() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = start(&lab, "tls = \"none\"")?;
    agent.daemon.wait_for_line(&["WARN", "mail: not sent by 127.0.0.1:2525", "refused"], PATIENCE)?;
    agent.wait_for_state("lan", "active")?;
    let server = MailServer::start(&lab.routers[0], SERVER, Habits::default())?;
    receive(&server, &["Entering BACKUP state", "Entering ACTIVE state"])?;
    agent.daemon.wait_for_line(&["INFO", "mail: 127.0.0.1:2525 accepts mail again"], PATIENCE)?;
    agent.daemon.wait_for_lines(&["WARN", "mail"], 1)?;
    Ok(())
}

#[test]
fn flapping_is_gathered_into_one_mail_that_ends_with_the_last_state() -> Result<()> {
    let lab = Lab::new(1)?;
    let server = MailServer::start(&lab.routers[0], SERVER, Habits::default())?;
    let mut agent = start(&lab, "tls = \"none\"\nlimit = 2\ngather = \"60s\"")?;
    receive(&server, &["Entering BACKUP state", "Entering ACTIVE state"])?;
    for _ in 0..3 {
        lab.pull(0)?;
        agent.wait_for_state("lan", "fault")?;
        lab.plug(0)?;
        agent.wait_for_state("lan", "active")?;
    }
    // 12 s after the last change; the end is one, and waits for nothing.
    ensure!(agent.stop()?.success());
    let mail = server.next()?;
    ensure!(said(&mail).starts_with("10 changes in the last ") && said(&mail).ends_with(", now INIT"), "{mail:?}");
    let listed: Vec<&str> = mail.body.lines().filter_map(|line| line.split_once("GMT  ")).map(|(_, it)| it).collect();
    let flap = [
        "active -> fault (interface_down), priority 200",
        "fault -> backup (interface_up), priority 200",
        "backup -> active (active_down), priority 200",
    ];
    let mut expected: Vec<&str> = flap.iter().copied().cycle().take(9).collect();
    expected.push("active -> init (shutdown), priority 200");
    ensure!(listed == expected, "{mail:?}");
    ensure!(server.more().is_empty());
    Ok(())
}

#[test]
fn a_server_that_hangs_holds_up_neither_elections_nor_status_nor_the_end_for_long() -> Result<()> {
    let lab = Lab::new(1)?;
    // The kernel lets clients in, and nobody ever says a word to them.
    let hangs = lab.routers[0].run(|| TcpListener::bind(SERVER))??;
    let mut agent = start(&lab, "tls = \"none\"\ntimeout = \"60s\"")?;
    agent.wait_for_state("lan", "active")?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    lab.plug(0)?;
    agent.wait_for_state("lan", "active")?;
    let start = Instant::now();
    ensure!(agent.stop()?.success());
    ensure!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    agent.daemon.wait_for_lines(&["WARN", "kept for the next start"], 1)?;
    drop(hangs);
    Ok(())
}

#[test]
fn a_recipient_who_is_refused_for_good_or_for_now_keeps_mail_from_nobody_else() -> Result<()> {
    let lab = Lab::new(1)?;
    let habits = Habits { refuses: Some("gone@example.net"), puts_off: Some("late@example.net"), ..Habits::default() };
    let server = MailServer::start(&lab.routers[0], SERVER, habits)?;
    let keys = table("tls = \"none\"").replace("[\"ops", "[\"gone@example.net\", \"late@example.net\", \"ops");
    let router = VirtualRouter::lan(200).with("mail", "[\"active\"]");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], &keys)?;
    let mail = server.next()?;
    ensure!(said(&mail) == "Entering ACTIVE state" && mail.to == ["ops@example.net"], "{mail:?}");
    agent.daemon.wait_for_line(&["ERROR", "permanently refuses mail to gone@example.net", "nobody here"], PATIENCE)?;
    agent.daemon.wait_for_line(&["WARN", "mail: not sent", "not now"], PATIENCE)?;
    // It is tried again for the one that is left, and after 1 s once more.
    thread::sleep(Duration::from_secs(2));
    ensure!(server.more().is_empty());
    let waiting = waiting(&spool(&agent))?;
    ensure!(waiting.len() == 1, "{waiting:?}");
    let letter = fs::read_to_string(&waiting[0])?;
    ensure!(letter.starts_with("late@example.net\n"), "{letter}");
    agent.daemon.wait_for_lines(&["gone@example.net"], 1)?;
    // Nor does the letter that waits keep back the next one.
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    lab.plug(0)?;
    let mail = server.next()?;
    ensure!(said(&mail) == "Entering ACTIVE state" && mail.to == ["ops@example.net"], "{mail:?}");
    Ok(())
}

#[test]
fn a_password_that_everybody_may_read_is_refused_with_its_place() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = tempfile::tempdir()?;
    let [file, password] = ["xvrrp.toml", "password"].map(|name| directory.path().join(name));
    fs::write(&password, "secret\n")?;
    let lines = format!("username = \"gw\"\npassword_file = {password:?}");
    fs::write(&file, format!("{}\n{}", table(&lines), VirtualRouter::lan(200)))?;
    let check = |mode| -> Result<String> {
        fs::set_permissions(&password, fs::Permissions::from_mode(mode))?;
        let output = lab.routers[0].command(agent_binary()?)?.arg("check").arg(&file).output()?;
        Ok(String::from_utf8(output.stderr)?)
    };
    let [place, password] = [&file, &password].map(|path| path.display().to_string());
    let complaint = format!(
        "{place}:6: mail: password_file: \"{password}\" can be read or changed by every user; run chmod o= {password}\n"
    );
    ensure!(check(0o644)? == complaint, "{}", check(0o644)?);
    ensure!(check(0o600)?.is_empty(), "{}", check(0o600)?);
    Ok(())
}
