//! Labs of network namespaces: a switch, routers, a client and, if wanted, a server behind the routers.

mod netns;
mod segments;

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use xvrrp_common::units::IfIndex;

pub use netns::{Namespace, run, sweep};
pub use segments::{Segments, first_and_last};

use crate::{PATIENCE, eventually};

/// The virtual address on the client's side.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The virtual IPv6 address on the client's side.
pub const VIP_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The link-local address that a virtual router over IPv6 has in addition.
pub const LINK_LOCAL_VIP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x33);
/// The client's own address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The virtual address on the server's side.
pub const UPSTREAM_VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The server's own address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);

/// The interface that each host has on the client's side.
pub const INTERFACE: &str = "eth0";
/// The interface that routers and server have on the server's side.
pub const UPSTREAM: &str = "eth1";

/// Returns the index of an interface in the network namespace of the calling thread.
pub fn ifindex(interface: &str) -> Result<IfIndex> {
    let index = if_nametoindex(interface).with_context(|| format!("there is no interface {interface}"))?;
    Ok(IfIndex::new(index))
}

/// A lab. All of it is removed when this is dropped.
#[derive(Debug)]
pub struct Lab {
    switch: Namespace,
    /// The hosts of the routers, in the order of their addresses.
    pub routers: Vec<Namespace>,
    /// The host that uses the virtual addresses.
    pub client: Namespace,
    /// The host on the other side of the routers, if the lab has two segments.
    pub server: Option<Namespace>,
}

impl Lab {
    /// Creates one segment with this many routers and a client.
    pub fn new(routers: usize) -> Result<Self> {
        let switch = Namespace::new("switch")?;
        let client = Namespace::new("client")?;
        let lab = Self {
            routers: (0..routers).map(|index| Namespace::new(&format!("router{index}"))).collect::<Result<_>>()?,
            switch,
            client,
            server: None,
        };
        lab.bridge("br0")?;
        lab.plug_in(&lab.client, "client", INTERFACE, "br0", CLIENT)?;
        for (index, router) in lab.routers.iter().enumerate() {
            lab.plug_in(router, &Self::port(index), INTERFACE, "br0", Self::address(index))?;
            // Packets may arrive on an interface by which the kernel would not reach their source.
            router.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
            router.sysctl("net.ipv4.conf.default.rp_filter", "0")?;
        }
        lab.wait_for_links(INTERFACE)?;
        Ok(lab)
    }

    /// Does the same as [`Self::new`], with IPv6 too: the first router has fe80::2 and 2001:db8::2, the client fe80::64
    /// and 2001:db8::64.
    pub fn with_ipv6(routers: usize) -> Result<Self> {
        let lab = Self::new(routers)?;
        let hosts = lab.routers.iter().enumerate().map(|(index, router)| (router, host_number(index)));
        for (host, number) in hosts.chain([(&lab.client, 0x64)]) {
            // The kernel generates no address, and ours need no duplicate address detection.
            host.sysctl(&format!("net.ipv6.conf.{INTERFACE}.addr_gen_mode"), "1")?;
            host.sysctl("net.ipv6.conf.all.disable_ipv6", "0")?;
            for network in ["fe80", "2001:db8"] {
                host.ip(&format!("addr add {network}::{number:x}/64 dev {INTERFACE} nodad"))?;
            }
        }
        Ok(lab)
    }

    /// Does the same as [`Self::new`], with a second segment behind the routers, to which they forward, and a server on
    /// it.
    pub fn with_upstream(routers: usize) -> Result<Self> {
        let mut lab = Self::new(routers)?;
        lab.bridge("br1")?;
        for (index, router) in lab.routers.iter().enumerate() {
            lab.plug_in(router, &format!("u{index}"), UPSTREAM, "br1", Self::upstream_address(index))?;
            router.sysctl("net.ipv4.ip_forward", "1")?;
            router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
        }
        let server = Namespace::new("server")?;
        lab.plug_in(&server, "server", UPSTREAM, "br1", SERVER)?;
        server.ip(&format!("route add default via {UPSTREAM_VIP}"))?;
        lab.client.ip(&format!("route add default via {VIP}"))?;
        lab.server = Some(server);
        lab.wait_for_links(UPSTREAM)?;
        Ok(lab)
    }

    /// Does the same as [`Self::new`], with a second interface on each router. Its cable connects to no other host.
    pub fn with_second_interfaces(routers: usize) -> Result<Self> {
        let lab = Self::new(routers)?;
        for (index, router) in lab.routers.iter().enumerate() {
            let port = Self::second_port(index);
            lab.switch.ip(&format!("link add {port} type veth peer name {UPSTREAM} netns {}", router.name()))?;
            lab.switch.ip(&format!("link set {port} up"))?;
            router.ip(&format!("addr add {}/24 dev {UPSTREAM}", Self::upstream_address(index)))?;
            router.ip(&format!("link set {UPSTREAM} up"))?;
        }
        lab.wait_for_links(UPSTREAM)?;
        Ok(lab)
    }

    /// Returns a router's own address on the client's side: 192.0.2.2 for the first.
    pub fn address(router: usize) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, host_number(router))
    }

    /// Returns a router's own address on the server's side.
    pub fn upstream_address(router: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, host_number(router))
    }

    /// Returns the name of the switch port of a router on the client's side.
    pub fn port(router: usize) -> String {
        format!("p{router}")
    }

    /// Returns the name of the other end of a router's second interface, which is in the switch but on none of its
    /// bridges.
    pub fn second_port(router: usize) -> String {
        format!("s{router}")
    }

    /// Pulls the router's cable out of the switch, so that neither end has a carrier.
    pub fn pull(&self, router: usize) -> Result<()> {
        self.switch.ip(&format!("link set {} down", Self::port(router))).map(drop)
    }

    /// Undoes [`Self::pull`].
    pub fn plug(&self, router: usize) -> Result<()> {
        self.switch.ip(&format!("link set {} up", Self::port(router))).map(drop)
    }

    /// Takes the router's switch port off the bridge. The router keeps its carrier.
    pub fn isolate(&self, router: usize) -> Result<()> {
        self.switch.ip(&format!("link set {} nomaster", Self::port(router))).map(drop)
    }

    /// Undoes [`Self::isolate`].
    pub fn rejoin(&self, router: usize) -> Result<()> {
        self.switch.ip(&format!("link set {} master br0", Self::port(router))).map(drop)
    }

    /// Returns the switch, which sees the traffic between all hosts.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    fn bridge(&self, name: &str) -> Result<()> {
        self.switch.ip(&format!("link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
        self.switch.ip(&format!("link set {name} up")).map(drop)
    }

    fn plug_in(&self, host: &Namespace, port: &str, interface: &str, bridge: &str, address: Ipv4Addr) -> Result<()> {
        let switch = &self.switch;
        switch.ip(&format!("link add {port} type veth peer name {interface} netns {}", host.name()))?;
        switch.ip(&format!("link set {port} master {bridge} up"))?;
        host.ip(&format!("addr add {address}/24 dev {interface}"))?;
        host.ip(&format!("link set {interface} up")).map(drop)
    }

    /// Waits until the interface is up on all hosts that have it: the kernel notices a carrier a moment later.
    fn wait_for_links(&self, interface: &str) -> Result<()> {
        let hosts = self.routers.iter().chain([&self.client]).chain(&self.server);
        for host in hosts {
            // The client and the server are on one side each and lack the other interface.
            eventually(&format!("{interface} of {} is up", host.name()), PATIENCE, || {
                let links = host.ip("-o link show")?;
                let link = links.lines().find(|line| line.contains(&format!(": {interface}@")));
                ensure!(link.is_none_or(|link| link.contains(" state UP ")), "{links}");
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn host_number(router: usize) -> u8 {
    u8::try_from(router + 2).expect("a lab has a handful of routers")
}
