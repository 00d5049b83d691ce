//! Limits the rate of announcements: gratuitous ARP and unsolicited Neighbor Advertisements. Tens of thousands can be
//! due at once, and any host in the segment can provoke them by claiming our addresses.
//!
//! One round of the loop sends a bounded number, so that no deadline waits for them. Those of a takeover go first, as
//! fast as the rounds allow. All others share one budget for each interface. Announcements that exceed it are put off,
//! and the virtual routers take turns. Adverts are neither counted nor put off.

use std::collections::{BTreeMap, VecDeque};

use xvrrp_common::units::{IfIndex, Instant, Interval};

use super::frames::Portion;
use crate::identity::RouterIndex;

/// Maximum number of frames that one round sends: well under a millisecond of work.
const ROUND: usize = 256;
/// Maximum number of frames that one virtual router sends before it is the next one's turn.
pub(super) const TURN: usize = 32;
/// Maximum number of frames per second that an interface sends, apart from those of a takeover.
const RATE: u64 = 5_000;
/// How many frames an interface can save up or owe: as many as it may send in a second.
const MAX_SAVED: u64 = RATE;
/// How many announcements of each address may wait: as many as a takeover has. Without this, a host that keeps causing
/// them faster than they may be sent could make them last long after it is gone.
const MAX_REPEATS: usize = 60;
/// Price of a frame, in nanoseconds.
const COST: u64 = 1_000_000_000 / RATE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Clients do not know yet where the addresses are.
    Takeover,
    Routine,
}

/// The announcements of one virtual router that wait. They go through its addresses in order, again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owed {
    takeover: usize,
    routine: usize,
    /// Position of the address to announce next.
    next: usize,
    /// For each urgency, whether the virtual router is in [`Pace`]'s queue.
    queued: [bool; 2],
    /// Whether one of them could not be sent, which the state machine knows.
    failed: bool,
}

impl Owed {
    /// Announces all `count` addresses after a takeover, in place of everything that waits.
    pub(super) fn take_over(&mut self, count: usize) {
        (self.takeover, self.routine, self.next, self.failed) = (count, 0, 0, false);
    }

    /// Announces all addresses once more.
    pub(super) fn repeat(&mut self, count: usize) {
        self.routine = (self.routine + count).min(MAX_REPEATS * count);
        self.failed = false;
    }

    /// Announces all addresses, unless that waits already.
    pub(super) fn ensure(&mut self, count: usize) {
        self.routine = self.routine.max(count);
    }

    /// Drops everything that waits. The virtual router stays in the queues until its next turn.
    pub(super) fn clear(&mut self) {
        *self = Self { queued: self.queued, ..Self::default() };
    }

    pub(super) fn of(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Takeover => self.takeover,
            Urgency::Routine => self.routine,
        }
    }

    /// Returns how many announcements wait.
    pub(super) fn total(&self) -> usize {
        self.takeover + self.routine
    }

    /// Takes up to `frames` announcements of consecutive addresses. The virtual router has `count` addresses.
    pub(super) fn take(&mut self, urgency: Urgency, frames: usize, count: usize) -> Portion {
        let start = self.next;
        let taken = frames.min(self.of(urgency)).min(count.saturating_sub(start));
        match urgency {
            Urgency::Takeover => self.takeover -= taken,
            Urgency::Routine => self.routine -= taken,
        }
        self.next = if start + taken >= count { 0 } else { start + taken };
        Portion::new(start, taken)
    }

    /// Records that the virtual router has left that queue, because it is its turn.
    pub(super) fn leave_queue(&mut self, urgency: Urgency) {
        *self.queued(urgency) = false;
    }

    /// Returns the flag that says whether the virtual router is in that queue.
    fn queued(&mut self, urgency: Urgency) -> &mut bool {
        match urgency {
            Urgency::Takeover => &mut self.queued[0],
            Urgency::Routine => &mut self.queued[1],
        }
    }

    /// Records that an announcement could not be sent, and returns whether that is news.
    pub(super) fn fail(&mut self) -> bool {
        !std::mem::replace(&mut self.failed, true)
    }
}

/// What an interface may send, measured in time: it has paid for its frames until some moment in the past or future.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    paid_until: Instant,
}

impl Budget {
    fn grant(&mut self, wanted: usize, urgency: Urgency, now: Instant) -> usize {
        let max = Interval::from_nanos(MAX_SAVED * COST);
        self.paid_until = self.paid_until.max(now - max);
        let affordable = now.since(self.paid_until).as_nanos() / COST;
        let granted = match urgency {
            Urgency::Takeover => wanted,
            Urgency::Routine => wanted.min(usize::try_from(affordable).unwrap_or(usize::MAX)),
        };
        self.paid_until = (self.paid_until + price(granted)).min(now + max);
        granted
    }

    /// Returns when so many frames can be paid for.
    fn affords(&self, frames: usize) -> Instant {
        self.paid_until + price(frames)
    }
}

fn price(frames: usize) -> Interval {
    Interval::from_nanos(u64::try_from(frames).unwrap_or(u64::MAX).saturating_mul(COST))
}

/// The announcements of all virtual routers, by their numbers in the election.
#[derive(Debug)]
pub(super) struct Pace {
    budgets: BTreeMap<IfIndex, Budget>,
    left_in_round: usize,
    takeovers: VecDeque<RouterIndex>,
    routine: VecDeque<RouterIndex>,
}

impl Pace {
    /// Makes room for so many virtual routers.
    pub(super) fn new(count: usize) -> Self {
        let queue = || VecDeque::with_capacity(count);
        Self { budgets: BTreeMap::new(), left_in_round: ROUND, takeovers: queue(), routine: queue() }
    }

    pub(super) fn begin_round(&mut self) {
        self.left_in_round = ROUND;
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left_in_round == 0
    }

    /// Returns how many of the wanted frames the interface may send now, and counts them as sent.
    pub(super) fn grant(&mut self, ifindex: IfIndex, wanted: usize, urgency: Urgency, now: Instant) -> usize {
        let wanted = wanted.min(self.left_in_round);
        let granted = self.budgets.entry(ifindex).or_default().grant(wanted, urgency, now);
        self.left_in_round -= granted;
        granted
    }

    pub(super) fn affords(&self, ifindex: IfIndex, frames: usize) -> Instant {
        self.budgets.get(&ifindex).map_or(Instant::default(), |budget| budget.affords(frames))
    }

    /// Puts a virtual router into the queue for everything that it owes.
    pub(super) fn enqueue(&mut self, index: RouterIndex, owed: &mut Owed) {
        for urgency in [Urgency::Takeover, Urgency::Routine] {
            if owed.of(urgency) > 0 && !std::mem::replace(owed.queued(urgency), true) {
                self.queue(urgency).push_back(index);
            }
        }
    }

    pub(super) fn waiting(&self, urgency: Urgency) -> usize {
        match urgency {
            Urgency::Takeover => self.takeovers.len(),
            Urgency::Routine => self.routine.len(),
        }
    }

    /// Takes the virtual router whose turn it is from the queue. [`Self::enqueue`] puts it back.
    pub(super) fn next(&mut self, urgency: Urgency) -> Option<RouterIndex> {
        self.queue(urgency).pop_front()
    }

    fn queue(&mut self, urgency: Urgency) -> &mut VecDeque<RouterIndex> {
        match urgency {
            Urgency::Takeover => &mut self.takeovers,
            Urgency::Routine => &mut self.routine,
        }
    }
}

#[cfg(test)]
mod tests {
    use Urgency::{Routine, Takeover};

    use super::*;
    use crate::identity::PerRouter;

    const ETH0: IfIndex = IfIndex::new(2);
    const ETH1: IfIndex = IfIndex::new(3);

    fn at(milliseconds: u64) -> Instant {
        // Long after the clock's beginning, so that the budget is full.
        Instant::from_nanos(3_600_000_000_000 + milliseconds * 1_000_000)
    }

    /// Returns how many frames the interface may send at this moment if the number of rounds is unlimited.
    fn exhaust(pace: &mut Pace, ifindex: IfIndex, now: Instant) -> usize {
        let mut sum = 0;
        loop {
            pace.begin_round();
            match pace.grant(ifindex, usize::MAX, Routine, now) {
                0 => return sum,
                granted => sum += granted,
            }
        }
    }

    #[test]
    fn an_interface_sends_at_its_rate_plus_what_it_has_saved_and_no_more() {
        let mut pace = Pace::new(1);
        assert_eq!(exhaust(&mut pace, ETH0, at(0)), 5_000);
        assert_eq!(exhaust(&mut pace, ETH0, at(0)), 0);
        assert_eq!(exhaust(&mut pace, ETH0, at(100)), 500);
        assert_eq!(exhaust(&mut pace, ETH1, at(100)), 5_000, "another interface has a budget of its own");
        assert_eq!(pace.affords(ETH0, TURN), at(100) + price(TURN));
        assert_eq!(exhaust(&mut pace, ETH0, at(60_000)), 5_000);
    }

    #[test]
    fn the_size_of_a_round_is_limited_over_all_interfaces() {
        let mut pace = Pace::new(1);
        let sent = pace.grant(ETH0, 200, Takeover, at(0)) + pace.grant(ETH1, 200, Takeover, at(0));
        assert_eq!((sent, pace.is_spent()), (ROUND, true));
        pace.begin_round();
        assert_eq!(pace.grant(ETH1, 200, Routine, at(0)), 200);
    }

    #[test]
    fn a_takeover_waits_for_no_budget_and_holds_back_the_others_for_a_second_at_most() {
        let mut pace = Pace::new(1);
        for _ in 0..1000 {
            pace.begin_round();
            assert_eq!(pace.grant(ETH0, ROUND, Takeover, at(0)), ROUND);
        }
        assert_eq!(exhaust(&mut pace, ETH0, at(999)), 0);
        assert_eq!(exhaust(&mut pace, ETH0, at(1_100)), 500);
    }

    #[test]
    fn virtual_routers_take_turns_and_each_stands_in_a_queue_once() {
        let mut pace = Pace::new(2);
        let mut all: PerRouter<Owed> = [Owed::default(); 2].into_iter().collect();
        for (index, owed) in all.enumerate_mut() {
            owed.ensure(100);
            owed.ensure(100);
            pace.enqueue(index, owed);
            pace.enqueue(index, owed);
        }
        let mut turns = Vec::new();
        while let Some(index) = pace.next(Routine) {
            turns.push(index.get());
            let owed = all.get_mut(index).unwrap();
            owed.leave_queue(Routine);
            // A turn ends with the last address, and the next one starts with the first again.
            owed.take(Routine, TURN, 100);
            pace.enqueue(index, owed);
        }
        assert_eq!(turns, [0, 1, 0, 1, 0, 1, 0, 1]);
        assert!(all.iter().all(|owed| *owed == Owed::default()));
    }

    #[test]
    fn no_more_announcements_wait_than_a_takeover_may_have() {
        let mut owed = Owed::default();
        for _ in 0..1000 {
            owed.repeat(5);
        }
        assert_eq!(owed.total(), 5 * MAX_REPEATS);
    }

    #[test]
    fn addresses_are_announced_in_order_and_then_from_the_first_one_again() {
        let mut owed = Owed::default();
        owed.take_over(5);
        assert_eq!(owed.take(Takeover, 3, 5), Portion::new(0, 3));
        owed.ensure(5);
        assert_eq!(owed.take(Routine, 9, 5), Portion::new(3, 2));
        assert_eq!(owed.take(Takeover, 9, 5), Portion::new(0, 2));
        assert_eq!(owed.take(Routine, 9, 5), Portion::new(2, 3));
        assert_eq!((owed.of(Takeover), owed.of(Routine)), (0, 0));
    }
}
