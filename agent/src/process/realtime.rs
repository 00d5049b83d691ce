//! Puts a thread ahead of ordinary load: real-time scheduling and memory that is not swapped out.

use std::io;
#[cfg(target_env = "gnu")]
use std::{ptr, slice};

/// Asks for `SCHED_FIFO` at `priority` for the calling thread; its children start with ordinary scheduling again.
/// Needs `CAP_SYS_NICE`.
pub fn schedule_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the pointer is to a value that outlives the call; thread 0 is the calling one.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// At the end of the start: gives back to the system what that has used, some megabytes of memory and of code, and keeps
/// every page that the process touches from then on. Needs `CAP_IPC_LOCK` or a sufficient `RLIMIT_MEMLOCK`.
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

/// Of the program itself, which comes first: the code of the start goes. Whatever is wanted again comes back from the file.
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
    // What the loader has written to, relocations, is in writable segments, even where it has write-protected it since.
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        // A segment has its pages for itself; its alignment may ask for more than it was given.
        let start = base + header.p_vaddr;
        let aligned = start & !(page - 1);
        if let (Ok(at), Ok(length)) = (usize::try_from(aligned), usize::try_from(start + header.p_memsz - aligned)) {
            // SAFETY: a private mapping of a file that was never written to.
            unsafe { libc::madvise(ptr::without_provenance_mut(at), length, libc::MADV_DONTNEED) };
        }
    }
    // No library.
    1
}
