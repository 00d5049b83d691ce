//! Loading the kernel half.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::gettid;
use xvrrp_dataplane::{Capacity, Dataplane};

extern "C" fn ignore(_signal: libc::c_int) {}

#[test]
fn signals_that_interrupt_the_verifier_do_not_prevent_the_start() -> Result<()> {
    /// Time between two signals, which is a fraction of the time that the verifier needs.
    const PACE: Duration = Duration::from_millis(10);
    const SIGNALS: usize = 12;
    let action = SigAction::new(SigHandler::Handler(ignore), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, and no other test uses this signal.
    unsafe { sigaction(Signal::SIGURG, &action) }?;
    let (loader, ends) = (gettid().as_raw(), AtomicBool::new(false));
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for _ in 0..SIGNALS {
                thread::sleep(PACE);
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // SAFETY: tgkill(2) takes no pointers. The thread waits for this one.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), loader, libc::SIGURG) };
            }
        });
        let loaded = Dataplane::load(Capacity { routers: 1, vips: 1, sources: 0 });
        ends.store(true, Ordering::Relaxed);
        sender.join().map_err(|_| anyhow!("the sender of signals panicked"))?;
        loaded?;
        Ok(())
    })
}
