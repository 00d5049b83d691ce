//! Advice for directives without a counterpart.

pub(super) const LVS: &str =
    "xvrrp does not balance load; use ipvsadm(8), keepalived without a vrrp_instance, or a proxy such as HAProxy";
pub(super) const BFD: &str =
    "there is no BFD; with adverts every 10 ms (advert_interval), a dead router is noticed within 36 ms";
pub(super) const CARRIER: &str = "the kernel reports the carrier of an interface";
pub(super) const OWNER: &str = "it counts only at priority 255, which becomes 254";
pub(super) const SYNC_DAEMON: &str =
    "no synchronization daemon is started: it sends the connections of virtual servers, which xvrrp does not have";
