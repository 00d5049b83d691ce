//! keepalived as the other router: as Active router and as Backup, with and without `use_vmac`, in versions 2 and 3,
//! over IPv4 and IPv6.

use std::time::Duration;

use anyhow::{Result, ensure};
use xvrrp_lab::{
    Group, INTERFACE, Implementation, Keepalived, KeepalivedConfig, Lab, PATIENCE, VIP, VIP_IPV6, VirtualRouter, Xvrrp,
    eventually,
};

/// How long the client may be without an answer: a generous multiple of Active_Down_Interval.
const OUTAGE: Duration = Duration::from_secs(5);
/// The same for version 2 with adverts every second.
const OUTAGE_V2: Duration = Duration::from_secs(15);

/// Changes the roles of both routers in every way. keepalived has the higher priority if `prefer_theirs`.
fn change_roles(theirs: KeepalivedConfig, ours: VirtualRouter, prefer_theirs: bool) -> Result<()> {
    let is_ipv6 = theirs.addresses.iter().any(|(address, _)| address.is_ipv6());
    let outage = if theirs.version == 2 { OUTAGE_V2 } else { OUTAGE };
    let (lab, address) = if is_ipv6 { (Lab::with_ipv6(2)?, VIP_IPV6.into()) } else { (Lab::new(2)?, VIP.into()) };
    let priorities = if prefer_theirs { (200, "100") } else { (100, "200") };
    let theirs = Implementation::Keepalived(KeepalivedConfig { priority: priorities.0, ..theirs });
    let ours = Implementation::Xvrrp(ours.with("priority", priorities.1));
    let implementations = if prefer_theirs { vec![theirs, ours] } else { vec![ours, theirs] };
    Group::new(lab, &[address], implementations)?.change_roles(outage)
}

fn xvrrp_backs_up_keepalived(theirs: KeepalivedConfig, ours: VirtualRouter) -> Result<()> {
    change_roles(theirs, ours, true)
}

fn keepalived_backs_up_xvrrp(theirs: KeepalivedConfig, ours: VirtualRouter) -> Result<()> {
    change_roles(theirs, ours, false)
}

fn with_vmac(config: KeepalivedConfig) -> KeepalivedConfig {
    KeepalivedConfig { use_vmac: true, ..config }
}

fn with_password(config: KeepalivedConfig) -> KeepalivedConfig {
    KeepalivedConfig { auth_pass: Some("s3cret".to_owned()), ..config }
}

fn v3() -> VirtualRouter {
    VirtualRouter::lan(100)
}

fn v2() -> VirtualRouter {
    VirtualRouter::lan(100).with("version", "2").with("advert_interval", "\"1s\"")
}

#[test]
fn xvrrp_backs_up_keepalived_in_version_3() -> Result<()> {
    xvrrp_backs_up_keepalived(KeepalivedConfig::v3(51, 0), v3())
}

#[test]
fn keepalived_backs_up_xvrrp_in_version_3() -> Result<()> {
    keepalived_backs_up_xvrrp(KeepalivedConfig::v3(51, 0), v3())
}

// parity 39
#[test]
fn xvrrp_backs_up_keepalived_with_use_vmac_in_version_3() -> Result<()> {
    xvrrp_backs_up_keepalived(with_vmac(KeepalivedConfig::v3(51, 0)), v3())
}

#[test]
fn keepalived_with_use_vmac_backs_up_xvrrp_in_version_3() -> Result<()> {
    keepalived_backs_up_xvrrp(with_vmac(KeepalivedConfig::v3(51, 0)), v3())
}

#[test]
fn xvrrp_backs_up_keepalived_without_any_virtual_mac_in_version_3() -> Result<()> {
    xvrrp_backs_up_keepalived(KeepalivedConfig::v3(51, 0), v3().with("virtual_mac", "false"))
}

#[test]
fn keepalived_backs_up_xvrrp_without_any_virtual_mac_in_version_3() -> Result<()> {
    keepalived_backs_up_xvrrp(KeepalivedConfig::v3(51, 0), v3().with("virtual_mac", "false"))
}

/// With `vmac_xmit_base`, keepalived does not hear routers that send from the virtual MAC, as RFC 9568 7.2 demands: the
/// kernel delivers such frames to its macvlan interface, and it listens on the parent interface.
#[test]
fn keepalived_with_vmac_xmit_base_backs_up_xvrrp_without_a_virtual_mac() -> Result<()> {
    let theirs = KeepalivedConfig { vmac_xmit_base: true, ..with_vmac(KeepalivedConfig::v3(51, 0)) };
    keepalived_backs_up_xvrrp(theirs, v3().with("virtual_mac", "false"))
}

#[test]
fn xvrrp_backs_up_keepalived_in_version_2() -> Result<()> {
    xvrrp_backs_up_keepalived(KeepalivedConfig::v2(51, 0), v2())
}

#[test]
fn keepalived_backs_up_xvrrp_in_version_2() -> Result<()> {
    keepalived_backs_up_xvrrp(KeepalivedConfig::v2(51, 0), v2())
}

#[test]
fn xvrrp_backs_up_keepalived_in_version_2_with_a_password() -> Result<()> {
    let theirs = with_password(KeepalivedConfig::v2(51, 0));
    xvrrp_backs_up_keepalived(theirs, v2().with("password", "\"s3cret\""))
}

#[test]
fn keepalived_with_use_vmac_backs_up_xvrrp_in_version_2_with_a_password() -> Result<()> {
    let theirs = with_vmac(with_password(KeepalivedConfig::v2(51, 0)));
    keepalived_backs_up_xvrrp(theirs, v2().with("password", "\"s3cret\""))
}

#[test]
fn xvrrp_backs_up_keepalived_with_use_vmac_in_version_2_with_a_password() -> Result<()> {
    let theirs = with_vmac(with_password(KeepalivedConfig::v2(51, 0)));
    xvrrp_backs_up_keepalived(theirs, v2().with("password", "\"s3cret\""))
}

#[test]
fn keepalived_backs_up_xvrrp_in_version_2_with_a_password() -> Result<()> {
    let theirs = with_password(KeepalivedConfig::v2(51, 0));
    keepalived_backs_up_xvrrp(theirs, v2().with("password", "\"s3cret\""))
}

fn ipv6() -> VirtualRouter {
    VirtualRouter::lan_ipv6(100)
}

#[test]
fn xvrrp_backs_up_keepalived_over_ipv6() -> Result<()> {
    xvrrp_backs_up_keepalived(KeepalivedConfig::ipv6(51, 0), ipv6())
}

#[test]
fn keepalived_backs_up_xvrrp_over_ipv6() -> Result<()> {
    keepalived_backs_up_xvrrp(KeepalivedConfig::ipv6(51, 0), ipv6())
}

#[test]
fn xvrrp_backs_up_keepalived_with_use_vmac_over_ipv6() -> Result<()> {
    xvrrp_backs_up_keepalived(with_vmac(KeepalivedConfig::ipv6(51, 0)), ipv6())
}

#[test]
fn keepalived_with_use_vmac_backs_up_xvrrp_over_ipv6() -> Result<()> {
    keepalived_backs_up_xvrrp(with_vmac(KeepalivedConfig::ipv6(51, 0)), ipv6())
}

#[test]
fn xvrrp_backs_up_keepalived_without_any_virtual_mac_over_ipv6() -> Result<()> {
    xvrrp_backs_up_keepalived(KeepalivedConfig::ipv6(51, 0), ipv6().with("virtual_mac", "false"))
}

#[test]
fn keepalived_backs_up_xvrrp_without_any_virtual_mac_over_ipv6() -> Result<()> {
    keepalived_backs_up_xvrrp(KeepalivedConfig::ipv6(51, 0), ipv6().with("virtual_mac", "false"))
}

/// Address of the second virtual router on the segment.
const OTHER_VIP: &str = "192.0.2.11";

#[test]
fn each_host_serves_the_address_for_which_its_priority_is_higher_and_the_last_one_serves_both() -> Result<()> {
    let lab = Lab::new(2)?;
    let instance = |name: &str, vrid: u8, priority: u8, address: &str| {
        format!(
            "vrrp_instance {name} {{\n state BACKUP\n interface {INTERFACE}\n virtual_router_id {vrid}\n \
             priority {priority}\n advert_int 0.1\n use_vmac\n virtual_ipaddress {{\n {address}/24\n }}\n}}\n"
        )
    };
    let [lan, other] = [instance("lan", 51, 100, &VIP.to_string()), instance("other", 52, 200, OTHER_VIP)];
    let config = format!("global_defs {{\n vrrp_version 3\n}}\n{lan}{other}");
    let better = VirtualRouter::lan(200);
    let worse = better.clone().with("name", "\"other\"").with("vrid", "52").with("priority", "100");
    let ours = [better, worse.with("addresses", &format!("[\"{OTHER_VIP}/24\"]"))];

    let mut theirs = Keepalived::start_with(&lab.routers[0], &config)?;
    let mut agent = Xvrrp::start(&lab.routers[1], &ours)?;
    let ping_both = || -> Result<()> {
        for address in [&VIP.to_string(), OTHER_VIP] {
            eventually(&format!("{address} answers each ping once"), PATIENCE, || {
                let report = lab.client.sh(&format!("ping -n -c 4 -i 0.05 -W 1 {address}"))?;
                ensure!(report.contains(" 0% packet loss") && !report.contains("DUP"), "{report}");
                Ok(())
            })?;
        }
        Ok(())
    };
    let crosswise = |theirs: &mut Keepalived, agent: &mut Xvrrp| -> Result<()> {
        agent.wait_for_state("lan", "active")?;
        agent.wait_for_state("other", "backup")?;
        theirs.wait_for_instance("lan", "BACKUP")?;
        theirs.wait_for_instance("other", "MASTER")?;
        ping_both()
    };
    crosswise(&mut theirs, &mut agent)?;

    lab.pull(0)?;
    agent.wait_for_state("other", "active")?;
    agent.wait_for_state("lan", "active")?;
    ping_both()?;
    lab.plug(0)?;
    crosswise(&mut theirs, &mut agent)?;

    ensure!(agent.stop()?.success(), "the agent failed");
    theirs.wait_for_instance("lan", "MASTER")?;
    theirs.wait_for_instance("other", "MASTER")?;
    ping_both()?;
    agent.start_again(&lab.routers[1], &ours)?;
    crosswise(&mut theirs, &mut agent)?;
    for name in ["lan", "other"] {
        agent.ensure_understood(name)?;
    }
    theirs.ensure_understood()
}
