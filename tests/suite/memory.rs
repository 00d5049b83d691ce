//! The code of an agent stays in memory, however much the kernel wants it back.

use std::io;

use anyhow::{Result, ensure};
use nix::libc;
use xvrrp_lab::memory::{Mapping, mappings};
use xvrrp_lab::{Lab, VirtualRouter, Xvrrp};

/// Has the kernel take back all memory of the process that it can, as it would if memory were short.
fn page_out(pid: u32) -> Result<()> {
    // SAFETY: pidfd_open(2) takes no pointers.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    ensure!(process >= 0, "{}", io::Error::last_os_error());
    for mapping in mappings(pid)?.iter().filter(|mapping| !mapping.file.starts_with("[v")) {
        let range = libc::iovec { iov_base: mapping.start as *mut libc::c_void, iov_len: mapping.length };
        // The kernel refuses memory that is locked.
        // SAFETY: the kernel reads one iovec; its addresses are the other process's, whose memory keeps its content.
        unsafe { libc::syscall(libc::SYS_process_madvise, process, &raw const range, 1, libc::MADV_PAGEOUT, 0) };
    }
    // SAFETY: the descriptor is this function's.
    unsafe { libc::close(i32::try_from(process)?) };
    Ok(())
}

#[test]
fn the_agents_code_stays_in_memory_when_the_kernel_wants_it_back() -> Result<()> {
    let lab = Lab::new(1)?;
    // A copy: the kernel leaves pages alone that other agents use too.
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("xvrrp").display().to_string();
    let wrapper = ["sh", "-c", &format!("cp \"$0\" {copy} && exec {copy} \"$@\"")];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    page_out(agent.daemon.pid())?;
    let code: Vec<Mapping> = mappings(agent.daemon.pid())?
        .into_iter()
        .filter(|mapping| mapping.file == copy && !mapping.permissions.contains('w'))
        .collect();
    ensure!(code.iter().any(|mapping| mapping.permissions.contains('x')), "no code");
    for Mapping { length, resident, permissions, .. } in &code {
        ensure!(resident == length, "{resident} of {length} bytes ({permissions}) are in memory");
    }
    ensure!(agent.stop()?.success());
    Ok(())
}
