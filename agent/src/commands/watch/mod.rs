//! `xvrrp status --watch`: shows the virtual routers in a terminal as they change.
//!
//! A thread of its own requests the status once a second, so that keys work while the agent does not answer. Only the
//! differences are written to the terminal, so it is usable over a slow line.

mod rates;
mod view;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::control::status::AgentStatus;
use crate::control::{self, ControlError};
use view::View;

/// How often the status is requested, and drawn.
const PERIOD: Duration = Duration::from_secs(1);
/// How long to wait for a key before looking for an answer of the agent.
const LOOK: Duration = Duration::from_millis(100);

/// The agent's status, or why there is none.
type StatusResult = Result<AgentStatus, ControlError>;

/// Shows the status of the agent with this control socket, until `q` or Ctrl-C.
///
/// # Errors
/// There is no terminal, or no agent answers at the start.
pub fn run(control: &Path) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("--watch needs a terminal; for scripts, use `xvrrp status --json`");
    }
    // Requested before the terminal changes, so that an error is printed in the ordinary way if no agent answers.
    let first = control::status(control)?;
    let answers = poll(control.to_owned());
    // Restores the terminal on a panic, too.
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let outcome = show(&mut terminal, first, &answers);
    ratatui::restore();
    outcome
}

/// Starts a thread that requests the status until the receiver is dropped.
fn poll(control: PathBuf) -> Receiver<StatusResult> {
    let (sender, answers) = mpsc::sync_channel(0);
    thread::spawn(move || {
        loop {
            thread::sleep(PERIOD);
            if sender.send(control::status(&control)).is_err() {
                return;
            }
        }
    });
    answers
}

fn show(terminal: &mut DefaultTerminal, first: AgentStatus, answers: &Receiver<StatusResult>) -> anyhow::Result<()> {
    let mut view = View::new();
    view.update(Ok(first));
    let mut changed = true;
    loop {
        if changed {
            terminal.draw(|frame| view.draw(frame)).context("cannot draw")?;
            changed = false;
        }
        if event::poll(LOOK).context("cannot read keys")? {
            match event::read().context("cannot read keys")? {
                Event::Key(key) if ends(key) => return Ok(()),
                Event::Key(key) if key.kind != KeyEventKind::Release => changed = press(key.code, &mut view),
                Event::Resize(..) => changed = true,
                _ => {}
            }
        }
        match answers.try_recv() {
            Ok(answer) => {
                view.update(answer);
                changed = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("the thread that requests the status has ended"),
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || control && key.code == KeyCode::Char('c')
}

/// Handles a key and returns whether it has a meaning.
fn press(key: KeyCode, view: &mut View) -> bool {
    match key {
        KeyCode::Up | KeyCode::Char('k') => view.select(-1),
        KeyCode::Down | KeyCode::Char('j') => view.select(1),
        KeyCode::PageUp => view.select(-view::PAGE),
        KeyCode::PageDown => view.select(view::PAGE),
        KeyCode::Home => view.select(isize::MIN),
        KeyCode::End => view.select(isize::MAX),
        _ => return false,
    }
    true
}
