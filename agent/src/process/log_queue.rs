//! The lines of the log that wait for its thread.
//!
//! A separate thread writes the log, so that a slow reader delays nothing. When the process becomes another program,
//! that thread ends. Lines that still wait are lost, usually including the reason for the change.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How many bytes have been handed to the thread and not been written yet.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// How often to look whether all are written.
const LOOK: Duration = Duration::from_millis(1);

/// Hands lines to the thread.
#[derive(Clone, Debug)]
pub struct Sender<W>(pub W);

/// Writes lines on the thread.
#[derive(Debug)]
pub struct Receiver<W>(pub W);

impl<W: Write> Write for Sender<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Counted before it can be written.
        WAITING.fetch_add(line.len(), Ordering::Relaxed);
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Write for Receiver<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.0.write(line)?;
        WAITING.fetch_sub(written, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Waits until everything is written that was logged before. Returns false if that takes longer than `patience`: the
/// log's reader is slow, or lines were dropped because too many waited.
pub async fn drain(patience: Duration) -> bool {
    let drained = async {
        while WAITING.load(Ordering::Relaxed) > 0 {
            sleep(LOOK).await;
        }
    };
    timeout(patience, drained).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unwritten_lines_are_waited_for_until_a_deadline() {
        let line = b"a line\n";
        let (mut queue, mut written) = (Sender(Vec::new()), Receiver(Vec::new()));
        queue.write_all(line).unwrap();
        assert!(!drain(Duration::from_millis(20)).await);
        written.write_all(line).unwrap();
        assert!(drain(Duration::from_secs(20)).await);
        assert_eq!((queue.0, written.0), (line.to_vec(), line.to_vec()));
    }
}
