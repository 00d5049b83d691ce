//! The signals that end the agent or make it reload: SIGTERM, SIGINT and SIGHUP.

use futures_util::FutureExt;
use nix::sys::signal::{self, SIGHUP, SIGINT, SIGTERM, SigSet};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives the signals. While they are held back (blocked), the kernel keeps them pending, also over an `execve`. Only
/// the thread that created this value receives them, provided that all other threads were started while they were held
/// back.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedSignal {
    /// Number of the signal.
    pub signal: signal::Signal,
    /// Whether it asks the agent to end, rather than to reload.
    pub stop: bool,
}

impl Signals {
    /// Holds the signals back until [`Self::let_in`], because the kernel gives up loading a BPF program when a signal
    /// arrives.
    ///
    /// # Errors
    /// The runtime cannot install a handler.
    pub fn hold_back() -> std::io::Result<Self> {
        hold_back();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Lets the signals in, including those that have become pending since they were held back.
    pub fn let_in(&self) {
        // Fails only for invalid arguments (pthread_sigmask(3)).
        let _ = handled().thread_unblock();
    }

    /// Holds back all later signals, for the program that replaces this one in the process.
    pub fn leave(&self) {
        hold_back();
    }

    /// Sends this process the signals again that arrived before [`Self::leave`] and were not handled.
    pub async fn send_again(&mut self) {
        // Lets the runtime collect them.
        tokio::task::yield_now().await;
        while let Some(received) = self.next().now_or_never() {
            let _ = signal::kill(Pid::this(), received.signal);
        }
    }

    /// Returns the next signal.
    pub async fn next(&mut self) -> ReceivedSignal {
        tokio::select! {
            _ = self.terminate.recv() => ReceivedSignal { signal: SIGTERM, stop: true },
            _ = self.interrupt.recv() => ReceivedSignal { signal: SIGINT, stop: true },
            _ = self.hangup.recv() => ReceivedSignal { signal: SIGHUP, stop: false },
        }
    }
}

/// Blocks the handled signals in the calling thread. Every thread but the one with [`Signals`] needs that: a signal
/// that another thread takes just before the process becomes another program is lost.
pub fn hold_back() {
    // Fails only for invalid arguments (pthread_sigmask(3)).
    let _ = handled().thread_block();
}

/// Makes the next agent of this process, whose signals are held back, reload.
pub fn reload_later() {
    // Fails only for a process that does not exist.
    let _ = signal::kill(Pid::this(), SIGHUP);
}

/// The signals that the agent handles. The others keep their default action.
fn handled() -> SigSet {
    [SIGTERM, SIGINT, SIGHUP].into_iter().collect()
}

/// Calls `start`; the threads that it starts receive none of the signals that the agent handles.
pub fn without<T>(start: impl FnOnce() -> T) -> T {
    let before = SigSet::thread_get_mask();
    hold_back();
    let started = start();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    started
}
