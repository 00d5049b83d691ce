//! Two to five routers on a segment that loses, delays, duplicates and reorders adverts, in virtual time: whatever
//! happens, they settle on one Active.

pub mod host;
mod lateness;
mod random;
mod scenario;
mod serving;
mod settling;
pub mod simulator;
