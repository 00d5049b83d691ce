//! The log of the kernel half, which reports only states that should never occur.

use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::DataplaneError;

/// Name of aya-log's ring buffer. It has the size of one page, which holds about ten lines, because lines are rare.
pub(super) const MAP: &str = "AYA_LOGS";

/// Copies the kernel half's log to the agent's log until the process ends.
pub(super) fn forward(ebpf: &mut Ebpf) -> Result<impl Future<Output = io::Result<()>> + Send + use<>, DataplaneError> {
    let logger = EbpfLogger::init(ebpf)?;
    Ok(async move {
        // SAFETY: the logger has one ring buffer, and so one descriptor, as long as it exists.
        let mut logger =
            unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }.map_err(io::Error::from)?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    })
}
