//! The least that an XDP program can be: `return XDP_PASS`. It is no part of the product, so it is written here, in BPF
//! instructions, and loaded without aya, which loads objects only.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::Result;

/// `BPF_PROG_LOAD`, `BPF_PROG_TEST_RUN` and `BPF_PROG_TYPE_XDP` of linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const TYPE_XDP: u32 = 6;

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is missing for zero.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The start of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    return_value: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// The loaded program.
#[derive(Debug)]
pub struct BarePass(OwnedFd);

impl BarePass {
    pub fn load() -> Result<Self> {
        let program = [
            // r0 = XDP_PASS
            Instruction { code: 0xb7, registers: 0, offset: 0, immediate: 2 },
            // exit
            Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
        ];
        let mut attributes = Load {
            program_type: TYPE_XDP,
            instruction_count: u32::try_from(program.len())?,
            instructions: address(program.as_ptr())?,
            license: address(c"MIT".as_ptr())?,
        };
        // SAFETY: the instructions and the license outlive the call.
        let fd = unsafe { bpf(PROG_LOAD, &mut attributes) }?;
        // SAFETY: `fd` was just opened and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// How long the program takes on average, in nanoseconds.
    pub fn nanoseconds(&self, frame: &[u8], repeat: u32) -> Result<u64> {
        let mut attributes = Run {
            program: u32::try_from(self.0.as_raw_fd())?,
            size_in: u32::try_from(frame.len())?,
            data_in: address(frame.as_ptr())?,
            repeat,
            ..Run::default()
        };
        // SAFETY: the frame outlives the call, and no output is asked for.
        unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
        Ok(attributes.duration.into())
    }
}

fn address<T>(pointer: *const T) -> Result<u64> {
    Ok(u64::try_from(pointer.addr())?)
}

/// # Safety
///
/// Addresses in the attributes must be valid for what the command does with them.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: pointer and size describe `attributes`; the caller answers for the addresses in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
