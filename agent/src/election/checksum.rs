//! Chooses the form of the checksum of our adverts with `checksum = "auto"` (RFC 9568 and RFC 5798 differ in 5.2.8).

use std::net::IpAddr;

use xvrrp_common::units::Instant;
use xvrrp_common::wire::vrrp::ChecksumForm;
use xvrrp_vrrp::Standing;

/// The relevant part of an advert of another router.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub form: ChecksumForm,
    pub source: IpAddr,
    pub received_at: Instant,
}

/// Learns the form from the routers that were Active before us. A peer that takes only one form ignores adverts in the
/// other one, and takes over beside us. So a single advert never changes the form, and neither does an advert that
/// loses against ours: anyone in the segment can send one, and it changes nothing else.
#[derive(Debug)]
pub(super) struct Form {
    sent: ChecksumForm,
    initial: ChecksumForm,
    /// The latest advert that counted since we were last Active.
    latest: Option<Sample>,
    /// Whether only adverts that keep us Backup count: such an advert was heard, or the others contradict each other.
    only_followed: bool,
}

impl Form {
    pub(super) fn new(initial: ChecksumForm) -> Self {
        Self { sent: initial, initial, latest: None, only_followed: false }
    }

    pub(super) fn sent(&self) -> ChecksumForm {
        self.sent
    }

    /// Records that we are Active: adverts from before and after that time are not in a row.
    pub(super) fn interrupt(&mut self) {
        self.latest = None;
    }

    /// Returns whether our adverts have another form from now on.
    pub(super) fn hear(&mut self, standing: Standing, sample: Sample) -> bool {
        match standing {
            Standing::Ignored => return false,
            // It can only confirm the form of a router that was heard before.
            Standing::Releases if self.latest.is_none_or(|before| before.source != sample.source) => return false,
            Standing::Releases => {}
            Standing::Lower if self.only_followed => return false,
            Standing::Lower => {}
            Standing::Followed if self.only_followed => {}
            Standing::Followed => {
                self.only_followed = true;
                self.latest = None;
            }
        }
        let Some(before) = self.latest else {
            self.latest = Some(sample);
            return false;
        };
        // The latest advert is read from the maps again and again.
        if sample.received_at <= before.received_at {
            return false;
        }
        self.latest = Some(sample);
        if standing == Standing::Lower && sample.form != before.form {
            self.only_followed = true;
            return self.send(self.initial);
        }
        sample.source == before.source && sample.form == before.form && self.send(sample.form)
    }

    fn send(&mut self, form: ChecksumForm) -> bool {
        std::mem::replace(&mut self.sent, form) != form
    }
}

#[cfg(test)]
mod tests {
    use ChecksumForm::{Plain, PseudoHeader};
    use Standing::{Followed, Ignored, Lower, Releases};

    use super::*;

    /// Handles adverts one after the other, each from 192.0.2.`last`, and returns the form that is sent after each.
    fn hear(form: &mut Form, adverts: &[(Standing, u8, ChecksumForm)]) -> Vec<ChecksumForm> {
        let start = form.latest.map_or(0, |sample| sample.received_at.as_nanos());
        let hear = |(at, &(standing, last, heard)): (u64, &(Standing, u8, ChecksumForm))| {
            let source = IpAddr::from([192, 0, 2, last]);
            let before = form.sent();
            let changed =
                form.hear(standing, Sample { form: heard, source, received_at: Instant::from_nanos(start + at) });
            assert_eq!(changed, form.sent() != before);
            form.sent()
        };
        (1..).zip(adverts).map(hear).collect()
    }

    #[test]
    fn the_second_advert_in_a_row_of_the_active_router_is_followed() {
        let mut form = Form::new(PseudoHeader);
        let adverts = [(Followed, 2, Plain), (Followed, 2, Plain), (Followed, 2, PseudoHeader), (Followed, 2, Plain)];
        assert_eq!(hear(&mut form, &adverts), [PseudoHeader, Plain, Plain, Plain]);
    }

    #[test]
    fn one_advert_of_each_of_two_routers_is_not_followed() {
        let mut form = Form::new(PseudoHeader);
        assert_eq!(hear(&mut form, &[(Followed, 2, Plain), (Followed, 3, Plain)]), [PseudoHeader; 2]);
    }

    #[test]
    fn the_same_advert_seen_twice_is_one_advert() {
        let mut form = Form::new(PseudoHeader);
        let sample = Sample { form: Plain, source: [192, 0, 2, 2].into(), received_at: Instant::from_nanos(1) };
        assert!(!form.hear(Followed, sample));
        assert!(!form.hear(Followed, sample));
        assert_eq!(form.sent(), PseudoHeader);
    }

    #[test]
    fn adverts_that_lose_are_not_followed_however_many_there_are() {
        let mut form = Form::new(PseudoHeader);
        assert_eq!(hear(&mut form, &[(Ignored, 2, Plain); 5]), [PseudoHeader; 5]);
    }

    #[test]
    fn an_active_router_that_gives_up_its_role_confirms_its_form_and_nobody_elses() {
        let mut form = Form::new(PseudoHeader);
        assert_eq!(hear(&mut form, &[(Releases, 2, Plain), (Releases, 2, Plain)]), [PseudoHeader; 2]);
        let adverts = [(Followed, 2, Plain), (Releases, 3, Plain), (Releases, 2, Plain)];
        assert_eq!(hear(&mut form, &adverts), [PseudoHeader, PseudoHeader, Plain]);
    }

    #[test]
    fn two_adverts_with_our_time_as_active_between_them_are_not_in_a_row() {
        let mut form = Form::new(PseudoHeader);
        hear(&mut form, &[(Followed, 2, Plain)]);
        form.interrupt();
        assert_eq!(hear(&mut form, &[(Followed, 2, Plain)]), [PseudoHeader]);
    }

    #[test]
    fn a_worse_active_router_is_followed_before_we_take_over_from_it() {
        let mut form = Form::new(PseudoHeader);
        assert_eq!(hear(&mut form, &[(Lower, 2, Plain), (Lower, 2, Plain)]), [PseudoHeader, Plain]);
    }

    #[test]
    fn worse_routers_that_contradict_each_other_leave_the_form_as_it_was_at_the_start() {
        let mut form = Form::new(PseudoHeader);
        let adverts =
            [(Lower, 2, Plain), (Lower, 2, Plain), (Lower, 3, PseudoHeader), (Lower, 2, Plain), (Lower, 2, Plain)];
        assert_eq!(hear(&mut form, &adverts), [PseudoHeader, Plain, PseudoHeader, PseudoHeader, PseudoHeader]);
    }

    #[test]
    fn a_form_learned_from_the_active_router_is_kept_whatever_lower_priorities_send() {
        let mut form = Form::new(PseudoHeader);
        let adverts = [(Lower, 9, Plain), (Followed, 2, PseudoHeader), (Lower, 9, Plain), (Lower, 9, Plain)];
        assert_eq!(hear(&mut form, &adverts), [PseudoHeader; 4]);
    }
}
