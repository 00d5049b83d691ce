//! Virtual addresses with the options of `ip address add`, and those that adverts do not list.

use anyhow::{Result, ensure};
use xvrrp_lab::traffic::capture::Capture;
use xvrrp_lab::{INTERFACE, Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, host_state, wait_for_host_state};

// parity 86
#[test]
fn an_address_is_installed_with_its_options_and_removed_with_them() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let addresses = "[\"192.0.2.1/24 label eth0:web brd + noprefixroute\", \"192.0.2.7/32 scope link\", \
                     \"192.0.2.8 peer 198.51.100.8/32\", \"fe80::33/64\", \
                     \"2001:db8::7/64 preferred_lft forever noprefixroute home\"]";
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200).with("addresses", addresses)])?;
    agent.wait_for_state("lan", "active")?;
    let expected = [
        "inet 192.0.2.1/24 brd 192.0.2.255 scope global noprefixroute eth0:web",
        "inet 192.0.2.7/32 scope link eth0",
        "inet 192.0.2.8 peer 198.51.100.8/32 scope global eth0",
        "inet6 2001:db8::7/64 scope global nodad home noprefixroute",
    ];
    eventually("the addresses are there", PATIENCE, || {
        let shown = host.ip(&format!("-o address show dev {INTERFACE}"))?.replace('\\', " ");
        for words in expected {
            let is_there =
                shown.lines().any(|line| words.split(' ').all(|word| line.split_whitespace().any(|it| it == word)));
            ensure!(is_there, "{words:?} is not in\n{shown}");
        }
        Ok(())
    })?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for_host_state(host, &before)
}

// parity 87
#[test]
fn an_address_with_options_is_put_back_with_them_unless_it_is_not_tracked() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let addresses = "[\"192.0.2.1/24 label eth0:web\", \"192.0.2.7/32 no_track\", \"192.0.2.8/32 label eth0:last\"]";
    let mut agent = Xvrrp::start(host, &[VirtualRouter::lan(200).with("addresses", addresses)])?;
    agent.wait_for_state("lan", "active")?;
    let shown = || host.ip(&format!("-o address show dev {INTERFACE}"));
    let wait_for = |label: &str| {
        eventually(&format!("{label} is there"), PATIENCE, || {
            let shown = shown()?;
            ensure!(shown.contains(label), "{shown}");
            Ok(())
        })
    };
    wait_for("eth0:last")?;
    host.ip(&format!("address del 192.0.2.7/32 dev {INTERFACE}"))?;
    // Whatever puts this one back has seen that the other one is missing.
    host.ip(&format!("address del 192.0.2.8/32 dev {INTERFACE}"))?;
    wait_for("eth0:last")?;
    let now = shown()?;
    ensure!(!now.contains("192.0.2.7/"), "{now}");
    ensure!(agent.state("lan")? == "active", "{}", agent.daemon.log());
    host.ip(&format!("address del 192.0.2.1/24 dev {INTERFACE}"))?;
    wait_for("eth0:web")
}

// parity 35
#[test]
fn unadvertised_addresses_move_with_the_role_and_no_advert_lists_them() -> Result<()> {
    const SERVED: [&str; 3] = ["192.0.2.1", "192.0.2.7", "203.0.113.9"];
    let lab = Lab::new(2)?;
    // The client reaches the address of another network through the virtual router.
    lab.client.ip("route add 203.0.113.9/32 via 192.0.2.1")?;
    let mut capture = Capture::start(lab.switch(), "br0", "ip proto 112")?;
    let router =
        |priority| VirtualRouter::lan(priority).with("unadvertised_addresses", "[\"192.0.2.7/24\", \"203.0.113.9\"]");
    let mut active = Xvrrp::start(&lab.routers[0], &[router(200)])?;
    active.wait_for_state("lan", "active")?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router(100)])?;
    backup.wait_for_state("lan", "backup")?;
    let served = || {
        SERVED.into_iter().try_for_each(|address| {
            eventually(&format!("{address} answers"), PATIENCE, || {
                lab.client.sh(&format!("ping -n -q -c 1 -W 1 {address}")).map(drop)
            })
        })
    };
    served()?;
    lab.pull(0)?;
    backup.wait_for_state("lan", "active")?;
    served()?;
    capture.finish()?;
    let listed = capture.read("vrrp", &["vrrp.ip_addr"])?.concat();
    ensure!(!listed.is_empty() && listed.iter().all(|addresses| addresses == "192.0.2.1"), "{listed:?}");
    Ok(())
}

#[test]
fn two_thousand_unadvertised_addresses_are_installed_and_removed() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = &lab.routers[0];
    let before = host_state(host)?;
    let addresses: Vec<_> = (0..2000).map(|n| format!("\"198.18.{}.{}/32\"", n / 250, n % 250 + 1)).collect();
    let router = VirtualRouter::lan(200).with("unadvertised_addresses", &format!("[{}]", addresses.join(", ")));
    let mut agent = Xvrrp::start(host, &[router])?;
    agent.wait_for_state("lan", "active")?;
    eventually("all of them are there", PATIENCE, || {
        let count = host.ip(&format!("-o address show dev {INTERFACE}"))?.matches(" 198.18.").count();
        ensure!(count == 2000, "{count} of 2000");
        Ok(())
    })?;
    ensure!(agent.stop()?.success(), "{}", agent.daemon.log());
    wait_for_host_state(host, &before)
}
