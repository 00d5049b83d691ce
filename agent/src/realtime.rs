//! Puts a thread ahead of ordinary load: real-time scheduling and memory that is not swapped out.

use std::io;

/// Asks for `SCHED_FIFO` at `priority` for the calling thread; its children start with ordinary scheduling again.
/// Needs `CAP_SYS_NICE`.
pub fn schedule_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the pointer is to a value that outlives the call; thread 0 is the calling one.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives back to the system what the start has used and nothing uses any more: some megabytes. To be done before
/// [`lock_memory`], as locked memory stays.
pub fn release_memory() {
    // SAFETY: malloc_trim(3) takes no pointers.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps every page that the process touches in memory from then on. Needs `CAP_IPC_LOCK` or a sufficient
/// `RLIMIT_MEMLOCK`.
pub fn lock_memory() -> io::Result<()> {
    // MCL_ONFAULT: without it each thread's whole stack would be made resident at once.
    // SAFETY: mlockall(2) takes no pointers.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
