//! What the figures were measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use xvrrp_lab::{agent_binary, run};

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
    /// Where its memory comes from.
    pub memory: &'static str,
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
            memory: if gives_memory_back() {
                "what is free belongs to the host, and takes its time to come back"
            } else {
                "its own"
            },
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
            ("memory", self.memory.to_owned()),
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
            "memory": self.memory,
        })
    }
}

/// Whether a virtual machine's kernel tells its host which memory is free (virtio-balloon's free page reporting). The host
/// may take it then, and a processor that next touches it stands still until it is there again; that is no steal time.
fn gives_memory_back() -> bool {
    /// `VIRTIO_BALLOON_F_REPORTING` of linux/virtio_balloon.h; sysfs has a digit for each feature.
    const REPORTING: usize = 5;
    glob::glob("/sys/bus/virtio/drivers/virtio_balloon/virtio*/features")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|path| fs::read(path).ok())
        .any(|features| features.get(REPORTING) == Some(&b'1'))
}
