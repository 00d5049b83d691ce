//! Captures packets and dissects them with tshark.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Daemon, Namespace, PATIENCE, eventually, run};

/// The option that makes Wireshark expect the checksum of version 3 over IPv4 with the pseudo-header.
const PSEUDO_HEADER: &str = "vrrp.v3_checksum_as_in_v2:FALSE";
/// The option that makes Wireshark expect the checksum of version 3 over IPv4 without the pseudo-header.
const PLAIN: &str = "vrrp.v3_checksum_as_in_v2:TRUE";

/// Reads a capture file as [`Capture::read`] does.
pub fn read(file: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    dissect(file, PSEUDO_HEADER, filter, fields)
}

fn dissect(file: &Path, checksum: &str, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", filter, "-T", "fields", "-E", "separator=|"]);
    command.args(["-o", "ip.check_checksum:TRUE", "-o", checksum]);
    for field in fields {
        command.args(["-e", field]);
    }
    let text = run(&mut command)?;
    Ok(text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

/// A running capture. On a router, XDP takes packets before a capture sees them, so capture at the switch or the
/// client.
#[derive(Debug)]
pub struct Capture {
    daemon: Daemon,
    directory: TempDir,
}

impl Capture {
    /// Starts a capture and waits until packets are being captured. `filter` is in the language of pcap-filter(7).
    pub fn start(namespace: &Namespace, interface: &str, filter: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-capture-")?;
        let mut command = namespace.command("tcpdump")?;
        command.args(["-i", interface, "-U", "--immediate-mode", "-Z", "root", "-w"]);
        command.arg(directory.path().join("capture.pcap")).args(filter.split_whitespace());
        let mut daemon = Daemon::start("tcpdump", &mut command, directory.path())?;
        daemon.wait_for_line(&["listening on"], PATIENCE)?;
        Ok(Self { daemon, directory })
    }

    /// Waits until the file contains at least `count` packets that match tshark's display filter.
    pub fn wait_for(&self, filter: &str, count: usize) -> Result<()> {
        eventually(&format!("at least {count} packets that match {filter:?} are captured"), PATIENCE, || {
            let found = self.read(filter, &["frame.number"])?.len();
            ensure!(found >= count, "{found} packets");
            Ok(())
        })
    }

    /// Stops the capture. Its packets can still be read with [`Self::read`].
    pub fn finish(&mut self) -> Result<()> {
        self.daemon.stop(Signal::SIGINT, PATIENCE).map(drop)
    }

    /// Returns the fields of every packet that matches tshark's display filter. Checksums are verified.
    pub fn read(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        read(&self.file(), filter, fields)
    }

    /// Fails unless there are adverts and all of them are well-formed: no dissector complains, and the checksums are
    /// right. In version 3, the checksum of the message covers the pseudo-header (RFC 5798 5.2.8).
    pub fn check_adverts(&self) -> Result<()> {
        self.check(PSEUDO_HEADER)
    }

    /// Does the same as [`Self::check_adverts`], except that the checksum of version 3 covers only the message
    /// (RFC 9568 5.2.8).
    pub fn check_plain_adverts(&self) -> Result<()> {
        self.check(PLAIN)
    }

    fn check(&self, checksum: &str) -> Result<()> {
        let all = self.read("vrrp", &["frame.number"])?.len();
        ensure!(all > 0, "no advert was captured");
        let wrong = dissect(
            &self.file(),
            checksum,
            "vrrp && (_ws.malformed || _ws.expert.severity >= 6291456 || vrrp.checksum.status != 1 || ip.checksum.status != 1)",
            &["frame.number", "_ws.expert.message", "vrrp.checksum.status"],
        )?;
        ensure!(wrong.is_empty(), "{} of {all} adverts are wrong: {wrong:?}", wrong.len());
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("capture.pcap")
    }
}
