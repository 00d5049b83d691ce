//! A timer for deadlines. The timers of tokio round to a millisecond, which is too coarse for adverts every 10 ms.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;
use xvrrp_common::units::Instant;

/// A timerfd on the boot-time clock.
#[derive(Debug)]
pub(super) struct DeadlineTimer {
    fd: AsyncFd<Descriptor>,
    armed: Option<Instant>,
}

impl DeadlineTimer {
    pub(super) fn new() -> io::Result<Self> {
        let fd = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // SAFETY: `Descriptor` owns the descriptor, and keeps it until it is dropped.
        let fd = unsafe { AsyncFd::register(Descriptor(fd)) }?;
        Ok(Self { fd, armed: None })
    }

    /// Sets the deadline to wait for; `None` disarms the timer.
    pub(super) fn arm(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if self.armed == deadline {
            return Ok(());
        }
        match deadline {
            // Zero would disarm the timer.
            Some(deadline) => {
                let at = TimeSpec::from_duration(Duration::from_nanos(deadline.as_nanos().max(1)));
                self.fd.get_ref().0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            None => self.fd.get_ref().0.unset()?,
        }
        self.armed = deadline;
        Ok(())
    }

    /// Returns once the deadline has passed. Without a deadline, it never returns.
    pub(super) async fn expired(&mut self) -> io::Result<()> {
        let mut ready = self.fd.readable().await?;
        ready.clear_ready();
        // Reading the expiry count, which does not matter, makes the descriptor wait again. If there is nothing to read
        // because the timer was armed again in between, the loop only makes one round that finds nothing due.
        let mut count = [0; 8];
        let _ = nix::unistd::read(&self.fd.get_ref().0, &mut count);
        self.armed = None;
        Ok(())
    }
}

/// The descriptor that tokio waits for.
#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use xvrrp_common::units::Interval;

    use super::*;
    use crate::process::clock;

    #[tokio::test]
    async fn fires_after_its_deadline_and_not_before() {
        let mut timer = DeadlineTimer::new().unwrap();
        let deadline = clock::now() + Interval::from_millis(20);
        timer.arm(Some(deadline)).unwrap();
        timer.expired().await.unwrap();
        assert!(clock::now() >= deadline);
    }

    #[tokio::test]
    async fn fires_at_once_for_a_deadline_in_the_past() {
        let mut timer = DeadlineTimer::new().unwrap();
        timer.arm(Some(Instant::from_nanos(0))).unwrap();
        timer.expired().await.unwrap();
    }

    #[tokio::test]
    async fn a_disarmed_timer_does_not_fire() {
        let mut timer = DeadlineTimer::new().unwrap();
        timer.arm(Some(clock::now() + Interval::from_millis(10))).unwrap();
        timer.arm(None).unwrap();
        let fired = tokio::time::timeout(Duration::from_millis(50), timer.expired()).await;
        assert!(fired.is_err());
    }
}
