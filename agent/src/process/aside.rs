//! Calls that may take long, such as a read from a file system that does not answer, aside of the thread that wants to know.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// One call at a time, so that no number of them piles up behind one that never returns.
#[derive(Debug)]
pub struct Aside<T>(Option<JoinHandle<T>>);

impl<T> Default for Aside<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Aside<T> {
    /// What the call returns; `None` if it, or an earlier one that it waits for, takes longer than `patience`.
    pub async fn run(&mut self, patience: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let result = timeout(patience, async {
            if let Some(earlier) = &mut self.0 {
                // What it says is out of date.
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
    async fn a_call_that_does_not_return_holds_back_the_next_ones_and_nobody_else() {
        let (release, released) = mpsc::channel::<()>();
        let calls = Arc::new(AtomicU32::new(0));
        let mut aside = Aside::default();
        let hung = aside.run(Duration::from_millis(20), move || released.recv().is_ok()).await;
        assert_eq!(hung, None);
        for _ in 0..3 {
            let calls = Arc::clone(&calls);
            let call = move || calls.fetch_add(1, Ordering::Relaxed) == 0;
            assert_eq!(aside.run(Duration::from_millis(20), call).await, None);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0, "calls pile up");
        release.send(()).unwrap();
        assert_eq!(aside.run(LONG, || true).await, Some(true));
    }
}
