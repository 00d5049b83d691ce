//! Queries and detaches a pinned BPF link by bpf(2), because aya does neither for a link that it did not create.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use xvrrp_common::units::IfIndex;

/// A link that was opened at its pin.
#[derive(Debug)]
pub struct LinkProbe(OwnedFd);

/// A command of bpf(2), with the part of `union bpf_attr` that it reads.
pub(super) trait BpfCommand {
    const NUMBER: libc::c_long;
}

#[repr(C)]
struct ObjectGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

impl BpfCommand for ObjectGet {
    /// `BPF_OBJ_GET`
    const NUMBER: libc::c_long = 7;
}

#[repr(C)]
struct ObjectPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

impl BpfCommand for ObjectPin {
    /// `BPF_OBJ_PIN`
    const NUMBER: libc::c_long = 6;
}

#[repr(C)]
struct InfoByFd {
    bpf_fd: i32,
    info_len: u32,
    info: u64,
}

impl BpfCommand for InfoByFd {
    /// `BPF_OBJ_GET_INFO_BY_FD`
    const NUMBER: libc::c_long = 15;
}

#[repr(C)]
struct LinkDetach {
    link_fd: i32,
}

impl BpfCommand for LinkDetach {
    /// `BPF_LINK_DETACH`
    const NUMBER: libc::c_long = 34;
}

/// The part of `struct bpf_link_info` that links of XDP and TCX have.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 27],
}

impl LinkProbe {
    /// Opens a link at its pin.
    ///
    /// # Errors
    /// Nothing is pinned there.
    pub fn open(pin: &Path) -> io::Result<Self> {
        get(pin).map(Self)
    }

    /// Detaches the program from its interface at once. The pin stays.
    ///
    /// # Errors
    /// The pinned object is not a link, or the kernel does not detach it.
    pub fn detach(&self) -> io::Result<()> {
        bpf(&LinkDetach { link_fd: self.0.as_raw_fd() }).map(drop)
    }

    /// Returns the interface that the program is attached to, or `None` if somebody has detached it by hand or the
    /// interface is gone. Waits for the kernel's network lock.
    pub fn ifindex(&self) -> Option<IfIndex> {
        let mut info = LinkInfo::default();
        let answered = bpf(&InfoByFd {
            bpf_fd: self.0.as_raw_fd(),
            info_len: u32::try_from(size_of_val(&info)).unwrap_or_default(),
            info: (&raw mut info) as u64,
        });
        (answered.is_ok() && info.ifindex != 0).then_some(IfIndex::new(info.ifindex))
    }

    /// Pins the link again. The pin at which it was opened may be gone.
    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(&self.0, path)
    }

    /// Returns whether the program is attached to any interface.
    pub fn is_attached(&self) -> bool {
        self.ifindex().is_some()
    }
}

/// Opens the object that is pinned at this path.
pub(super) fn get(pin: &Path) -> io::Result<OwnedFd> {
    let path = path_of(pin)?;
    let fd = bpf(&ObjectGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 })?;
    // SAFETY: the kernel has just opened this descriptor, so it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a map or link at a path that does not exist yet.
pub(super) fn pin(object: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = path_of(path)?;
    let bpf_fd = u32::try_from(object.as_raw_fd()).map_err(io::Error::other)?;
    bpf(&ObjectPin { pathname: path.as_ptr() as u64, bpf_fd, file_flags: 0 }).map(drop)
}

fn path_of(pin: &Path) -> io::Result<CString> {
    CString::new(pin.as_os_str().as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

pub(super) fn bpf<C: BpfCommand>(command: &C) -> io::Result<i32> {
    // SAFETY: the attributes are those of the command. They and what they point to outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, C::NUMBER, std::ptr::from_ref(command), size_of::<C>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}
