//! Routers with many interfaces, and many virtual routers spread over them.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::{Lab, host_number};
use crate::VirtualRouter;

/// Virtual routers that are spread evenly over the interfaces `eth0`, `eth1` and so on of each router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Number of virtual routers, at most 255.
    pub routers: u8,
    /// Number of interfaces of each router.
    pub interfaces: u8,
}

impl Segments {
    /// Lists the interface and the VRID of each virtual router. No two have the same VRID.
    pub fn each(self) -> impl Iterator<Item = (u8, u8)> {
        (1..=self.routers).map(move |vrid| ((vrid - 1) % self.interfaces, vrid))
    }

    /// Returns the virtual address of a virtual router.
    pub const fn vip(interface: u8, vrid: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, interface, 64, vrid)
    }

    /// Returns the configuration of all virtual routers on one host. Their names are `r` and the VRID.
    pub fn configuration(self, priority: u8, interval: Duration) -> Vec<VirtualRouter> {
        let interval = format!("\"{}ms\"", interval.as_millis());
        let router = |(interface, vrid)| {
            VirtualRouter::lan(priority)
                .with("name", &format!("\"r{vrid}\""))
                .with("interface", &format!("\"eth{interface}\""))
                .with("vrid", &format!("{vrid}"))
                .with("advert_interval", &interval)
                .with("addresses", &format!("[\"{}/32\"]", Self::vip(interface, vrid)))
        };
        self.each().map(router).collect()
    }
}

/// Returns the first and the last of the elements, or the only one.
pub fn first_and_last<T: Copy + PartialEq>(all: &[T]) -> Vec<T> {
    let mut both: Vec<T> = all.first().into_iter().chain(all.last()).copied().collect();
    both.dedup();
    both
}

impl Lab {
    /// Does the same as [`Self::new`], with this many segments. Each of them has all routers and the client. The client
    /// has routes to the addresses of [`Segments::vip`] on each.
    pub fn with_segments(routers: usize, segments: u8) -> Result<Self> {
        let lab = Self::new(routers)?;
        lab.client.ip("route add 10.0.0.0/16 dev eth0")?;
        for segment in 1..segments {
            let (bridge, interface) = (format!("br{segment}"), format!("eth{segment}"));
            lab.bridge(&bridge)?;
            for (index, router) in lab.routers.iter().enumerate() {
                let address = Self::segment_address(segment, index);
                lab.plug_in(router, &Self::segment_port(segment, index), &interface, &bridge, address)?;
            }
            lab.plug_in(&lab.client, &format!("c{segment}"), &interface, &bridge, Ipv4Addr::new(10, segment, 0, 100))?;
            lab.client.ip(&format!("route add 10.{segment}.0.0/16 dev {interface}"))?;
        }
        for segment in 1..segments {
            lab.wait_for_links(&format!("eth{segment}"))?;
        }
        Ok(lab)
    }

    /// Returns a router's own address on a segment.
    pub fn segment_address(segment: u8, router: usize) -> Ipv4Addr {
        match segment {
            0 => Self::address(router),
            _ => Ipv4Addr::new(10, segment, 0, host_number(router)),
        }
    }

    /// Returns the name of the switch port of a router on a segment.
    pub fn segment_port(segment: u8, router: usize) -> String {
        match segment {
            0 => Self::port(router),
            _ => format!("p{router}-{segment}"),
        }
    }
}
