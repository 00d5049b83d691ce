//! Keeps a thread ahead of ordinary load: real-time scheduling, and memory that is not swapped out.

use std::{io, ptr, slice};

/// Schedules the calling thread with `SCHED_FIFO` at `priority` (1 to 99). Threads and processes that it starts get
/// ordinary scheduling. Needs `CAP_SYS_NICE`.
///
/// # Errors
/// sched_setscheduler(2) fails: with `EPERM` without the capability, with `EINVAL` for another priority.
pub fn schedule_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the pointer is to a value that outlives the call; thread 0 is the calling one.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Schedules the calling thread behind an election of this priority and ahead of ordinary load, as far as there is a
/// priority between the two. Where that is not permitted, the thread stays as it is: the election reports that for all
/// threads.
pub fn schedule_behind_election(election_priority: u8) {
    let _ = election_priority.checked_sub(1).filter(|priority| *priority > 0).map(schedule_fifo);
}

/// Gives the calling thread a larger share of the processor until this is dropped. Real-time scheduling would be too
/// much for work that takes tenths of a second of processor time, because the kernel also forwards packets in a thread
/// with ordinary scheduling.
#[derive(Debug)]
pub struct Haste {
    /// Nice value that the thread had before.
    nice: libc::c_int,
}

impl Haste {
    /// Nice value meanwhile: nine times the share of a thread with 0 (sched(7)).
    const NICE: libc::c_int = -10;

    /// Returns `None` if the election has ordinary scheduling, if the thread has a larger share or another policy, or
    /// without `CAP_SYS_NICE`. Threads and processes that are started meanwhile have the nice value 0.
    pub fn begin(election_priority: u8) -> Option<Self> {
        // SAFETY: these calls take no pointers; thread 0 is the calling one.
        let (policy, nice) = unsafe { (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0)) };
        if election_priority == 0 || policy != libc::SCHED_OTHER || nice <= Self::NICE {
            return None;
        }
        set_ordinary(libc::SCHED_RESET_ON_FORK).ok()?;
        set_nice(Self::NICE).ok()?;
        Some(Self { nice })
    }
}

impl Drop for Haste {
    fn drop(&mut self) {
        // Neither fails for a thread that was permitted to begin.
        let _ = set_nice(self.nice);
        let _ = set_ordinary(0);
    }
}

fn set_ordinary(flags: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a value that outlives the call; thread 0 is the calling one.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | flags, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_nice(nice: libc::c_int) -> io::Result<()> {
    // SAFETY: setpriority(2) takes no pointers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps in memory whatever the process uses from now on, above all the program's code. A takeover must not wait until
/// the kernel has read a page from a disk. Needs `CAP_IPC_LOCK` or a sufficient `RLIMIT_MEMLOCK`.
///
/// # Errors
/// The memory cannot be locked. The agent works without that, but a takeover may be late while memory is short.
pub fn lock_memory() -> io::Result<()> {
    // MCL_ONFAULT: without it each thread's whole stack would be made resident at once.
    // SAFETY: mlockall(2) takes no pointers.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the callback needs no data.
    unsafe { libc::dl_iterate_phdr(Some(read_code), ptr::null_mut()) };
    Ok(())
}

/// Touches the stack and the heap that a thread may need for a takeover, so that the kernel need not find pages for it
/// then.
#[allow(clippy::large_stack_arrays, reason = "it is there to be large")]
pub fn touch_memory() {
    // More than any call of ours takes, and less than what makes malloc(3) return memory to the kernel.
    const STACK: usize = 128 << 10;
    const HEAP: usize = 96 << 10;
    std::hint::black_box(&mut [1_u8; STACK]);
    std::hint::black_box(&mut vec![1_u8; HEAP]);
}

/// Reads the code and the constants of the program, or of a library, into memory.
unsafe extern "C" fn read_code(object: *mut libc::dl_phdr_info, _: libc::size_t, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: sysconf(3) has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(page) = u64::try_from(page).ok().filter(|page| page.is_power_of_two()) else { return 1 };
    // SAFETY: the dynamic loader hands over a description that is valid during the call, with that many headers.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        // Segments share no pages. The alignment of a segment may be larger than what it got.
        let start = base + header.p_vaddr;
        let aligned = start & !(page - 1);
        if let (Ok(at), Ok(length)) = (usize::try_from(aligned), usize::try_from(start + header.p_memsz - aligned)) {
            // Where the kernel cannot (before Linux 5.14), pages come as they are used, as they would anyway.
            // SAFETY: reads a mapping that the loader has made.
            unsafe { libc::madvise(ptr::without_provenance_mut(at), length, libc::MADV_POPULATE_READ) };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn nice() -> libc::c_int {
        // SAFETY: getpriority(2) takes no pointers; 0 is the calling thread.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn haste_ends_with_its_guard_and_is_not_inherited() {
        thread::spawn(|| {
            let before = nice();
            let Some(haste) = Haste::begin(50) else { return };
            assert_eq!(nice(), Haste::NICE);
            assert_eq!(thread::spawn(nice).join().unwrap(), 0);
            drop(haste);
            assert_eq!(nice(), before);
            assert_eq!(thread::spawn(nice).join().unwrap(), before);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn there_is_no_haste_if_the_election_has_ordinary_scheduling() {
        assert!(Haste::begin(0).is_none());
    }
}
