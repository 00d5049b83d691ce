//! Advice for blocks that have no counterpart.

pub(super) const LVS: &str =
    "xvrrp does not balance load; use ipvsadm(8), keepalived without a vrrp_instance, or a proxy such as HAProxy";
pub(super) const BFD: &str =
    "there is no BFD; with adverts every 10 ms (advert_interval), a dead router is noticed within 36 ms";
const ROUTES: &str =
    "xvrrp does not manage permanent routes, rules and addresses; put them into the host's network configuration";
const DAEMON: &str = "this concerns the process itself; set it in the unit of the service";

/// Returns advice for a block, or for a directive outside any block.
pub(super) fn top_level(keyword: &str) -> &'static str {
    match keyword {
        "virtual_server" | "virtual_server_group" | "SSL" | "real_server" => LVS,
        "bfd_instance" => BFD,
        "static_ipaddress" | "static_routes" | "static_rules" | "track_group" => ROUTES,
        "net_namespace" => "start xvrrp with --netns NAME",
        "net_namespace_ipvs" | "namespace_with_ipsets" => LVS,
        "instance" | "use_pid_dir" | "child_wait_time" => DAEMON,
        "linkbeat_use_polling" | "linkbeat_interfaces" => "the kernel reports the carrier of an interface; remove it",
        "interface_up_down_delays" => "the loss of a carrier is a fault at once; remove it",
        "garp_group" => "announce_interval of each virtual router is the time between announcements; set that instead",
        _ => "keepalived has no such block; correct the keyword, or remove the block",
    }
}
