//! Gives a test the machine to itself. The tests of one program run in parallel, which does no harm to most of them. A
//! test that takes all processors, or that measures how late something is, must run alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

static MACHINE: Turns = Turns::new();

/// Waits until no other test has a namespace or a kernel half. No other test gets one until the guard is dropped.
///
/// # Panics
/// The calling thread already has a namespace or a kernel half. A test must call this first.
#[must_use]
pub fn alone() -> Alone {
    MACHINE.enter_alone();
    Alone(&MACHINE)
}

/// Takes a share of the machine, as every namespace and kernel half does. Waits while another test runs alone or waits
/// to run alone, unless the calling thread already has a share or runs alone itself.
pub(crate) fn share() -> Share {
    Share { turns: &MACHINE, thread: MACHINE.enter_sharing() }
}

/// Guard of a test that runs alone; [`alone`] returns it.
#[derive(Debug)]
pub struct Alone(&'static Turns);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.leave_alone();
    }
}

/// Guard of a share of the machine; [`share`] returns it.
#[derive(Debug)]
pub(crate) struct Share {
    turns: &'static Turns,
    /// The thread that took the share. Another thread may drop it.
    thread: ThreadId,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.turns.leave_sharing(self.thread);
    }
}

#[derive(Debug)]
struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The owners of all shares: a thread with several shares is listed several times.
    sharing: Vec<ThreadId>,
    alone: Option<ThreadId>,
    /// Number of threads that wait to run alone. They go before threads that want their first share.
    waiting: usize,
}

impl Turns {
    const fn new() -> Self {
        let state = State { sharing: Vec::new(), alone: None, waiting: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn enter_alone(&self) {
        let me = thread::current().id();
        let mut state = self.lock();
        assert!(
            !state.sharing.contains(&me),
            "a test must call `alone` before it creates a namespace or a kernel half"
        );
        state.waiting += 1;
        let mut state = self.wait_while(state, |state| state.alone.is_some() || !state.sharing.is_empty());
        state.waiting -= 1;
        state.alone = Some(me);
    }

    fn leave_alone(&self) {
        self.lock().alone = None;
        self.changed.notify_all();
    }

    fn enter_sharing(&self) -> ThreadId {
        let me = thread::current().id();
        let mut state = self.wait_while(self.lock(), |state| {
            let is_in = state.alone == Some(me) || state.sharing.contains(&me);
            !is_in && (state.alone.is_some() || state.waiting > 0)
        });
        state.sharing.push(me);
        me
    }

    fn leave_sharing(&self, thread: ThreadId) {
        let mut state = self.lock();
        if let Some(place) = state.sharing.iter().position(|&sharing| sharing == thread) {
            state.sharing.swap_remove(place);
        }
        self.changed.notify_all();
    }

    /// Locks the state. A poisoned lock is fine: no test panics while it changes the state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, condition).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::time::Duration;

    use super::*;

    /// Long enough for a thread that wrongly does not wait to be noticed.
    const MOMENT: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(20);

    fn enter_alone(turns: &Turns, entered: &Sender<&'static str>) {
        turns.enter_alone();
        let _ = entered.send("alone");
        turns.leave_alone();
    }

    fn enter_sharing(turns: &Turns, entered: &Sender<&'static str>) {
        let thread = turns.enter_sharing();
        let _ = entered.send("sharing");
        turns.leave_sharing(thread);
    }

    #[test]
    fn a_thread_that_wants_to_run_alone_waits_for_all_shares_and_goes_before_later_ones() {
        let turns = Turns::new();
        let (entered, order) = channel();
        thread::scope(|scope| {
            let first = turns.enter_sharing();
            scope.spawn(|| enter_alone(&turns, &entered));
            while turns.lock().waiting == 0 {
                thread::yield_now();
            }
            scope.spawn(|| enter_sharing(&turns, &entered));
            // A thread with a share may take more.
            let second = turns.enter_sharing();
            assert_eq!(order.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
            turns.leave_sharing(second);
            assert_eq!(order.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
            turns.leave_sharing(first);
            assert_eq!([order.recv_timeout(PATIENCE), order.recv_timeout(PATIENCE)], [Ok("alone"), Ok("sharing")]);
        });
    }

    #[test]
    fn while_a_thread_runs_alone_only_that_thread_gets_shares() {
        let turns = Turns::new();
        let (entered, order) = channel();
        thread::scope(|scope| {
            turns.enter_alone();
            let own = turns.enter_sharing();
            scope.spawn(|| enter_sharing(&turns, &entered));
            assert_eq!(order.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
            turns.leave_sharing(own);
            turns.leave_alone();
            assert_eq!(order.recv_timeout(PATIENCE), Ok("sharing"));
        });
    }
}
