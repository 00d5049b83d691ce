//! XDP and TC programs of a few instructions, for measurements. They are not part of the product, so they are written
//! here as BPF instructions and loaded without aya, which only loads objects.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

use xvrrp_lab::Namespace;

/// Commands, types and flags from linux/bpf.h and linux/if_link.h: `BPF_PROG_LOAD` and those below it.
const PROG_LOAD: libc::c_int = 5;
const PROG_TEST_RUN: libc::c_int = 10;
const LINK_CREATE: libc::c_int = 28;
const TYPE_CLASSIFIER: u32 = 3;
const TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const ATTACH_EGRESS: u32 = 47;
const GENERIC_MODE: u32 = 1 << 1;
const DRIVER_MODE: u32 = 1 << 2;
const LIVE_FRAMES: u32 = 1 << 1;

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const TC_ACT_OK: i32 = 0;
/// The helpers `bpf_get_prandom_u32` and `bpf_redirect`.
const RANDOM: i32 = 7;
const REDIRECT: i32 = 23;

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Makes an instruction from its code, its destination and source registers, its offset and its immediate value.
const fn instruction(code: u8, [to, from]: [u8; 2], offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

const fn set(register: u8, value: i32) -> Instruction {
    instruction(0xb7, [register, 0], 0, value)
}

const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, [to, from], 0, 0)
}

const fn call(helper: i32) -> Instruction {
    instruction(0x85, [0, 0], 0, helper)
}

const EXIT: Instruction = instruction(0x95, [0, 0], 0, 0);

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`. The kernel treats missing fields as zero.
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
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// The start of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// A loaded program.
#[derive(Debug)]
pub struct BareProgram(OwnedFd);

impl BareProgram {
    /// Loads the smallest possible XDP program, which passes every frame.
    pub fn pass() -> Result<Self> {
        Self::load(TYPE_XDP, &[set(0, XDP_PASS), EXIT])
    }

    /// Loads an XDP program that drops every frame.
    pub fn discard() -> Result<Self> {
        Self::load(TYPE_XDP, &[set(0, XDP_DROP), EXIT])
    }

    /// Loads the smallest possible TC program, which accepts every packet.
    pub fn accept() -> Result<Self> {
        Self::load(TYPE_CLASSIFIER, &[set(0, TC_ACT_OK), EXIT])
    }

    /// Loads a program that overwrites each frame with this one and sends it out of an interface. At each place in
    /// `vary`, it writes a number whose bits are random where `mask` has ones, with the bits of `others` set.
    fn sending(frame: &[u8], vary: &Variation, ifindex: u32) -> Result<Self> {
        let length = i32::try_from(frame.len())?;
        // Register 7 points to the frame.
        let mut program = vec![
            instruction(0x61, [7, 1], 0, 0),
            instruction(0x61, [2, 1], 4, 0),
            copy(3, 7),
            instruction(0x07, [3, 0], 0, length),
        ];
        let mut written = Vec::new();
        for (offset, word) in (0..).step_by(8).zip(frame.chunks_exact(8)) {
            let [low, high] = [&word[..4], &word[4..]].map(|half| half.try_into().map(i32::from_ne_bytes));
            // A value of eight bytes takes two instructions.
            written.extend([instruction(0x18, [2, 0], 0, low?), instruction(0, [0, 0], 0, high?)]);
            written.push(instruction(0x7b, [7, 2], offset, 0));
        }
        if !vary.places.is_empty() {
            written.extend([call(RANDOM), instruction(0x57, [0, 0], 0, vary.mask.into())]);
            written.push(instruction(0x47, [0, 0], 0, vary.others.into()));
            for &place in vary.places {
                written.push(instruction(0x6b, [7, 0], place, 0));
            }
        }
        written.extend([set(1, i32::try_from(ifindex)?), set(2, 0), call(REDIRECT), EXIT]);
        // A shorter frame was not injected by us, and is dropped.
        program.push(instruction(0x2d, [3, 2], i16::try_from(written.len())?, 0));
        program.extend(written);
        program.extend([set(0, XDP_DROP), EXIT]);
        Self::load(TYPE_XDP, &program)
    }

    fn load(program_type: u32, program: &[Instruction]) -> Result<Self> {
        let mut attributes = Load {
            program_type,
            instruction_count: u32::try_from(program.len())?,
            instructions: address(program.as_ptr())?,
            license: address(c"MIT".as_ptr())?,
        };
        // SAFETY: the instructions and the license outlive the call.
        let fd = unsafe { bpf(PROG_LOAD, &mut attributes) }.context("cannot load a bare program")?;
        // SAFETY: `fd` was just opened, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns the program's file descriptor, to attach it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Measures the average time for one run of the program, in nanoseconds.
    pub fn nanoseconds(&self, frame: &[u8], repeat: u32) -> Result<u64> {
        self.run(frame, repeat, 0)
    }

    fn run(&self, frame: &[u8], repeat: u32, flags: u32) -> Result<u64> {
        let mut attributes = Run {
            program: u32::try_from(self.0.as_raw_fd())?,
            size_in: u32::try_from(frame.len())?,
            data_in: address(frame.as_ptr())?,
            repeat,
            flags,
            ..Run::default()
        };
        // SAFETY: the frame outlives the call, and there is no output buffer.
        unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
        Ok(attributes.duration.into())
    }
}

/// Attaches an XDP program in driver mode. Dropping the returned descriptor detaches it.
pub fn attach(program: BorrowedFd, host: &Namespace, interface: &str) -> Result<OwnedFd> {
    link(program, host, interface, [ATTACH_XDP, DRIVER_MODE]).context("cannot attach an XDP program in driver mode")
}

/// Attaches a TC program for packets that leave (TCX). Dropping the returned descriptor detaches it.
pub fn attach_egress(program: BorrowedFd, host: &Namespace, interface: &str) -> Result<OwnedFd> {
    link(program, host, interface, [ATTACH_EGRESS, 0]).context("cannot attach a TC program (TCX, Linux 6.6)")
}

fn link(program: BorrowedFd, host: &Namespace, interface: &str, [attach_type, flags]: [u32; 2]) -> Result<OwnedFd> {
    let program = u32::try_from(program.as_raw_fd())?;
    host.run(|| {
        let mut attributes = Link { program, ifindex: if_nametoindex(interface)?, attach_type, flags };
        // SAFETY: the attributes contain no address.
        let fd = unsafe { bpf(LINK_CREATE, &mut attributes) }?;
        // SAFETY: `fd` was just opened, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })?
}

/// Difference between injected frames: a number of two bytes in the byte order of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variation<'a> {
    /// Offsets from the beginning of the frame, all of which get the same number.
    pub places: &'a [i16],
    /// Bits that are random.
    pub mask: u16,
    /// Bits that are always set.
    pub others: u16,
}

/// Injects frames that the kernel makes and hands to an interface's driver itself (live frames of `BPF_PROG_TEST_RUN`).
///
/// No frame needs a system call or a socket buffer of its own, so this is as close to a card's interrupt as a virtual
/// cable gets. If a program is attached to the other end in driver mode, that end receives the frames in its driver's
/// poll, on the processor that runs the injector.
#[derive(Debug)]
pub struct Injector<'a> {
    host: &'a Namespace,
    frame: Vec<u8>,
    program: BareProgram,
    /// Link of the program to the loopback interface, on which no frame arrives. A running XDP program has an entry in
    /// the kernel's table of direct calls. A program that is not attached gets and loses that entry with each test run,
    /// and each time the kernel waits for all processors.
    _known: OwnedFd,
}

impl<'a> Injector<'a> {
    /// Makes an injector of this frame, padded, which leaves by an interface.
    pub fn new(host: &'a Namespace, interface: &str, frame: &[u8], vary: Variation) -> Result<Self> {
        let mut frame = frame.to_vec();
        frame.resize(frame.len().max(64).next_multiple_of(8), 0);
        let ifindex = host.run(|| if_nametoindex(interface))??;
        let program = BareProgram::sending(&frame, &vary, ifindex)?;
        let known = link(program.fd(), host, "lo", [ATTACH_XDP, GENERIC_MODE])?;
        Ok(Self { host, program, frame, _known: known })
    }

    pub fn send(&self, frames: u32) -> Result<()> {
        let sent = self.host.run(|| self.program.run(&self.frame, frames, LIVE_FRAMES))?;
        sent.map(drop).context("cannot inject frames")
    }
}

fn address<T>(pointer: *const T) -> Result<u64> {
    Ok(u64::try_from(pointer.addr())?)
}

/// Makes the system call bpf(2).
///
/// # Safety
/// Addresses in the attributes must be valid for what the command does with them.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: pointer and size describe `attributes`. The caller guarantees that the addresses in it are valid.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
