//! Tests of the state machine against the rules of RFC 9568 (version 2: RFC 3768), in virtual time.

mod active;
mod backup;
mod bench;
mod handover;
mod initialize;
mod interface;
mod keeping;
mod lateness;
mod lease;
mod options;
mod pair;
mod preempt_delay;
mod since;
mod sync_group;
mod timers;
mod tracking;
mod two_gateways;
mod words;
