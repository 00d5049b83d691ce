//! `xvrrp status --watch`: a screen of all virtual routers.

use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::{fs, str};

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, agent_binary, eventually};

/// What a terminal is told to show its other screen, and the first one again.
const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

#[test]
fn a_terminal_of_80_by_24_shows_the_state_until_q_or_ctrl_c() -> Result<()> {
    let lab = Lab::new(1)?;
    let mut agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    agent.wait_for_state("lan", "active")?;
    let history = agent.virtual_router("lan")?["history"].clone();
    let states: Vec<_> = history.as_array().context("history")?.iter().map(|entry| entry["state"].clone()).collect();
    ensure!(states == ["backup", "active"], "{history}");

    let directory = tempfile::tempdir()?;
    for key in ["q", "\x03"] {
        let screen = directory.path().join("screen");
        let mut terminal = Terminal::start(&agent.control(), &screen)?;
        eventually("the screen names the state", PATIENCE, || {
            let lines = shown(&drawn(&screen)?)?;
            let begin = |line: usize, text| lines[line].starts_with(text);
            ensure!(begin(0, "xvrrp on ") && begin(2, "* ACTIVE lan ") && begin(23, "q quit "), "{lines:#?}");
            ensure!(lines[0].contains(": 1 ACTIVE   [1/1] ") && begin(8, "-- lan (ipv4): ACTIVE "), "{lines:#?}");
            Ok(())
        })?;
        terminal.press(key)?;
        let status = terminal.end()?;
        let drawn = drawn(&screen)?;
        ensure!(status.success(), "{status}: {drawn}");
        ensure!(drawn.find(ENTERED).context("not entered")? < drawn.find(LEFT).context("not left")?, "{drawn:?}");
    }

    let mut piped = Command::new(agent_binary()?);
    let piped = piped.args(["status", "--watch", "--control"]).arg(agent.control()).stdin(Stdio::null()).output()?;
    let said = str::from_utf8(&piped.stderr)?;
    ensure!(piped.status.code() == Some(1) && said.contains("needs a terminal"), "{said}");
    ensure!(agent.stop()?.success());
    Ok(())
}

fn drawn(screen: &Path) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(screen)?).into_owned())
}

/// What a terminal of 80 by 24 makes of it, line by line.
fn shown(drawn: &str) -> Result<Vec<String>> {
    let [rows, columns] = [24, 80].map(NonZero::new);
    let mut terminal = vt100::Parser::new(rows.context("rows")?, columns.context("columns")?, 0);
    terminal.process(drawn.as_bytes());
    Ok(terminal.screen().rows(0, 80).collect())
}

/// A terminal of 80 by 24 that the command runs in; script(1) writes down what is drawn there. Ended when the test ends.
struct Terminal(Child);

impl Terminal {
    fn start(control: &Path, screen: &Path) -> Result<Self> {
        let (agent, control) = (agent_binary()?, control.display());
        let watch = format!("stty rows 24 cols 80; exec {} status --watch --control {control}", agent.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &watch]).arg(screen);
        Ok(Self(script.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?))
    }

    fn press(&mut self, key: &str) -> Result<()> {
        Ok(self.0.stdin.as_mut().context("stdin")?.write_all(key.as_bytes())?)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        eventually("it ends", PATIENCE, || self.0.try_wait()?.context("it runs"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
