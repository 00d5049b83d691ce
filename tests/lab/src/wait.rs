//! Waits, with a deadline, for what the kernel or another process completes later.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Upper limit of what anything in the lab takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, SIGINT (Ctrl-C), SIGTERM and SIGHUP make all waits end with an error, so that the guards clean up.
pub fn interrupt_on_signals() -> Result<()> {
    extern "C" fn note(_: i32) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Whether a signal has come that [`interrupt_on_signals`] handles.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

thread_local! {
    static GIVEN_UP: Cell<bool> = const { Cell::new(false) };
}

/// Whether a wait has failed on this thread. If so, the test fails, and its daemons print their logs.
pub(super) fn has_given_up() -> bool {
    GIVEN_UP.get()
}

/// Polls `look` until it succeeds, and returns what it found.
///
/// # Errors
/// `look` has not succeeded after `within`. The error contains its last one.
pub fn eventually<T, E: Debug>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() >= deadline => {
                GIVEN_UP.set(true);
                bail!("timed out after {within:?}: {what}; the last attempt: {last:?}")
            }
            Err(_) => pause(Duration::from_millis(5))?,
        }
    }
}

/// Polls `look` until it returns `true`, for as long as [`PATIENCE`]. Tests do not assert what the kernel or a daemon
/// completes after the call that asked for it; they wait for it.
pub fn wait_until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    eventually(what, PATIENCE, || {
        ensure!(look()?, "not the case");
        Ok(())
    })
}

/// Polls `look` until it returns what is expected, for as long as [`PATIENCE`].
pub fn wait_until_is<T: PartialEq + Debug>(
    what: &str,
    expected: &T,
    mut look: impl FnMut() -> Result<T>,
) -> Result<()> {
    eventually(what, PATIENCE, || {
        let found = look()?;
        ensure!(found == *expected, "{found:?} instead of {expected:?}");
        Ok(())
    })
}

/// Sleeps. A signal that [`interrupt_on_signals`] handles ends this with an error.
pub fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    loop {
        if is_interrupted() {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}
