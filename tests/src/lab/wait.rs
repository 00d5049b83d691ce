//! Waiting for the world, with a deadline.

use std::cell::Cell;
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything in the lab may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

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
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
