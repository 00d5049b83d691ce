//! The protocol in virtual time: the state machine rule by rule, on segments that lose adverts, in every state that it can
//! reach, and in elections that are recorded.

mod conformance;
mod golden;
mod model;
mod segment;
