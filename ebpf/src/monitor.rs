//! `xvrrp monitor`: copies frames to a ring buffer of their own while somebody watches.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, xdp_md};
use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, RingBuf};
use aya_ebpf::programs::XdpContext;
use xvrrp_common::abi::{Counter, Monitored, Sighting};

use crate::clock;
use crate::cursor::Frame;

/// Room for some hundred frames, which the agent fetches many times a second while somebody watches.
const MONITOR_BYTES: u32 = 1 << 18;

/// Named `abi::constant::CAN_SHOW` for user space.
#[unsafe(no_mangle)]
static CAN_SHOW: Global<u32> = Global::new(0);

#[map]
static MONITOR: RingBuf = RingBuf::with_byte_size(MONITOR_BYTES, 0);
#[map]
static MONITORED: Array<Monitored> = Array::with_max_entries(1, 0);

/// Copies the frame for `xvrrp monitor`, with the reason for which it was counted, if anybody watches.
#[inline(always)]
pub fn show(frame: &Frame, counter: Counter) {
    if MONITORED.get(0).is_some_and(|monitored| monitored.wanted != 0) {
        show_to_monitor(frame.context().ctx, counter as u32);
    }
}

/// Copies the frame. A function of its own, which writes straight to the ring buffer: the stack has no room for it.
#[inline(never)]
fn show_to_monitor(context: *mut xdp_md, counter: u32) {
    // The verifier skips what follows where the kernel lacks the helper.
    if CAN_SHOW.load() == 0 {
        return;
    }
    let Some(mut entry) = MONITOR.reserve::<Sighting>(0) else {
        if let Some(monitored) = MONITORED.get_ptr_mut(0) {
            // SAFETY: an entry of the map, which is there as long as the program runs. Two CPUs at once may count one.
            unsafe { (*monitored).lost += 1 };
        }
        return;
    };
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    let (length, sighting) = (frame.length(), entry.as_mut_ptr());
    // A length of 0, which no frame has, would become another one: else the verifier could not tell.
    let most = Sighting::MOST_CAPTURED;
    let captured = if length > most { most } else { (length.wrapping_sub(1) & (most - 1)) + 1 };
    // SAFETY: the entry is ours until it is submitted, and has room for so many bytes. What is not written to it is what was
    // there before, which nobody looks at.
    unsafe {
        (*sighting).at = clock::now();
        (*sighting).ifindex = frame.ifindex();
        (*sighting).counter = counter;
        (*sighting).length = length;
        (*sighting).captured = captured;
        bpf_xdp_load_bytes(context.ctx, 0, (&raw mut (*sighting).bytes).cast(), captured);
    }
    // The agent polls.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}
