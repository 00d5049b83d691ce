//! A terminal that shows `xvrrp status --watch`.

use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{PATIENCE, Xvrrp, agent_binary, eventually};

/// A terminal of 80 columns and 24 rows in which the command runs. script(1) provides it, and records what is drawn
/// there. The command is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    script: Child,
    directory: TempDir,
}

impl Terminal {
    /// Height in characters.
    pub const ROWS: u16 = 24;
    /// Width in characters.
    pub const COLUMNS: u16 = 80;

    /// Starts `xvrrp status --watch` for this agent.
    pub fn watch_status(agent: &Xvrrp) -> Result<Self> {
        Self::watch_status_in(agent, Self::ROWS, Self::COLUMNS)
    }

    /// Starts `xvrrp status --watch` for this agent in a terminal of another size.
    pub fn watch_status_in(agent: &Xvrrp, rows: u16, columns: u16) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-terminal-")?;
        let (program, control) = (agent_binary()?, agent.control());
        let command = format!(
            "stty rows {rows} cols {columns}; exec {} status --watch --control {}",
            program.display(),
            control.display()
        );
        let script = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command])
            .arg(directory.path().join("drawn"))
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run script(1)")?;
        Ok(Self { script, directory })
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) -> Result<()> {
        Ok(self.script.stdin.as_mut().context("the terminal has no input")?.write_all(key.as_bytes())?)
    }

    /// Everything that the command has drawn so far.
    pub fn drawn(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.directory.path().join("drawn"))?)
    }

    /// The screen as it looks now.
    pub fn screen(&self) -> Result<vt100::Screen> {
        let [rows, columns] = [Self::ROWS, Self::COLUMNS].map(NonZero::new);
        let mut parser = vt100::Parser::new(rows.context("rows")?, columns.context("columns")?, 0);
        parser.process(&self.drawn()?);
        Ok(parser.screen().clone())
    }

    /// The lines of text on the screen.
    pub fn lines(&self) -> Result<Vec<String>> {
        Ok(self.screen()?.rows(0, Self::COLUMNS).collect())
    }

    /// Waits until the command has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        eventually("the command in the terminal ends", PATIENCE, || self.script.try_wait()?.context("it runs"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
