//! The maps of the election and the look-ups in them. The agent sets their sizes when it loads them.

use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use aya_log_ebpf::error;
use xvrrp_common::abi::{
    self, Address, Checked, Counter, Counters, Heard, MapKey, RouterKey, Settings, SlotEntry, SourceKey, Stamp, VipKey,
};
use xvrrp_common::units::Family;

use crate::router::RouterView;

/// Size of a map in the object. The agent replaces it when it loads the maps.
const PLACEHOLDER: u32 = 1;
/// Size of the ring buffer, which holds more than a thousand events. The agent misses one only if it sleeps through
/// that many changes.
const EVENTS_BYTES: u32 = 1 << 17;

#[map]
static ROUTERS: HashMap<RouterKey, u32> = HashMap::with_max_entries(PLACEHOLDER, 0);
#[map]
static VIPS: HashMap<VipKey, Checked> = HashMap::with_max_entries(PLACEHOLDER, 0);
#[map]
static ALLOWED_SOURCES: HashMap<SourceKey, Checked> = HashMap::with_max_entries(PLACEHOLDER, 0);
#[map]
static HEARD: Array<Heard> = Array::with_max_entries(PLACEHOLDER, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<SlotEntry> = Array::with_max_entries(PLACEHOLDER, BPF_F_MMAPABLE);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(PLACEHOLDER, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static STAMP: Array<Stamp> = Array::with_max_entries(1, 0);

/// An index into [`COUNTERS`].
#[derive(Clone, Copy)]
pub struct CounterIndex(u32);

impl CounterIndex {
    /// Index for frames that belong to no virtual router of ours.
    pub const NO_ROUTER: Self = Self(0);

    #[inline(always)]
    pub fn of(router: &RouterView) -> Self {
        Self(router.slot().wrapping_add(1))
    }
}

/// A key on the stack, written eight bytes at a time. The kernel reads keys eight or four bytes at a time. If a key
/// were written in smaller pieces, the processor could not forward them from its store buffer and would wait some
/// nanoseconds at each look-up.
#[repr(C, align(8))]
struct InWords<K>(MaybeUninit<K>);

impl<K: MapKey> InWords<K> {
    const WORDS: usize = {
        let words = size_of::<K>() / size_of::<u64>();
        assert!(words * size_of::<u64>() == size_of::<K>(), "a key in whole words");
        words
    };

    #[inline(always)]
    fn new(key: K) -> Self {
        let mut written = Self(MaybeUninit::uninit());
        for word in 0..Self::WORDS {
            // SAFETY: both consist of `WORDS` words without padding, and `written` is aligned for them. The write is
            // volatile because the compiler would otherwise write the pieces that the key is composed of.
            unsafe {
                let word_of_key = ptr::read_unaligned((&raw const key).cast::<u64>().add(word));
                ptr::write_volatile((&raw mut written).cast::<u64>().add(word), word_of_key);
            }
        }
        written
    }

    #[inline(always)]
    fn key(&self) -> &K {
        // SAFETY: `new` has initialized every byte.
        unsafe { self.0.assume_init_ref() }
    }

    #[inline(always)]
    fn word(&self, word: usize) -> u64 {
        // SAFETY: as above, and the key consists of aligned words.
        unsafe { ptr::read((&raw const self.0).cast::<u64>().add(word)) }
    }

    /// Returns the value that was found for this key, or `None` if the kernel has reused the element for another key.
    #[inline(always)]
    fn check(&self, found: Option<*const Checked>) -> Option<u32> {
        const { assert!(Self::WORDS == 3) };
        // SAFETY: the element lies within the map, which exists for as long as the program runs. The read is volatile
        // because the element may be reused at any time.
        let Checked { value, digest } = Checked::from_word(unsafe { ptr::read_volatile(found?.cast::<u64>()) });
        (digest == abi::digest([self.word(0), self.word(1), self.word(2)])).then_some(value)
    }
}

#[inline(always)]
pub fn count(index: CounterIndex, counter: Counter) {
    let Some(counters) = COUNTERS.get_ptr_mut(index.0) else {
        return;
    };
    // SAFETY: the map holds `Counters`, and only one program at a time writes this CPU's copy: XDP and TC programs do
    // not interrupt each other.
    if let Some(count) = unsafe { &mut *counters }.0.get_mut(counter as usize) {
        *count += 1;
    }
}

/// Reports that the agent has given a virtual router a slot beyond the end of the maps, which is a bug in the agent.
/// Counts each occurrence, but logs only the first one on each CPU, so that packets cannot flood the log.
#[inline(never)]
pub fn report_missing_slot(slot: u32) {
    let index = CounterIndex::NO_ROUTER;
    let Some(counters) = COUNTERS.get_ptr(index.0) else {
        return;
    };
    // SAFETY: as in `count`.
    let earlier = unsafe { &*counters }.0.get(Counter::MissingSlot as usize).copied();
    count(index, Counter::MissingSlot);
    if earlier == Some(0) {
        error!((), "no entry for slot {} of a virtual router", slot);
    }
}

#[inline(always)]
pub fn router(key: RouterKey) -> Option<RouterView> {
    let found = ROUTERS.get_ptr(InWords::new(key).key())?;
    // SAFETY: the element lies within the map, which exists for as long as the program runs. The read is volatile
    // because the element may be reused at any time.
    let slot = unsafe { ptr::read_volatile(found) };
    let Some(router) = router_in(slot) else {
        report_missing_slot(slot);
        return None;
    };
    (router.key() == key).then_some(router)
}

/// Returns the virtual router that has the slot.
#[inline(always)]
fn router_in(slot: u32) -> Option<RouterView> {
    Some(RouterView::new(SLOTS.get_ptr_mut(slot)?, slot))
}

/// Finds the virtual router on this interface that an address belongs to. It may be in the other family.
#[inline(always)]
pub fn router_of_vip(ifindex: u32, vlan: u16, family: Family, address: Address) -> Option<RouterView> {
    let router = router_of_vip_on(ifindex, vlan, family, address)?;
    let is_here = RouterKey { family: 0, vrid: 0, ..router.key() } == RouterKey { ifindex, vlan, family: 0, vrid: 0 };
    is_here.then_some(router)
}

/// Finds the virtual router on another interface that an address of this interface belongs to.
#[inline(always)]
pub fn router_of_vip_from_elsewhere(ifindex: u32, vlan: u16, family: Family, address: Address) -> Option<RouterView> {
    router_of_vip_on(ifindex, vlan, family, address).filter(|router| router.key().ifindex != ifindex)
}

/// Finds the virtual router that an address of this interface belongs to.
#[inline(always)]
fn router_of_vip_on(ifindex: u32, vlan: u16, family: Family, address: Address) -> Option<RouterView> {
    let key = InWords::new(VipKey { ifindex, vlan, family: family as u8, reserved: 0, address });
    router_in(key.check(VIPS.get_ptr(key.key()))?)
}

/// Finds the `nth` of the virtual routers on any interface that have an address, counted from 0.
#[inline(always)]
pub fn router_of_vip_anywhere(family: Family, address: Address, nth: u16) -> Option<RouterView> {
    let key = InWords::new(VipKey::anywhere(family as u8, address, nth));
    let router = router_in(key.check(VIPS.get_ptr(key.key()))?)?;
    (router.key().ifindex != 0).then_some(router)
}

/// Returns the minimum TTL or hop limit of adverts from an allowed source, or `None` if the source is not allowed.
#[inline(always)]
pub fn allowed_source(router: RouterKey, address: Address) -> Option<u8> {
    let key = InWords::new(SourceKey { router, address });
    u8::try_from(key.check(ALLOWED_SOURCES.get_ptr(key.key()))?).ok()
}

#[inline(always)]
pub fn heard(router: &RouterView) -> Option<*mut Heard> {
    HEARD.get_ptr_mut(router.slot())
}

#[inline(always)]
pub fn settings() -> Option<*mut Settings> {
    SETTINGS.get_ptr_mut(0)
}

/// Returns whether some virtual router has no virtual MAC.
#[inline(always)]
pub fn look_up_destinations() -> bool {
    // SAFETY: the field lies within an entry of the map. The read is volatile because the agent may write it at any
    // time.
    settings().is_some_and(|it| unsafe { ptr::read_volatile(&raw const (*it).look_up_destinations) } != 0)
}

/// Notifies the agent. Returns false if the ring buffer is full.
#[inline(always)]
pub fn notify<T: 'static>(event: T) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        return false;
    };
    entry.write(event);
    entry.submit(0);
    true
}
