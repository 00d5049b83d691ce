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
            if let Some(earlier) = &mut self.0 {
                // Its result is out of date.
                let _ = earlier.await;
            }
            self.0.insert(spawn_blocking(call)).await
        })
        .await;
        if result.is_ok() {
            self.0 = None;
        }
        result.ok()?.ok()
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
}
