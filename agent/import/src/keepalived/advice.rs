//! What to do about blocks that have no counterpart.

pub(super) const LVS: &str =
    "xvrrp balances no load; leave LVS to ipvsadm(8), keepalived without a vrrp_instance, or a proxy such as HAProxy";
pub(super) const BFD: &str = "there is no BFD: adverts every 10 ms find a dead router within 36 ms (advert_interval)";
const ROUTES: &str = "routes, rules and addresses that stay are the host's; put them into its network configuration";
const DAEMON: &str = "it is the daemon's business; say it in the unit of the service";

/// Of a block, or a directive outside of blocks.
pub(super) fn top_level(keyword: &str) -> &'static str {
    match keyword {
        "virtual_server" | "virtual_server_group" | "SSL" | "real_server" => LVS,
        "bfd_instance" => BFD,
        "static_ipaddress" | "static_routes" | "static_rules" | "track_group" => ROUTES,
        "net_namespace" => "start xvrrp with --netns NAME",
        "net_namespace_ipvs" | "namespace_with_ipsets" => LVS,
        "instance" | "use_pid_dir" | "child_wait_time" => DAEMON,
        "linkbeat_use_polling" | "linkbeat_interfaces" => "the kernel tells of an interface's carrier; remove it",
        "interface_up_down_delays" => "a carrier's loss is a fault at once; remove it",
        "garp_group" => "the time between announcements is announce_interval, of each virtual router",
        _ => "keepalived has no such block; look what was meant",
    }
}
