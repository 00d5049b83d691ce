//! What the figures were measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::lab::{agent_binary, run};

/// What a figure depends on besides the program.
#[derive(Debug)]
pub struct Machine {
    /// In UTC.
    pub date: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub xvrrp: String,
    pub keepalived: String,
    /// How many processes wanted to run in the last minute, before the bench did.
    pub load: String,
}

impl Machine {
    pub fn look() -> Result<Self> {
        let kernel = run(Command::new("uname").args(["-srm"]))?;
        let date = run(Command::new("date").args(["-u", "+%F %H:%M UTC"]))?;
        let xvrrp = run(Command::new(agent_binary()?).arg("--version"))?;
        let keepalived = Command::new("keepalived").arg("--version").output()?;
        let keepalived = String::from_utf8_lossy(&keepalived.stderr).lines().next().unwrap_or_default().to_owned();
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            date: date.trim().to_owned(),
            kernel: kernel.trim().to_owned(),
            cpu: cpu.map_or("unknown CPU", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            xvrrp: xvrrp.trim().to_owned(),
            keepalived,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        })
    }

    /// Name and value, to be shown.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("date", self.date.clone()),
            ("kernel", self.kernel.clone()),
            ("CPU", format!("{}, {} cores", self.cpu, self.cores)),
            ("xvrrp", self.xvrrp.clone()),
            ("keepalived", self.keepalived.clone()),
            ("load before", self.load.clone()),
        ]
    }

    pub fn json(&self) -> Value {
        json!({
            "date": self.date,
            "kernel": self.kernel,
            "cpu": self.cpu,
            "cores": self.cores,
            "xvrrp": self.xvrrp,
            "keepalived": self.keepalived,
            "load_before": self.load,
        })
    }
}
