//! Advice for directives without a counterpart.

pub(super) const LVS: &str =
    "xvrrp does not balance load; use ipvsadm(8), keepalived without a vrrp_instance, or a proxy such as HAProxy";
pub(super) const BFD: &str =
    "there is no BFD; with adverts every 10 ms (advert_interval), a dead router is noticed within 36 ms";
pub(super) const CARRIER: &str = "the kernel reports the carrier of an interface";
pub(super) const OWNER: &str = "it counts only at priority 255, which becomes 254";
pub(super) const ANNOUNCE_INTERVAL: &str =
    "announce_interval of each virtual router is the time between announcements; set that instead";
