//! Parses entries in the words of ip(8): `default via 192.0.2.254 dev eth1 table 100`.
//!
//! Every keyword of `ip route add`, `ip rule add` and `ip address add` is known, under all names that ip(8) and
//! keepalived have for it, but not by an abbreviation. Whatever could be read in two ways is an error: a keyword that
//! is given twice, and a number with a leading zero.

mod address;
mod names;
mod number;
mod route;
mod rule;
mod words;

pub use self::names::HostNames;

pub(super) use self::address::parse as parse_address;
pub(super) use self::route::parse as parse_route;
pub(super) use self::rule::parse as parse_rule;
