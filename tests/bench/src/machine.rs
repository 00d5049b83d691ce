//! The machine that the figures were measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use xvrrp_lab::{agent_binary, run};

/// Facts that a figure depends on besides the program.
#[derive(Debug)]
pub struct Machine {
    /// Date and time in UTC.
    pub date: String,
    /// Name and release of the kernel, and the architecture.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Number of processors that this process may use.
    pub cores: usize,
    /// Name and version of the agent, as `--version` prints them.
    pub xvrrp: String,
    /// Name and version of keepalived, as `--version` prints them.
    pub keepalived: String,
    /// Load average of the last minute before the bench.
    pub load: String,
    /// Owner of the memory that is free.
    pub memory: &'static str,
}

impl Machine {
    /// Collects the facts.
    pub fn inspect() -> Result<Self> {
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
            memory: if gives_memory_back() {
                "free memory belongs to the host, and takes time to come back"
            } else {
                "the machine's own"
            },
        })
    }

    /// Returns the names and values that the report shows.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("date", self.date.clone()),
            ("kernel", self.kernel.clone()),
            ("CPU", format!("{}, {} cores", self.cpu, self.cores)),
            ("xvrrp", self.xvrrp.clone()),
            ("keepalived", self.keepalived.clone()),
            ("load before", self.load.clone()),
            ("memory", self.memory.to_owned()),
        ]
    }

    /// Returns the facts as a JSON object.
    pub fn json(&self) -> Value {
        json!({
            "date": self.date,
            "kernel": self.kernel,
            "cpu": self.cpu,
            "cores": self.cores,
            "xvrrp": self.xvrrp,
            "keepalived": self.keepalived,
            "load_before": self.load,
            "memory": self.memory,
        })
    }
}

/// Returns whether this is a virtual machine whose kernel reports free memory to its host (virtio-balloon's free page
/// reporting). The host may then take that memory, and a processor that touches it again stands still until the host
/// has supplied it. That time does not count as steal time.
fn gives_memory_back() -> bool {
    /// Index of `VIRTIO_BALLOON_F_REPORTING` (linux/virtio_balloon.h). sysfs shows a digit for each feature.
    const REPORTING: usize = 5;
    glob::glob("/sys/bus/virtio/drivers/virtio_balloon/virtio*/features")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|path| fs::read(path).ok())
        .any(|features| features.get(REPORTING) == Some(&b'1'))
}
