//! Turns on the machine. The tests of one program run beside each other, which most of them do not mind: they wait. A test
//! that takes all processors, or measures how late something is, has the machine to itself.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

static MACHINE: Turns = Turns::new();

/// Waits until no other test has a namespace or a kernel half, and keeps others from making one until the guard is dropped.
///
/// # Panics
///
/// If the calling thread has one already: a test asks for its turn first.
#[must_use]
pub fn alone() -> Alone {
    MACHINE.enter_alone();
    Alone(&MACHINE)
}

/// A share of the machine, for a thread that may already have others or the whole of it. Waits while another test has, or
/// waits for, the machine to itself.
pub(crate) fn share() -> Share {
    Share { turns: &MACHINE, thread: MACHINE.enter_sharing() }
}

/// The machine for one test, see [`alone`].
#[derive(Debug)]
pub struct Alone(&'static Turns);

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.leave_alone();
    }
}

/// See [`share`].
#[derive(Debug)]
pub(crate) struct Share {
    turns: &'static Turns,
    /// The thread that asked for it; another one may drop it.
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
    /// A thread is there as often as it has shares.
    sharing: Vec<ThreadId>,
    alone: Option<ThreadId>,
    /// How many threads wait to be alone. Nobody else begins to share before them.
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
        assert!(!state.sharing.contains(&me), "a test asks for the machine before it makes a namespace");
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

    /// A test that panics leaves nothing half done here.
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

    /// Long enough for a thread that does not wait to get ahead.
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
    fn who_wants_to_be_alone_waits_for_those_who_share_and_goes_before_those_who_come_later() {
        let turns = Turns::new();
        let (entered, order) = channel();
        thread::scope(|scope| {
            let first = turns.enter_sharing();
            scope.spawn(|| enter_alone(&turns, &entered));
            while turns.lock().waiting == 0 {
                thread::yield_now();
            }
            scope.spawn(|| enter_sharing(&turns, &entered));
            // Who shares may have more.
            let second = turns.enter_sharing();
            assert_eq!(order.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
            turns.leave_sharing(second);
            assert_eq!(order.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
            turns.leave_sharing(first);
            assert_eq!([order.recv_timeout(PATIENCE), order.recv_timeout(PATIENCE)], [Ok("alone"), Ok("sharing")]);
        });
    }

    #[test]
    fn who_is_alone_shares_with_nobody_but_itself() {
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
