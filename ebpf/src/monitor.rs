//! Copies frames to a ring buffer of their own while somebody watches them with `xvrrp monitor`.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, xdp_md};
use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, RingBuf};
use aya_ebpf::programs::XdpContext;
use xvrrp_common::abi::{CapturedFrame, Counter, Monitored};

use crate::clock;
use crate::cursor::Frame;

/// Size of the ring buffer, which holds a few hundred frames. The agent empties it many times a second while somebody
/// watches.
const MONITOR_BYTES: u32 = 1 << 18;

/// Constant that user space knows as `abi::constant::CAN_SHOW`.
#[unsafe(no_mangle)]
static CAN_SHOW: Global<u32> = Global::new(0);

#[map]
static MONITOR: RingBuf = RingBuf::with_byte_size(MONITOR_BYTES, 0);
#[map]
static MONITORED: Array<Monitored> = Array::with_max_entries(1, 0);

/// Copies the frame for `xvrrp monitor` if anybody watches, with the counter that it was counted under.
#[inline(always)]
pub fn show(frame: &Frame, counter: Counter) {
    if MONITORED.get(0).is_some_and(|monitored| monitored.wanted != 0) {
        show_to_monitor(frame.context().ctx, counter as u32);
    }
}

/// Copies the frame straight to the ring buffer, because the stack has no room for it. This is not inlined, so that it
/// has a stack frame of its own.
#[inline(never)]
fn show_to_monitor(context: *mut xdp_md, counter: u32) {
    // If the kernel lacks the helper, the verifier treats the rest as dead code.
    if CAN_SHOW.load() == 0 {
        return;
    }
    let Some(mut entry) = MONITOR.reserve::<CapturedFrame>(0) else {
        if let Some(monitored) = MONITORED.get_ptr_mut(0) {
            // SAFETY: the entry lies within the map, which exists for as long as the program runs. If two CPUs count at
            // once, one of the counts may be lost.
            unsafe { (*monitored).lost += 1 };
        }
        return;
    };
    let context = XdpContext::new(context);
    let frame = Frame::new(&context);
    let (length, copy) = (frame.length(), entry.as_mut_ptr());
    // No frame has length 0. The verifier does not know that, so the arithmetic excludes 0 from the result.
    let max = CapturedFrame::MAX_CAPTURED;
    let captured = if length > max { max } else { (length.wrapping_sub(1) & (max - 1)) + 1 };
    // SAFETY: the entry is ours until it is submitted, and it has room for `captured` bytes. The rest keeps its old
    // content, which nobody reads.
    unsafe {
        (*copy).at = clock::now();
        (*copy).ifindex = frame.ifindex();
        (*copy).counter = counter;
        (*copy).length = length;
        (*copy).captured = captured;
        bpf_xdp_load_bytes(context.ctx, 0, (&raw mut (*copy).bytes).cast(), captured);
    }
    // The agent polls, so it need not be woken.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}
