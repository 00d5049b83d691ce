//! Waiting for the world, with a deadline.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// How long anything in the lab may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C makes every wait that is under way, or comes, end with an error, and the guards clean up.
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

/// Whether such a signal came; see [`interrupt_on_signals`].
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

thread_local! {
    static GIVEN_UP: Cell<bool> = const { Cell::new(false) };
}

/// Whether a wait has failed on this thread: then the test fails, and its daemons show their logs.
pub(super) fn has_given_up() -> bool {
    GIVEN_UP.get()
}

/// Asks again and again until `look` finds what it looks for; after `within`, an error with what it last said.
pub fn eventually<T, E: Debug>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() >= deadline => {
                GIVEN_UP.set(true);
                bail!("not within {within:?}: {what}; last: {last:?}")
            }
            Err(_) => pause(Duration::from_millis(5))?,
        }
    }
}

/// Asks again and again until `look` says yes, for as long as [`PATIENCE`]. What kernel and daemons complete after the call that
/// asked for it is waited for like this, not asserted.
pub fn wait_until(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    eventually(what, PATIENCE, || {
        ensure!(look()?, "not yet");
        Ok(())
    })
}

/// Asks again and again until `look` finds what is expected, for as long as [`PATIENCE`].
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

/// Lets time pass, unless a signal ends it.
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
