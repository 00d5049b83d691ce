//! Tests of the protocol in virtual time: the rules of the state machine one by one, elections on segments that lose
//! adverts, a model of every reachable state, and recorded elections.

mod conformance;
mod golden;
mod model;
mod segment;
