//! `xvrrp status --watch` shows all virtual routers on a terminal.

use std::process::{Command, Stdio};
use std::str;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, Terminal, VirtualRouter, Xvrrp, agent_binary, eventually};

/// Control sequences that switch a terminal to its other screen, and back to the first one.
const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

#[test]
fn a_terminal_of_80_by_24_shows_the_state_until_q_or_ctrl_c() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    eventually("the history has both states", PATIENCE, || {
        let history = agent.virtual_router("lan")?["history"].clone();
        let states = history.as_array().context("history")?.iter().map(|entry| entry["state"].clone());
        ensure!(states.eq(["backup", "active"]), "{history}");
        Ok(())
    })?;

    for key in ["q", "\x03"] {
        let mut terminal = Terminal::watch_status(&agent)?;
        eventually("the screen shows the state", PATIENCE, || {
            let lines = terminal.lines()?;
            let begin = |line: usize, text| lines[line].starts_with(text);
            ensure!(begin(0, "xvrrp on ") && begin(2, "* ACTIVE lan ") && begin(23, "q quit "), "{lines:#?}");
            ensure!(lines[0].contains(": 1 ACTIVE   [1/1] ") && begin(8, "-- lan (ipv4): ACTIVE "), "{lines:#?}");
            Ok(())
        })?;
        terminal.press(key)?;
        let status = terminal.wait()?;
        let drawn = String::from_utf8_lossy(&terminal.drawn()?).into_owned();
        ensure!(status.success(), "{status}: {drawn}");
        let (entered, left) = (drawn.find(ENTERED), drawn.find(LEFT));
        ensure!(entered.is_some() && entered < left, "the first screen is not restored: {drawn:?}");
    }

    let mut piped = Command::new(agent_binary()?);
    let piped = piped.args(["status", "--watch", "--control"]).arg(agent.control()).stdin(Stdio::null()).output()?;
    let message = str::from_utf8(&piped.stderr)?;
    ensure!(piped.status.code() == Some(1) && message.contains("needs a terminal"), "{message}");
    ensure!(agent.stop()?.success());
    Ok(())
}

#[test]
fn a_terminal_of_65535_by_65535_shows_the_state_and_is_restored() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let mut terminal = Terminal::watch_status_in(&agent, u16::MAX, u16::MAX)?;
    eventually("the terminal shows the state", PATIENCE, || {
        let drawn = String::from_utf8_lossy(&terminal.drawn()?).into_owned();
        ensure!(drawn.contains("ACTIVE") && drawn.contains("quit"), "{drawn:?}");
        Ok(())
    })?;
    terminal.press("q")?;
    let status = terminal.wait()?;
    let drawn = String::from_utf8_lossy(&terminal.drawn()?).into_owned();
    ensure!(status.success() && drawn.contains(LEFT), "{status}: {drawn:?}");
    Ok(())
}
