//! The kernel's process connector for daemons in the network namespaces of the lab, where there is none.

use std::fs;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::run;

const SOURCE: &str = include_str!("process_connector.c");
const LIBRARY: &str = "connector.so";

/// A library that lets a daemon open the process connector of this process's network namespace. Nothing else of the
/// daemon leaves its own namespace.
#[derive(Debug)]
pub struct ProcessConnector {
    directory: TempDir,
}

impl ProcessConnector {
    /// Compiles the library.
    pub fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("xvrrp-lab-connector-")?;
        let source = directory.path().join("connector.c");
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(directory.path().join(LIBRARY)).arg(&source).arg("-ldl");
        run(&mut compiler)?;
        Ok(Self { directory })
    }

    /// Makes a daemon load the library.
    pub fn give_to(&self, daemon: &mut Command) {
        daemon.env("LD_PRELOAD", self.directory.path().join(LIBRARY));
        daemon.env("XVRRP_LAB_CONNECTOR", format!("/proc/{}/ns/net", std::process::id()));
    }
}
