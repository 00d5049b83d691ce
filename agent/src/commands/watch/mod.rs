//! `xvrrp status --watch`: how the virtual routers stand, in a terminal, as it changes.
//!
//! The agent is asked once a second, by a thread of its own, so that keys are obeyed while it is silent. The terminal gets
//! only what differs from what it shows, which is little: it is of use over a slow line.

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

/// How often the agent is asked, and so the most often that anything is drawn by itself.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a key may go unnoticed behind the agent's answer, and the other way round.
const LOOK: Duration = Duration::from_millis(100);

/// What the agent last said, or why it said nothing.
type Answer = Result<AgentStatus, ControlError>;

/// Shows how the agent with this control socket stands, until `q` or Ctrl-C.
pub fn run(control: &Path) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("--watch needs a terminal; for a script there is `xvrrp status --json`");
    }
    // Nobody there is told of in the ordinary way, before the terminal changes.
    let first = control::status(control)?;
    let answers = ask(control.to_owned());
    // Puts the terminal in order on a panic, too.
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let outcome = show(&mut terminal, first, &answers);
    ratatui::restore();
    outcome
}

/// Asks until nobody wants to know any more.
fn ask(control: PathBuf) -> Receiver<Answer> {
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

fn show(terminal: &mut DefaultTerminal, first: AgentStatus, answers: &Receiver<Answer>) -> anyhow::Result<()> {
    let mut view = View::new();
    view.tell(Ok(first));
    let mut changed = true;
    loop {
        if changed {
            terminal.draw(|frame| view.draw(frame)).context("cannot draw")?;
            changed = false;
        }
        if event::poll(LOOK).context("cannot read keys")? {
            match event::read().context("cannot read keys")? {
                Event::Key(key) if ends(key) => return Ok(()),
                Event::Key(key) if key.kind != KeyEventKind::Release => changed = obey(key.code, &mut view),
                Event::Resize(..) => changed = true,
                _ => {}
            }
        }
        match answers.try_recv() {
            Ok(answer) => {
                view.tell(answer.map_err(|error| error.to_string()));
                changed = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("nobody asks the agent any more"),
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || control && key.code == KeyCode::Char('c')
}

/// Whether it means anything.
fn obey(key: KeyCode, view: &mut View) -> bool {
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
