//! The program that reads a FIFO, which the agent keeps running.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use xvrrp_config::Program;

use crate::process::command;
use crate::process::program::{self, Children, Orphan, ProgramEnd, Purpose, RunningProgram, UserLookup};

/// How the owner of a reader begins among the programs that run.
const OWNER: &str = "FIFO ";
/// The pause after a reader has ended. It doubles with each further end.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and how long a reader must have run for the pauses to start over.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long the lookup of a user may take.
const LOOKUP: Duration = Duration::from_secs(30);
/// A reader is not killed for running long.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);

/// Returns whether this program reads a FIFO.
pub(super) fn is_reader(running: &RunningProgram) -> bool {
    running.purpose.owner.starts_with(OWNER)
}

/// A program that reads the FIFO at `path`.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub program: Program,
    pub path: PathBuf,
    pub children: Children,
}

impl Reader {
    /// Returns what identifies the program among those that run, also for a later agent.
    pub fn owner(&self) -> String {
        let user = self.program.user.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{OWNER}{} {:?} {user}", self.path.display(), self.program.command)
    }

    /// Runs the program, and again whenever it ends, until `ending` is true. `running` is the program if an earlier
    /// agent in this process has started it.
    pub async fn keep_running(self, mut running: Option<RunningProgram>, mut ending: watch::Receiver<bool>) {
        let (mut users, mut pause) = (UserLookup::default(), FIRST_PAUSE);
        loop {
            let started = Instant::now();
            let end = match running.take() {
                Some(running) => match self.children.adopt(running).await {
                    Ok(Some(end)) => describe(&end),
                    Ok(None) => "ended".to_owned(),
                    Err(error) => format!("cannot be waited for: {error}"),
                },
                None => self.run(&mut users).await,
            };
            if *ending.borrow() {
                return;
            }
            pause = if started.elapsed() >= LONGEST_PAUSE { FIRST_PAUSE } else { pause };
            tracing::warn!(fifo = %self.path.display(), "{} {end}: starting it again in {pause:?}", self.program.command);
            tokio::select! {
                () = sleep(pause) => {}
                // The sender may be gone, too.
                _ = ending.wait_for(|ending| *ending) => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the program once, and returns how it has ended.
    async fn run(&self, users: &mut UserLookup) -> String {
        let Program { command: line, user } = &self.program;
        let mut command = command::command(line, &[&self.path.to_string_lossy()]);
        if let Some(user) = user
            && let Err(reason) = users.apply(user, &mut command, LOOKUP).await
        {
            return format!("cannot be run: {reason}");
        }
        let purpose = Purpose { owner: self.owner(), completes: None };
        match program::run(&mut command, FOR_EVER, Orphan::Left, &self.children, purpose).await {
            Ok(end) => describe(&end),
            Err(error) => format!("cannot be run: {error}"),
        }
    }

    /// Sends a signal to the program and its children, if it runs.
    pub fn signal(&self, signal: Signal) {
        let owner = self.owner();
        if let Some(running) = self.children.running().iter().find(|running| running.purpose.owner == owner) {
            // Fails if it ends at this moment.
            let _ = killpg(Pid::from_raw(running.pid), signal);
        }
    }
}

fn describe(end: &ProgramEnd) -> String {
    match end {
        ProgramEnd::Exited(status) => format!("has ended ({status})"),
        ProgramEnd::Killed => "was killed".to_owned(),
    }
}

/// Ends the readers of an earlier agent in this process that are no longer wanted.
pub(super) fn end(readers: Vec<RunningProgram>, children: &Children) {
    for mut running in readers {
        running.until = 0;
        let children = children.clone();
        tokio::spawn(async move {
            let _ = children.adopt(running).await;
        });
    }
}
