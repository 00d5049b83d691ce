//! FRR as a peer: its zebra and its vrrpd.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown};
use tempfile::TempDir;

use crate::Daemon;
use crate::INTERFACE;
use crate::Namespace;
use crate::{LINK_LOCAL_VIP, VIP, VIP_IPV6};
use crate::{PATIENCE, eventually, wait_until_is};

/// Directory in which Debian installs the daemons.
const PROGRAMS: &str = "/usr/lib/frr";
/// The user that the daemons run as.
const USER: &str = "frr";
/// Directory in which each daemon leaves another one. No option prevents that.
const LEFT_BEHIND: &str = "/var/tmp/frr";

/// A virtual router. The names of the fields are those of FRR's manual.
#[derive(Clone, Debug)]
pub struct FrrConfig {
    /// Version of VRRP: 2 or 3.
    pub version: u8,
    /// VRID, from 1 to 255.
    pub vrid: u8,
    /// Priority, from 1 to 254.
    pub priority: u8,
    /// Advertisement interval in milliseconds. In version 2, a multiple of 1000.
    pub advertisement_interval: u16,
    /// Preempt_Mode.
    pub preempt: bool,
    /// Virtual addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl FrrConfig {
    /// Returns a virtual router of version 3 that advertises the lab's address every 100 ms.
    pub fn v3(vrid: u8, priority: u8) -> Self {
        Self {
            version: 3,
            vrid,
            priority,
            advertisement_interval: 100,
            preempt: true,
            addresses: vec![(VIP.into(), 24)],
        }
    }

    /// Returns the same virtual router over IPv6.
    pub fn ipv6(vrid: u8, priority: u8) -> Self {
        Self { addresses: vec![(LINK_LOCAL_VIP.into(), 64), (VIP_IPV6.into(), 64)], ..Self::v3(vrid, priority) }
    }

    /// Returns a virtual router with the addresses of both families. FRR makes two virtual routers of it, whose roles
    /// are independent.
    pub fn both(vrid: u8, priority: u8) -> Self {
        let addresses = [Self::v3(vrid, priority).addresses, Self::ipv6(vrid, priority).addresses].concat();
        Self { addresses, ..Self::v3(vrid, priority) }
    }

    /// Returns a virtual router of version 2 that advertises the lab's address every second.
    pub fn v2(vrid: u8, priority: u8) -> Self {
        Self { version: 2, advertisement_interval: 1000, ..Self::v3(vrid, priority) }
    }

    fn families(&self) -> Vec<Family> {
        let has = |family: &Family| self.addresses.iter().any(|(address, _)| Family::of(address) == *family);
        [Family::IPV4, Family::IPV6].into_iter().filter(has).collect()
    }

    fn text(&self) -> String {
        let Self { version, vrid, priority, advertisement_interval, .. } = self;
        let mut text = format!(
            "debug vrrp protocol\ndebug vrrp packets\ninterface {INTERFACE}\n vrrp {vrid} version {version}\n \
             vrrp {vrid} priority {priority}\n vrrp {vrid} advertisement-interval {advertisement_interval}\n"
        );
        if !self.preempt {
            let _ = writeln!(text, " no vrrp {vrid} preempt");
        }
        for (address, _) in &self.addresses {
            let keyword = Family::of(address).keyword;
            let _ = writeln!(text, " vrrp {vrid} {keyword} {address}");
        }
        text
    }
}

/// What differs between the address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Family {
    /// Its name in FRR's log.
    name: &'static str,
    /// Its keyword in FRR's configuration.
    keyword: &'static str,
    /// The device with the virtual MAC and the addresses.
    device: &'static str,
    /// The virtual MAC without the VRID (RFC 9568 7.3).
    virtual_mac: &'static str,
}

impl Family {
    const IPV4: Self = Self { name: "[IPv4]", keyword: "ip", device: "vrrp4", virtual_mac: "00:00:5e:00:01" };
    const IPV6: Self = Self { name: "[IPv6]", keyword: "ipv6", device: "vrrp6", virtual_mac: "00:00:5e:00:02" };

    fn of(address: &IpAddr) -> Self {
        if address.is_ipv6() { Self::IPV6 } else { Self::IPV4 }
    }
}

/// A running FRR with its macvlan devices, and its files in a directory of its own.
#[derive(Debug)]
pub struct Frr {
    families: Vec<Family>,
    /// The daemon that speaks VRRP.
    pub vrrpd: Daemon,
    zebra: Daemon,
    _directory: TempDir,
}

impl Frr {
    /// Creates the macvlan devices if they do not exist, and starts both daemons.
    pub fn start(namespace: &Namespace, config: &FrrConfig) -> Result<Self> {
        let user = User::from_name(USER)?.context("there is no user frr: `cargo xtask setup` installs FRR")?;
        let directory = TempDir::with_prefix("xvrrp-lab-frr-")?;
        chown(directory.path(), Some(user.uid), Some(user.gid))?;
        let file = directory.path().join("vrrpd.conf");
        fs::write(&file, config.text())?;
        add_devices(namespace, config)?;
        let zebra = launch(namespace, "zebra", Path::new("/dev/null"), directory.path())?;
        let socket = directory.path().join("zserv.api");
        eventually(
            "zebra listens on its socket",
            PATIENCE,
            || if socket.exists() { Ok(()) } else { Err(zebra.log()) },
        )?;
        let vrrpd = launch(namespace, "vrrpd", &file, directory.path())?;
        Ok(Self { families: config.families(), vrrpd, zebra, _directory: directory })
    }

    /// Waits until its latest state in each family is `state`: `Master` or `Backup`.
    pub fn wait_for_state(&mut self, state: &str) -> Result<()> {
        eventually(&format!("FRR enters {state}"), PATIENCE, || {
            let log = self.vrrpd.log();
            let is_in = |family: &Family| {
                let latest = log.lines().rfind(|line| line.contains(" -> ") && line.contains(family.name));
                latest.is_some_and(|line| line.ends_with(&format!("-> {state}")))
            };
            if self.families.iter().all(is_in) { Ok(()) } else { Err(log) }
        })
    }

    /// Waits until its log has exactly `count` transitions to a state.
    pub fn wait_for_transitions(&self, state: &str, count: usize) -> Result<()> {
        wait_until_is(&format!("FRR has entered {state} {count} times"), &count, || Ok(self.transitions(state)))
    }

    /// Returns how many transitions to a state its log has.
    pub fn transitions(&self, state: &str) -> usize {
        self.vrrpd.count_lines(&[&format!("-> {state}")])
    }

    /// Fails if it has logged a complaint about an advert.
    pub fn ensure_understood(&self) -> Result<()> {
        let log = self.vrrpd.log();
        let complaint =
            log.lines().find(|line| ["nvalid", "Bad ", "this is a bug"].iter().any(|word| line.contains(word)));
        ensure!(complaint.is_none(), "FRR complains: {complaint:?}");
        Ok(())
    }

    /// Stops it as an operator would. The macvlan devices stay, protodown as on a Backup.
    pub fn stop(&mut self) -> Result<()> {
        for daemon in [&mut self.vrrpd, &mut self.zebra] {
            let status = daemon.stop(Signal::SIGTERM, PATIENCE)?;
            ensure!(status.success(), "an FRR daemon failed: {status}");
        }
        Ok(())
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        for (program, daemon) in [("vrrpd", &self.vrrpd), ("zebra", &self.zebra)] {
            let _ = fs::remove_dir_all(PathBuf::from(LEFT_BEHIND).join(format!("{program}.{}", daemon.pid())));
        }
    }
}

fn launch(namespace: &Namespace, program: &str, config: &Path, directory: &Path) -> Result<Daemon> {
    let mut command = namespace.command(Path::new(PROGRAMS).join(program))?;
    command.args(["--user", USER, "--group", USER, "--vty_port", "0", "--log", "stdout", "--log-level", "debug"]);
    command.arg("--config_file").arg(config).arg("--socket").arg(directory.join("zserv.api"));
    command.arg("--pid_file").arg(directory.join(format!("{program}.pid")));
    // The directory of that socket: the daemon appends the name.
    command.arg("--vty_socket").arg(directory);
    Daemon::start(program, &mut command, directory)
}

/// Creates the macvlan devices as <https://docs.frrouting.org/en/latest/vrrp.html>, "System Configuration", describes.
fn add_devices(namespace: &Namespace, config: &FrrConfig) -> Result<()> {
    // On a Backup, the addresses stay on the device, which is protodown. The kernel would answer for them on the parent
    // interface.
    namespace.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
    for family in config.families() {
        let Family { device, virtual_mac, .. } = family;
        if namespace.ip(&format!("link show dev {device}")).is_ok() {
            continue;
        }
        let vrid = config.vrid;
        namespace.ip(&format!(
            "link add {device} link {INTERFACE} address {virtual_mac}:{vrid:02x} type macvlan mode bridge"
        ))?;
        if family == Family::IPV6 {
            // The source address of its adverts. It must not be derived from the virtual MAC, which all routers share.
            let own = namespace.ip(&format!("-o -6 addr show dev {INTERFACE} scope link"))?;
            let own =
                own.split_whitespace().find(|word| word.starts_with("fe80::")).context("no link-local address")?;
            namespace.sysctl(&format!("net.ipv6.conf.{device}.addr_gen_mode"), "1")?;
            namespace.ip(&format!("addr add {} dev {device} nodad", own.replace("fe80::", "fe80::f:")))?;
        }
        for (address, prefix_length) in config.addresses.iter().filter(|(address, _)| Family::of(address) == family) {
            let nodad = if address.is_ipv6() { "nodad" } else { "" };
            namespace.ip(&format!("addr add {address}/{prefix_length} dev {device} {nodad}"))?;
        }
        namespace.ip(&format!("link set {device} up"))?;
    }
    Ok(())
}
