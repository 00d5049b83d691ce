//! A BPF link, detached by hand.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};

/// Detaches a pinned link, as `bpftool link detach pinned PATH` does: the pin stays.
pub fn detach_link(pin: &Path) -> Result<()> {
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_LINK_DETACH: libc::c_long = 34;
    let path = CString::new(pin.as_os_str().as_encoded_bytes())?;
    let (number, _link) = {
        let attributes = [path.as_ptr() as u64, 0];
        let number = bpf(BPF_OBJ_GET, &attributes).with_context(|| format!("cannot open {}", pin.display()))?;
        let number = i32::try_from(number)?;
        // SAFETY: a descriptor that was just opened and belongs to nobody else.
        (number, unsafe { OwnedFd::from_raw_fd(number) })
    };
    bpf(BPF_LINK_DETACH, &[u64::try_from(number)?, 0]).with_context(|| format!("cannot detach {}", pin.display()))?;
    Ok(())
}

/// bpf(2); `attributes` are as the command wants them.
fn bpf(command: libc::c_long, attributes: &[u64; 2]) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are those of the command, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
