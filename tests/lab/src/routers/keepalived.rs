//! keepalived as a peer.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Daemon;
use crate::Namespace;
use crate::ProcessConnector;
use crate::{INTERFACE, LINK_LOCAL_VIP, VIP, VIP_IPV6};
use crate::{PATIENCE, eventually};

/// Parts of the messages by which keepalived complains about adverts, without letters that may be upper or lower case.
const COMPLAINTS: &[&str] =
    &["nvalid", "bad ", "ncorrect", "checksum", "ismatch", "rong", "not match", "xpected", "gnoring"];

/// A `vrrp_instance`. The names of the fields are those of keepalived.conf(5).
#[derive(Clone, Debug)]
pub struct KeepalivedConfig {
    /// Version of VRRP: 2 or 3.
    pub version: u8,
    /// VRID, from 1 to 255.
    pub vrid: u8,
    /// Priority, from 1 to 255.
    pub priority: u8,
    /// Advertisement interval in seconds. In version 3, a multiple of 0.01.
    pub advert_int: f64,
    /// Password of version 2, at most 8 bytes.
    pub auth_pass: Option<String>,
    /// Whether the virtual addresses have the virtual MAC.
    pub use_vmac: bool,
    /// Whether adverts are sent without the virtual MAC in spite of `use_vmac`.
    pub vmac_xmit_base: bool,
    /// Whether Preempt_Mode is off.
    pub nopreempt: bool,
    /// Virtual addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl KeepalivedConfig {
    /// Returns an instance of version 3 that advertises the lab's address every 100 ms.
    pub fn v3(vrid: u8, priority: u8) -> Self {
        Self {
            version: 3,
            vrid,
            priority,
            advert_int: 0.1,
            auth_pass: None,
            use_vmac: false,
            vmac_xmit_base: false,
            nopreempt: false,
            addresses: vec![(VIP.into(), 24)],
        }
    }

    /// Returns the same instance over IPv6.
    pub fn ipv6(vrid: u8, priority: u8) -> Self {
        Self { addresses: vec![(LINK_LOCAL_VIP.into(), 64), (VIP_IPV6.into(), 64)], ..Self::v3(vrid, priority) }
    }

    /// Returns an instance of version 2 that advertises the lab's address every second.
    pub fn v2(vrid: u8, priority: u8) -> Self {
        Self { version: 2, advert_int: 1.0, ..Self::v3(vrid, priority) }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "global_defs {{\n  vrrp_version {}\n  vrrp_garp_master_refresh 0\n}}\n\
             vrrp_instance lab {{\n  state BACKUP\n  interface {INTERFACE}\n  virtual_router_id {}\n  priority {}\n  advert_int {}\n",
            self.version, self.vrid, self.priority, self.advert_int
        );
        if let Some(password) = &self.auth_pass {
            let _ = writeln!(text, "  authentication {{\n    auth_type PASS\n    auth_pass {password}\n  }}");
        }
        if self.use_vmac {
            text.push_str("  use_vmac\n");
        }
        if self.vmac_xmit_base {
            text.push_str("  vmac_xmit_base\n");
        }
        if self.nopreempt {
            text.push_str("  nopreempt\n");
        }
        text.push_str("  virtual_ipaddress {\n");
        for (address, prefix_length) in &self.addresses {
            let _ = writeln!(text, "    {address}/{prefix_length}");
        }
        text.push_str("  }\n}\n");
        text
    }
}

/// A running keepalived with its files in a directory of its own.
#[derive(Debug)]
pub struct Keepalived {
    /// The process.
    pub daemon: Daemon,
    directory: TempDir,
}

impl Keepalived {
    /// Starts it with a log that has a line for each announcement.
    pub fn start(namespace: &Namespace, config: &KeepalivedConfig) -> Result<Self> {
        Self::launch(namespace, &config.text(), &["--log-detail"], None)
    }

    /// Starts it with its default log, which has no line for each announcement.
    pub fn start_quietly(namespace: &Namespace, config: &KeepalivedConfig) -> Result<Self> {
        Self::start_with(namespace, &config.text())
    }

    /// Starts it with the text of a keepalived.conf. Its log has no line for each announcement.
    pub fn start_with(namespace: &Namespace, config: &str) -> Result<Self> {
        Self::launch(namespace, config, &[], None)
    }

    /// Starts it with the text of a keepalived.conf, so that it can listen to the process connector.
    pub fn start_connected(namespace: &Namespace, config: &str, connector: &ProcessConnector) -> Result<Self> {
        Self::launch(namespace, config, &[], Some(connector))
    }

    fn launch(
        namespace: &Namespace,
        config: &str,
        more: &[&str],
        connector: Option<&ProcessConnector>,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-keepalived-")?;
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("keepalived.conf"), config)?;
        let mut command: Command = namespace.command("keepalived")?;
        command.args(["--dont-fork", "--log-console", "--vrrp"]).args(more);
        if let Some(connector) = connector {
            connector.give_to(&mut command);
        }
        command.arg("--use-file").arg(file("keepalived.conf"));
        command.arg("--pid").arg(file("pid")).arg("--vrrp_pid").arg(file("vrrp.pid"));
        let daemon = Daemon::start("keepalived", &mut command, directory.path())?;
        Ok(Self { daemon, directory })
    }

    /// Makes it reload with the text of another keepalived.conf.
    pub fn reload(&self, config: &str) -> Result<()> {
        std::fs::write(self.directory.path().join("keepalived.conf"), config)?;
        Ok(kill(Pid::from_raw(i32::try_from(self.daemon.pid())?), Signal::SIGHUP)?)
    }

    /// Waits until its latest state is `MASTER`, `BACKUP` or `FAULT`.
    pub fn wait_for_state(&mut self, state: &str) -> Result<()> {
        self.wait_for_instance("", state)
    }

    /// Waits until the latest state of an instance is `MASTER`, `BACKUP` or `FAULT`.
    pub fn wait_for_instance(&mut self, name: &str, state: &str) -> Result<()> {
        eventually(&format!("keepalived {name} enters {state}"), PATIENCE, || {
            let log = self.daemon.log();
            let latest = log.lines().rfind(|line| line.contains(" STATE") && line.contains(&format!("({name}")));
            if latest.is_some_and(|line| line.contains(&format!("{state} STATE"))) { Ok(()) } else { Err(log) }
        })
    }

    /// Fails if it has logged a complaint about an advert.
    pub fn ensure_understood(&self) -> Result<()> {
        let log = self.daemon.log();
        let complaint = log.lines().find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
        ensure!(complaint.is_none(), "keepalived complains: {complaint:?}");
        Ok(())
    }

    /// Starts it with a file where it is, and with an id for the conditions there. It logs what it has read.
    pub fn start_dumping(namespace: &Namespace, config: &Path, id: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-keepalived-")?;
        let mut command: Command = namespace.command("keepalived")?;
        command.args(["--dont-fork", "--log-console", "--vrrp", "--dump-conf", "--config-id", id]);
        command.arg("--use-file").arg(config);
        command.arg("--pid").arg(directory.path().join("pid")).arg("--vrrp_pid").arg(directory.path().join("vrrp.pid"));
        let daemon = Daemon::start("keepalived", &mut command, directory.path())?;
        Ok(Self { daemon, directory })
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, PATIENCE).map(drop)
    }
}
