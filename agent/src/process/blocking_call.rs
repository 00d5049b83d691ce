//! Runs calls that may block for long, such as a read from a file system that does not answer, on a thread of their
//! own.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// A blocking call that is repeated. At most one runs at a time, so calls do not pile up behind one that never returns.
#[derive(Debug)]
pub struct BlockingCall<T>(Option<JoinHandle<T>>);

impl<T> Default for BlockingCall<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> BlockingCall<T> {
    /// Returns the result of `call`, or `None` if it takes longer than `patience`, including the wait for an earlier
    /// call that still runs.
    pub async fn run(&mut self, patience: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let result = timeout(patience, async {
            // The result of an earlier call is out of date.
            self.finish().await;
            self.start(call);
            self.finish().await
        });
        result.await.ok()?
    }

    /// Starts a call, unless one is running.
    pub fn start(&mut self, call: impl FnOnce() -> T + Send + 'static) {
        self.0.get_or_insert_with(|| spawn_blocking(call));
    }

    /// Returns the result of the running call, or `None` if it takes longer than `patience`. It can be waited for again
    /// then.
    pub async fn wait(&mut self, patience: Duration) -> Option<T> {
        timeout(patience, self.finish()).await.ok()?
    }

    /// Returns whether a call was started whose result has not been returned, and which has not ended.
    pub fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|call| !call.is_finished())
    }

    /// Returns the result of the running call, however long it takes. Returns `None` if there is none, or it panicked.
    /// If the future is dropped, the call can be waited for again.
    pub async fn finish(&mut self) -> Option<T> {
        let result = self.0.as_mut()?.await;
        self.0 = None;
        result.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_call_that_does_not_return_delays_later_calls_but_not_their_callers() {
        let (release, released) = mpsc::channel::<()>();
        let calls = Arc::new(AtomicU32::new(0));
        let mut blocking = BlockingCall::default();
        let hung = blocking.run(Duration::from_millis(20), move || released.recv().is_ok()).await;
        assert_eq!(hung, None);
        for _ in 0..3 {
            let calls = Arc::clone(&calls);
            let call = move || calls.fetch_add(1, Ordering::Relaxed) == 0;
            assert_eq!(blocking.run(Duration::from_millis(20), call).await, None);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0, "calls pile up");
        release.send(()).unwrap();
        assert_eq!(blocking.run(LONG, || true).await, Some(true));
    }

    #[tokio::test]
    async fn a_call_that_was_late_can_be_waited_for_again() {
        let (release, released) = mpsc::channel::<()>();
        let mut blocking = BlockingCall::default();
        blocking.start(move || released.recv().is_ok());
        assert_eq!(blocking.wait(Duration::from_millis(20)).await, None);
        assert!(blocking.is_running());
        blocking.start(|| false);
        release.send(()).unwrap();
        assert_eq!(blocking.wait(LONG).await, Some(true), "another call was started");
        assert!(!blocking.is_running());
        assert_eq!(blocking.wait(LONG).await, None, "there is no call");
    }
}
