//! Mail about changes of state: its text, and that neither a dead server nor flapping loses mail or causes a flood of
//! it.

use std::fs::{self, DirEntry};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{
    Habits, INTERFACE, Keepalived, Lab, Mail, MailServer, Namespace, PATIENCE, VIP, VirtualRouter, Xvrrp, agent_binary,
    eventually,
};

use crate::same_file::{Imported, Running};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);

/// A `[mail]` table for that server, with these additional lines.
fn table(lines: &str) -> String {
    format!("[mail]\nserver = \"{SERVER}\"\nfrom = \"xvrrp@example.net\"\nto = [\"ops@example.net\"]\n{lines}\n")
}

fn start(lab: &Lab, lines: &str) -> Result<Xvrrp> {
    Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &[], &table(lines))
}

/// The part of the subject after the name of the virtual router.
fn news(mail: &Mail) -> &str {
    mail.subject().split(" - ").nth(1).unwrap_or_default()
}

fn receive(server: &MailServer, expected: &[&str]) -> Result<()> {
    for expected in expected {
        let mail = server.next().with_context(|| format!("instead of {expected}"))?;
        ensure!(news(&mail) == *expected, "{expected}: {mail:?}");
    }
    Ok(())
}

// parity 26, 27, 60
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
    // By default, the agent also mails that it stops.
    receive(&server, &["Stopping"])?;
    ensure!(agent.daemon.count_lines(&["mail"]) == 0, "{}", agent.daemon.log());
    Ok(())
}

/// Returns subject and recipients of the mails up to that of a group that has become Active, in keepalived's words.
fn mails_of_group(
    namespace: &Namespace,
    daemon: impl FnOnce(&str) -> Result<Running>,
) -> Result<Vec<(String, String)>> {
    let server = MailServer::start(namespace, SERVER, Habits::default())?;
    let original = format!(
        "global_defs {{\n router_id gw\n smtp_server {} {}\n notification_email {{\n root\n }}\n \
         notification_email_from xvrrp@example.net\n}}\nvrrp_instance lan {{\n interface {INTERFACE}\n virtual_router_id \
         51\n version 3\n advert_int 0.1\n virtual_ipaddress {{\n {VIP}/24\n }}\n smtp_alert\n}}\nvrrp_sync_group \
         pair {{\n group {{\n lan\n }}\n smtp_alert\n}}\n",
        SERVER.ip(),
        SERVER.port()
    );
    let daemon = daemon(&original)?;
    let mut mails = Vec::new();
    let mut missing =
        vec!["[gw] VRRP Instance lan - Entering MASTER state", "[gw] VRRP Group pair - Entering MASTER state"];
    while !missing.is_empty() {
        let mail = server.next().with_context(|| daemon.log())?;
        let subject = mail.subject().replace("ACTIVE", "MASTER");
        missing.retain(|expected| *expected != subject);
        mails.push((subject, mail.to.join(" ").replace("@localhost", "")));
    }
    mails.sort();
    Ok(mails)
}

// parity 27, 71
#[test]
fn changes_of_a_group_are_mailed_beside_those_of_its_members_and_to_local_users() -> Result<()> {
    let (first, second) = (Lab::new(1)?, Lab::new(1)?);
    let (first, second) = (&first.routers[0], &second.routers[0]);
    let theirs = mails_of_group(first, |original| Keepalived::start_with(first, original).map(Running::Keepalived))?;
    let ours = mails_of_group(second, |original| Imported::start(second, original, None).map(Running::Xvrrp))?;
    ensure!(ours == theirs, "keepalived mails {theirs:#?}\nxvrrp mails {ours:#?}");
    ensure!(ours.iter().all(|(_, to)| to == "root"), "{ours:?}");
    Ok(())
}

#[test]
fn nothing_is_sent_to_a_server_that_is_not_trusted_or_does_not_encrypt() -> Result<()> {
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

/// The mails that wait to be sent.
fn waiting(spool: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(spool)?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = files.iter().map(DirEntry::path);
    Ok(paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "eml")).collect())
}

#[test]
fn mail_for_a_dead_server_survives_reloads_and_a_restart_and_is_sent_in_order() -> Result<()> {
    let lab = Lab::new(1)?;
    let plain = "tls = \"none\"\nlimit = 60";
    let mut agent = start(&lab, plain)?;
    agent.wait_for_state("lan", "active")?;
    agent.daemon.wait_for_line(&["WARN", "mail: not sent by 127.0.0.1:2525", "refused"], PATIENCE)?;
    agent.reload()?;
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    // The agent after this reload finds the same fault again and does not mail it a second time.
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
    eventually("no mail waits any more", PATIENCE, || {
        let left = waiting(&spool)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

#[test]
fn a_server_that_recovers_while_the_agent_runs_gets_the_mail_that_it_has_missed() -> Result<()> {
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
fn the_changes_of_a_flapping_router_are_collected_into_one_mail_that_ends_with_the_last_state() -> Result<()> {
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
    // The stop is another change, and the agent sends the collected mail before it ends.
    ensure!(agent.stop()?.success());
    let mail = server.next()?;
    ensure!(news(&mail).starts_with("10 changes in the last ") && news(&mail).ends_with(", now INIT"), "{mail:?}");
    let listed: Vec<&str> =
        mail.body.lines().filter_map(|line| line.split_once("GMT  ")).map(|(_, change)| change).collect();
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
fn a_server_that_hangs_delays_neither_elections_nor_status_and_delays_the_stop_only_briefly() -> Result<()> {
    let lab = Lab::new(1)?;
    // The kernel accepts connections, and nothing ever answers on them.
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
fn a_recipient_that_is_refused_permanently_or_temporarily_does_not_affect_the_others() -> Result<()> {
    let lab = Lab::new(1)?;
    let habits = Habits { refuses: Some("gone@example.net"), puts_off: Some("late@example.net"), ..Habits::default() };
    let server = MailServer::start(&lab.routers[0], SERVER, habits)?;
    let keys = table("tls = \"none\"").replace("[\"ops", "[\"gone@example.net\", \"late@example.net\", \"ops");
    let router = VirtualRouter::lan(200).with("mail", "[\"active\"]");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[router], &[], &keys)?;
    let ensure_sent_to_the_other = |mail: &Mail| {
        ensure!(news(mail) == "Entering ACTIVE state" && mail.to == ["ops@example.net"], "{mail:?}");
        Ok(())
    };
    ensure_sent_to_the_other(&server.next()?)?;
    agent.daemon.wait_for_line(&["ERROR", "permanently refuses mail to gone@example.net", "nobody here"], PATIENCE)?;
    agent.daemon.wait_for_line(&["WARN", "mail: not sent", "not now"], PATIENCE)?;
    // Long enough for two more attempts to reach the recipient that is left.
    thread::sleep(Duration::from_secs(2));
    ensure!(server.more().is_empty());
    eventually("the mail waits for the one recipient that is left", PATIENCE, || {
        let waiting = waiting(&spool(&agent))?;
        ensure!(waiting.len() == 1, "{waiting:?}");
        let mail = fs::read_to_string(&waiting[0])?;
        ensure!(mail.starts_with("late@example.net\n"), "{mail}");
        Ok(())
    })?;
    agent.daemon.wait_for_lines(&["gone@example.net"], 1)?;
    // The mail that waits does not delay the next one either.
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    lab.plug(0)?;
    ensure_sent_to_the_other(&server.next()?)
}

#[test]
fn a_password_file_that_every_user_can_read_is_refused_with_file_and_line() -> Result<()> {
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
