//! `xvrrp status --watch`: shows the virtual routers in a terminal as they change.
//!
//! A thread of its own requests the status once a second, so that keys work while the agent does not answer. Only the
//! differences are written to the terminal, so it is usable over a slow line.

mod rates;
mod view;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};

use crate::control::status::AgentStatus;
use crate::control::{self, ControlError};
use view::View;

/// How often the status is requested, and drawn.
const PERIOD: Duration = Duration::from_secs(1);
/// How long to wait for a key before looking for an answer of the agent.
const LOOK: Duration = Duration::from_millis(100);

/// Largest number of columns and rows that are drawn. A terminal may have 65535 of each, and there is no memory for so
/// many characters.
const MAX_SIDE: u16 = 1000;

/// The agent's status, or why there is none.
type StatusResult = Result<AgentStatus, ControlError>;

/// Shows the status of the agent with this control socket, until `q` or Ctrl-C.
///
/// # Errors
/// There is no terminal, or no agent answers at the start.
pub fn run(control: &Path) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("--watch needs a terminal; for scripts, use `xvrrp status --json`");
    }
    // Requested before the terminal changes, so that an error is printed in the ordinary way if no agent answers.
    let first = control::status(control)?;
    let answers = poll(control.to_owned());
    let outcome = open_terminal().context("cannot use the terminal");
    let outcome = outcome.and_then(|mut terminal| show(&mut terminal, first, &answers));
    ratatui::restore();
    outcome
}

/// Prepares the terminal for drawing. A panic restores it.
fn open_terminal() -> io::Result<DefaultTerminal> {
    let terminal = ratatui::try_init_with_options(TerminalOptions { viewport: Viewport::Fixed(drawn_area()?) })?;
    execute!(io::stdout(), EnterAlternateScreen)?;
    Ok(terminal)
}

/// Returns the part of the terminal in which the status is drawn: all of it, unless the terminal is larger than
/// [`MAX_SIDE`].
fn drawn_area() -> io::Result<Rect> {
    let (columns, rows) = terminal::size()?;
    Ok(Rect::new(0, 0, columns.min(MAX_SIDE), rows.min(MAX_SIDE)))
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
            let area = drawn_area().context("cannot determine the size of the terminal")?;
            if area != terminal.get_frame().area() {
                terminal.resize(area).context("cannot draw")?;
            }
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
