//! Runs the kernel half on single frames and collects everything that results from each. Nothing is attached: the
//! kernel runs the loaded programs by `BPF_PROG_TEST_RUN`, as if the frame had arrived on the loopback interface.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use aya::programs::{Program, TestRun, TestRunOptions};
use xvrrp_common::abi::{
    Address, AdvertEvent, ConflictEvent, Counter, Counters, FAMILY_IPV4, FAMILY_IPV6, Heard, Lease, Router, RouterKey,
    SourceKey, VipKey, ipv4_address, program,
};
use xvrrp_common::units::{Interval, MacAddress, Version, Vrid};
use xvrrp_common::wire::vrrp::IpAddress;
use xvrrp_dataplane::{Attachments, Capacity, CounterReader, Dataplane, Events, KernelEvent, Monitor, Slot, Tables};

use crate::turns::{self, Share};

/// Index of the loopback interface in every network namespace.
pub const IFINDEX: u32 = 1;
/// Capacity of the maps, in virtual routers.
const ROUTERS: u32 = 8;

/// What the program decided about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// XDP_PASS: the network stack gets the frame.
    Pass,
    /// XDP_DROP.
    Drop,
    /// XDP_TX: the frame is sent back on the interface.
    Transmit,
}

/// Everything that resulted from a frame.
#[derive(Debug)]
pub struct Outcome {
    /// Decision of the program.
    pub verdict: Verdict,
    /// The frame as the program has left it.
    pub frame: Vec<u8>,
    /// The counters that were incremented, each with the index at which [`CounterReader`] reads it.
    pub counted: Vec<(u32, Counter)>,
    /// Adverts that the ring buffer has reported.
    pub events: Vec<AdvertEvent>,
    /// Claims of a virtual address that the ring buffer has reported.
    pub claims: Vec<ConflictEvent>,
}

/// Returns the virtual router that most tests use: version 3, priority 100, an interval of one second, with a virtual
/// MAC, Accept_Mode and Preempt_Mode, on a host with the address 192.0.2.3. Tests change the fields that matter to
/// them.
pub fn router(role: u8) -> Router {
    Router {
        primary: ipv4_address([192, 0, 2, 3]),
        auth_data: [0; 8],
        advert_interval: Interval::from_seconds(1).as_nanos(),
        slot: 0,
        role,
        flags: Router::VIRTUAL_MAC | Router::ACCEPT | Router::PREEMPT,
        priority: 100,
        version: Version::V3 as u8,
        checksum: Router::CHECKSUM_AUTO,
        auth_type: 0,
        term: 0,
        tolerated: 0,
        answer_mac: virtual_mac().0,
        interface_mac: [2, 0, 0, 0, 0, 3],
    }
}

/// Returns the virtual MAC of [`router`], whose VRID is 51.
pub fn virtual_mac() -> MacAddress {
    MacAddress::virtual_ipv4(Vrid::new(51).expect("not zero"))
}

/// Returns the same virtual router over IPv6, on a host with the address fe80::3.
pub fn router_ipv6(role: u8) -> Router {
    let mut primary = [0; 16];
    (primary[0], primary[1], primary[15]) = (0xfe, 0x80, 3);
    Router { primary, answer_mac: virtual_mac_ipv6().0, ..router(role) }
}

/// Returns the virtual MAC of [`router_ipv6`], whose VRID is 51.
pub fn virtual_mac_ipv6() -> MacAddress {
    MacAddress::virtual_ipv6(Vrid::new(51).expect("not zero"))
}

/// Returns the key of a virtual router over IPv6 on [`IFINDEX`]. `vlan` is 0 without a tag.
pub fn key_ipv6(vrid: u8, vlan: u16) -> RouterKey {
    RouterKey { family: FAMILY_IPV6, ..key(vrid, vlan) }
}

/// Returns the key of a virtual router over IPv4 on [`IFINDEX`]. `vlan` is 0 without a tag.
pub fn key(vrid: u8, vlan: u16) -> RouterKey {
    RouterKey { ifindex: IFINDEX, vlan, family: FAMILY_IPV4, vrid }
}

/// The loaded kernel half.
#[derive(Debug)]
pub struct KernelHalf {
    attachments: Attachments,
    tables: Tables,
    counters: CounterReader,
    events: Events,
    /// Capacity of the maps, in virtual routers.
    routers: u32,
    /// Slots of the virtual routers whose addresses may be on this host.
    active: BTreeSet<Slot>,
    _share: Share,
}

impl KernelHalf {
    /// Loads the programs, with room for as many virtual routers as most tests need.
    pub fn load() -> Result<Self> {
        Self::with_room(ROUTERS)
    }

    /// Loads the programs, with room for this many virtual routers and for at least twice as many addresses.
    pub fn with_room(routers: u32) -> Result<Self> {
        let share = turns::share();
        let Dataplane { attachments, mut tables } =
            Dataplane::load(Capacity { routers, vips: 2 * routers.max(16), sources: 4 })?;
        let (counters, events) = (tables.take_counters()?, tables.take_events()?);
        Ok(Self { counters, events, attachments, tables, routers, active: BTreeSet::new(), _share: share })
    }

    /// Loads the programs and adds one virtual router: VRID 51 on no VLAN, with the address 192.0.2.1.
    pub fn with(router: Router) -> Result<Self> {
        let mut kernel = Self::load()?;
        kernel.add(key(51, 0), router, [192, 0, 2, 1])?;
        Ok(kernel)
    }

    /// Adds a virtual router with one address.
    pub fn add(&mut self, key: RouterKey, router: Router, address: impl IpAddress) -> Result<()> {
        self.set(key, router)?;
        let address = address.widen();
        let vip = VipKey { ifindex: key.ifindex, vlan: key.vlan, family: key.family, reserved: 0, address };
        let slot = Slot::new(router.slot);
        self.tables.add_vip(vip, slot)?;
        Ok(self.tables.add_vip(VipKey::anywhere(key.family, address, 0), slot)?)
    }

    /// Adds an address of the other family to a virtual router.
    pub fn add_of_other_family(&mut self, key: RouterKey, slot: u32, address: Address) -> Result<()> {
        let family = if key.family == FAMILY_IPV4 { FAMILY_IPV6 } else { FAMILY_IPV4 };
        let vip = VipKey { ifindex: key.ifindex, vlan: key.vlan, family, reserved: 0, address };
        self.tables.add_vip(vip, Slot::new(slot))?;
        Ok(self.tables.add_vip(VipKey::anywhere(family, address, 0), Slot::new(slot))?)
    }

    /// Writes the entry of a virtual router. Its lease then never ends until [`Self::set_lease`] sets an end. A virtual
    /// router that retires gets no lease.
    pub fn set(&mut self, key: RouterKey, router: Router) -> Result<()> {
        let retires = router.flags & Router::RETIRES != 0;
        let slot = Slot::new(router.slot);
        self.tables.set_lease(slot, if retires { Lease::ENDED } else { Lease::UNLIMITED });
        self.tables.set_router(key, &router)?;
        if router.role == Router::ROLE_ACTIVE || retires {
            self.active.insert(slot);
        } else {
            self.active.remove(&slot);
        }
        self.renew_lease_of_all();
        Ok(())
    }

    /// Renews the lease of all, as the election does after every change.
    fn renew_lease_of_all(&self) {
        self.tables.renew_lease_of_all(xvrrp::process::clock::now(), self.active.iter().copied());
    }

    /// Sets the end of the lease of the virtual router in this slot.
    pub fn set_lease(&mut self, slot: u32, until: u64) {
        self.tables.set_lease(Slot::new(slot), until);
        self.renew_lease_of_all();
    }

    /// Returns the end of a lease in nanoseconds of `CLOCK_BOOTTIME`.
    pub fn lease(&self, slot: u32) -> u64 {
        self.tables.lease(Slot::new(slot))
    }

    /// Allows a source of adverts, with this minimum TTL or hop limit.
    pub fn allow_source(&mut self, router: RouterKey, source: impl IpAddress, min_ttl: u8) -> Result<()> {
        Ok(self.tables.allow_source(SourceKey { router, address: source.widen() }, min_ttl)?)
    }

    /// Returns what the kernel half has stored about the latest advert.
    pub fn heard(&self, slot: u32) -> Heard {
        self.tables.heard(Slot::new(slot))
    }

    /// Returns the sum of a counter over all CPUs.
    pub fn count(&self, index: u32, counter: Counter) -> Result<u64> {
        Ok(self.counters_at(index)?.0[counter as usize])
    }

    /// Runs the XDP program on a frame, as if it arrived on the interface of the virtual routers.
    pub fn receive(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run(program::INGRESS, frame)
    }

    /// Runs the fence on a frame, as if it arrived on an interface without a virtual router.
    pub fn receive_elsewhere(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run(program::FENCE, frame)
    }

    /// Adds an address to a virtual router that `nth` others have already.
    pub fn share(&mut self, key: RouterKey, slot: u32, address: impl IpAddress, nth: u16) -> Result<()> {
        Ok(self.tables.add_vip(VipKey::anywhere(key.family, address.widen(), nth), Slot::new(slot))?)
    }

    /// Returns the XDP program, for a caller that attaches it.
    pub fn ingress(&self) -> Result<BorrowedFd<'_>> {
        match self.attachments.program(program::INGRESS) {
            Some(Program::Xdp(program)) => Ok(program.fd()?.as_fd()),
            _ => bail!("no program {}", program::INGRESS),
        }
    }

    /// Returns the program for egress, for a caller that attaches it.
    pub fn egress(&self) -> Result<BorrowedFd<'_>> {
        match self.attachments.program(program::EGRESS) {
            Some(Program::SchedClassifier(program)) => Ok(program.fd()?.as_fd()),
            _ => bail!("no program {}", program::EGRESS),
        }
    }

    /// Takes the reader of captured frames. It can be taken once.
    pub fn take_monitor(&mut self) -> Result<Monitor> {
        Ok(self.attachments.take_monitor()?)
    }

    /// Runs `receive`, which can run frames through the XDP program, while another thread calls `rewrite` in a loop.
    /// Returns the result of `receive`.
    pub fn receive_while_rewriting<T>(
        &mut self,
        mut rewrite: impl FnMut(&mut Tables) -> Result<()> + Send,
        receive: impl FnOnce(&dyn Fn(&[u8]) -> Result<(Verdict, Vec<u8>)>) -> Result<T>,
    ) -> Result<T> {
        let Self { attachments, tables, .. } = self;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| -> Result<()> {
                while !done.load(Ordering::Relaxed) {
                    rewrite(tables)?;
                }
                Ok(())
            });
            let received = receive(&|frame| {
                let mut output = vec![0; frame.len() + 64];
                let result = test_run(attachments, program::INGRESS, frame, Some(&mut output), 1)?;
                output.truncate(usize::try_from(result.data_size_out)?);
                Ok((verdict(program::INGRESS, result.return_value)?, output))
            });
            done.store(true, Ordering::Relaxed);
            writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            received
        })
    }

    /// Runs the program for egress on a frame.
    pub fn send(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run(program::EGRESS, frame)
    }

    /// Returns the average time that the XDP program takes for the frame, in nanoseconds. Each run gets the frame as
    /// the previous run left it.
    pub fn nanoseconds(&self, frame: &[u8], repeat: u32) -> Result<u64> {
        self.nanoseconds_in(program::INGRESS, frame, repeat)
    }

    /// Returns the average time that the fence takes for the frame, in nanoseconds.
    pub fn nanoseconds_elsewhere(&self, frame: &[u8], repeat: u32) -> Result<u64> {
        self.nanoseconds_in(program::FENCE, frame, repeat)
    }

    fn nanoseconds_in(&self, name: &str, frame: &[u8], repeat: u32) -> Result<u64> {
        let result = self.test_run(name, frame, None, repeat)?;
        Ok(u64::try_from(result.duration.as_nanos())?)
    }

    fn run(&mut self, name: &str, frame: &[u8]) -> Result<Outcome> {
        let before = self.all_counters()?;
        let mut output = vec![0; frame.len() + 64];
        let result = self.test_run(name, frame, Some(&mut output), 1)?;
        output.truncate(usize::try_from(result.data_size_out)?);
        let after = self.all_counters()?;
        let (mut events, mut claims) = (Vec::new(), Vec::new());
        while let Some(reported) = self.events.next() {
            match reported {
                KernelEvent::Advert(event) => events.push(event),
                KernelEvent::Conflict(claim) => claims.push(claim),
            }
        }
        let mut counted = Vec::new();
        for (index, (before, after)) in (0_u32..).zip(before.iter().zip(&after)) {
            for (counter, (before, after)) in Counter::ALL.iter().zip(before.iter().zip(after)) {
                for _ in *before..*after {
                    counted.push((index, *counter));
                }
            }
        }
        Ok(Outcome { verdict: verdict(name, result.return_value)?, frame: output, counted, events, claims })
    }

    fn test_run(
        &self,
        name: &str,
        frame: &[u8],
        output: Option<&mut [u8]>,
        repeat: u32,
    ) -> Result<aya::programs::TestRunResult> {
        test_run(&self.attachments, name, frame, output, repeat)
    }

    fn all_counters(&self) -> Result<Vec<Vec<u64>>> {
        let counters = (0..=self.routers).map(|index| Ok(self.counters_at(index)?.0.to_vec()));
        counters.collect()
    }

    fn counters_at(&self, index: u32) -> Result<Counters> {
        Ok(match index.checked_sub(1) {
            Some(slot) => self.counters.of_router(Slot::new(slot))?,
            None => self.counters.of_no_router()?,
        })
    }
}

fn test_run(
    attachments: &Attachments,
    name: &str,
    frame: &[u8],
    output: Option<&mut [u8]>,
    repeat: u32,
) -> Result<aya::programs::TestRunResult> {
    let options = TestRunOptions { data_in: Some(frame), data_out: output, repeat, ..TestRunOptions::new() };
    let result = match attachments.program(name) {
        Some(Program::Xdp(program)) => program.test_run(options),
        Some(Program::SchedClassifier(program)) => program.test_run(options),
        _ => bail!("no program {name}"),
    };
    result.with_context(|| format!("test run of {name} with {} bytes", frame.len()))
}

/// Converts a return value: `XDP_*` of linux/bpf.h, or `TC_ACT_*` of linux/pkt_cls.h.
fn verdict(name: &str, value: u32) -> Result<Verdict> {
    match (name, value) {
        (program::INGRESS, 1) | (program::EGRESS | program::FENCE, 2) => Ok(Verdict::Drop),
        // TC_ACT_UNSPEC: the next program decides, if there is one.
        (program::INGRESS, 2) | (program::EGRESS, 0) | (program::FENCE, u32::MAX) => Ok(Verdict::Pass),
        (program::INGRESS, 3) => Ok(Verdict::Transmit),
        _ => bail!("{name} returned {value}"),
    }
}
