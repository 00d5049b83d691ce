//! Two to five routers on a segment that loses, delays, duplicates and reorders adverts, in virtual time. Whatever
//! happens, one of them is Active in the end.

pub mod host;
mod lateness;
mod random;
mod scenario;
mod serving;
mod settling;
pub mod simulator;
