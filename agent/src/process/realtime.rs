//! Keeps a thread ahead of ordinary load: real-time scheduling, and memory that is not swapped out.

use std::io;
#[cfg(target_env = "gnu")]
use std::{ptr, slice};

/// Schedules the calling thread with `SCHED_FIFO` at `priority` (1 to 99). Threads and processes that it starts get
/// ordinary scheduling. Needs `CAP_SYS_NICE`.
///
/// # Errors
/// The error of sched_setscheduler(2): `EPERM` without the capability, `EINVAL` for another priority.
pub fn schedule_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the pointer is to a value that outlives the call; thread 0 is the calling one.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns to the system the memory and code pages that only the start needed, some megabytes, and locks every page
/// that the process touches from then on. To be called at the end of the start. Needs `CAP_IPC_LOCK` or a sufficient
/// `RLIMIT_MEMLOCK`.
///
/// # Errors
/// The error of mlockall(2): `EPERM` or `ENOMEM` without the capability.
pub fn settle_memory() -> io::Result<()> {
    // SAFETY: malloc_trim(3) takes no pointers; the callback needs no data.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
        libc::dl_iterate_phdr(Some(release_code), ptr::null_mut());
    }
    // MCL_ONFAULT: without it each thread's whole stack would be made resident at once.
    // SAFETY: mlockall(2) takes no pointers.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Drops the code pages of the program itself, which is the first object that the dynamic loader reports. Pages that
/// are needed again are read from the file.
#[cfg(target_env = "gnu")]
unsafe extern "C" fn release_code(
    program: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: sysconf(3) has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page) = u64::try_from(page).ok().filter(|page| page.is_power_of_two()) else { return 1 };
    // SAFETY: the dynamic loader hands over a description that is valid during the call, with that many headers.
    let (base, headers) = unsafe {
        let program = &*program;
        (program.dlpi_addr, slice::from_raw_parts(program.dlpi_phdr, program.dlpi_phnum.into()))
    };
    // The loader writes relocations into writable segments only, although it may have write-protected these since.
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        // Segments share no pages. The alignment of a segment may be larger than what it got.
        let start = base + header.p_vaddr;
        let aligned = start & !(page - 1);
        if let (Ok(at), Ok(length)) = (usize::try_from(aligned), usize::try_from(start + header.p_memsz - aligned)) {
            // SAFETY: a private mapping of a file that was never written to.
            unsafe { libc::madvise(ptr::without_provenance_mut(at), length, libc::MADV_DONTNEED) };
        }
    }
    // Ends the iteration before the libraries.
    1
}
