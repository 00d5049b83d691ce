//! The kernel cannot reclaim the memory that holds the agent's code.

use std::io;

use anyhow::{Result, ensure};
use nix::libc;
use xvrrp_lab::memory::{Mapping, mappings};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

/// Makes the kernel reclaim all memory of the process that it can, as if memory were short.
fn page_out(pid: u32) -> Result<()> {
    // SAFETY: pidfd_open(2) takes no pointers.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    ensure!(process >= 0, "{}", io::Error::last_os_error());
    for mapping in mappings(pid)?.iter().filter(|mapping| !mapping.file.starts_with("[v")) {
        let range = libc::iovec { iov_base: mapping.start as *mut libc::c_void, iov_len: mapping.length };
        // The kernel skips memory that is locked.
        // SAFETY: the kernel reads one iovec. The addresses in it belong to the other process, whose memory keeps its
        // content.
        unsafe { libc::syscall(libc::SYS_process_madvise, process, &raw const range, 1, libc::MADV_PAGEOUT, 0) };
    }
    // SAFETY: this function has opened the descriptor, and nothing else uses it.
    unsafe { libc::close(i32::try_from(process)?) };
    Ok(())
}

#[test]
fn the_agents_code_stays_in_memory_when_the_kernel_reclaims_memory() -> Result<()> {
    let lab = Lab::new(1)?;
    // The agent runs from a copy of its own, because the kernel does not reclaim pages that other agents use too.
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("xvrrp").display().to_string();
    let wrapper = ["sh", "-c", &format!("cp \"$0\" {copy} && exec {copy} \"$@\"")];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &wrapper, "")?;
    agent.wait_for_state("lan", "active")?;
    // The agent locks its memory only after its first adverts.
    eventually("the code stays in memory", PATIENCE, || {
        page_out(agent.daemon.pid())?;
        let mut code = mappings(agent.daemon.pid())?;
        code.retain(|mapping| mapping.file == copy && !mapping.permissions.contains('w'));
        ensure!(code.iter().any(|mapping| mapping.permissions.contains('x')), "no code");
        for Mapping { length, resident, permissions, .. } in &code {
            ensure!(resident == length, "{resident} of {length} bytes ({permissions}) are in memory");
        }
        Ok(())
    })?;
    ensure!(agent.stop()?.success());
    Ok(())
}
