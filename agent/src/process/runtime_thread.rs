//! Starts threads that have a runtime of their own and serve the election.

use std::error::Error;
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::runtime;

use super::realtime;

/// Why a thread does not serve. `E` is the error of opening what it needs.
#[derive(Debug, thiserror::Error)]
pub enum StartError<E: Error + 'static> {
    /// The operating system refuses the thread, or what its runtime needs.
    #[error(transparent)]
    Refused(io::Error),
    /// The thread cannot open what it needs.
    #[error(transparent)]
    Open(E),
    /// The thread panicked before it had opened what it needs.
    #[error("the thread has ended")]
    Ended(#[source] mpsc::RecvError),
}

/// Starts a thread that first opens what it needs and then serves with it. Returns once that is open.
///
/// `open` and `serve` run on the thread, within its runtime. `election_priority` is the real-time priority of the
/// election, which the thread is scheduled behind; 0 stands for ordinary scheduling.
///
/// # Errors
/// The thread or its runtime cannot be started, or `open` fails.
pub fn spawn<T, E: Error + Send + 'static>(
    name: &str,
    election_priority: u8,
    open: impl FnOnce() -> Result<T, E> + Send + 'static,
    serve: impl AsyncFnOnce(T) + Send + 'static,
) -> Result<JoinHandle<()>, StartError<E>> {
    let (opened, ready) = mpsc::channel();
    let run = move || {
        realtime::schedule_behind_election(election_priority);
        let runtime = match runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(StartError::Refused(error)))),
        };
        runtime.block_on(async {
            // Sending cannot fail, because the receiver waits until something has been sent.
            match open() {
                Ok(resources) => {
                    let _ = opened.send(Ok(()));
                    serve(resources).await;
                }
                Err(error) => drop(opened.send(Err(StartError::Open(error)))),
            }
        });
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Refused)?;
    ready.recv().map_err(StartError::Ended)??;
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_started_once_it_has_opened_what_it_needs() {
        let (sender, served) = mpsc::channel();
        let open = || Ok::<_, io::Error>(runtime::Handle::try_current().is_ok());
        let serve =
            async move |has_runtime| sender.send((has_runtime, thread::current().name().map(str::to_owned))).unwrap();
        spawn("serves", 0, open, serve).unwrap().join().unwrap();
        assert_eq!(served.recv().unwrap(), (true, Some("serves".to_owned())));
    }

    #[test]
    fn a_thread_that_cannot_open_what_it_needs_is_an_error_and_never_serves() {
        let (sender, served) = mpsc::channel::<()>();
        let open = || Err(io::Error::other("there is none"));
        let started = spawn("fails", 0, open, async move |()| sender.send(()).unwrap());
        assert_eq!(started.unwrap_err().to_string(), "there is none");
        assert!(served.recv().is_err());
    }

    #[test]
    fn a_thread_that_panics_before_it_serves_is_an_error() {
        let started = spawn("panics", 0, || -> io::Result<()> { panic!("expected in this test") }, async |()| {});
        assert_eq!(started.unwrap_err().to_string(), "the thread has ended");
    }
}
