//! What ends the agent, or should tell it something.

use futures_util::FutureExt;
use nix::sys::signal::{self, SIGHUP, SIGINT, SIGTERM, SigSet};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// While these are held back, signals wait for whoever lets them in, be it another program in this process. No thread but
/// the one that has made this gets any, if all others were started while they were held back.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// One of them has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub signal: signal::Signal,
    /// It asks us to end, rather than to reload.
    pub stop: bool,
}

impl Signals {
    /// Holds them back, until [`Self::let_in`]: the kernel gives up loading a program when a signal arrives.
    pub fn hold_back() -> std::io::Result<Self> {
        hold_back();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// From now on they arrive, and those that came meanwhile.
    pub fn let_in(&self) {
        // Fails only for arguments that make no sense (pthread_sigmask(3)).
        let _ = ours().thread_unblock();
    }

    /// Holds back all that comes from now on, for another program in this process.
    pub fn leave(&self) {
        hold_back();
    }

    /// Has those come again that had come before [`Self::leave`] and were not attended to.
    pub async fn send_again(&mut self) {
        // Lets the runtime look for them.
        tokio::task::yield_now().await;
        while let Some(received) = self.next().now_or_never() {
            let _ = signal::kill(Pid::this(), received.signal);
        }
    }

    /// The next one.
    pub async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received { signal: SIGTERM, stop: true },
            _ = self.interrupt.recv() => Received { signal: SIGINT, stop: true },
            _ = self.hangup.recv() => Received { signal: SIGHUP, stop: false },
        }
    }
}

fn hold_back() {
    // As above.
    let _ = ours().thread_block();
}

/// Those that somebody attends to. The others do what they always do.
fn ours() -> SigSet {
    [SIGTERM, SIGINT, SIGHUP].into_iter().collect()
}

/// Starts something whose threads get no signals.
pub fn without<T>(start: impl FnOnce() -> T) -> T {
    let before = SigSet::thread_get_mask();
    hold_back();
    let started = start();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    started
}
