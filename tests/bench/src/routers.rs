//! Two routers in the lab, which both run xvrrp or both run keepalived.

use std::time::Duration;

use anyhow::Result;

use xvrrp_lab::{Keepalived, KeepalivedConfig, Lab, VirtualRouter, Xvrrp};

/// Priorities of the routers. The first one is Active while it runs.
pub const PRIORITIES: [u8; 2] = [200, 100];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Xvrrp,
    Keepalived,
}

impl Program {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xvrrp => "xvrrp",
            Self::Keepalived => "keepalived",
        }
    }
}

/// Returns how long the second router waits after the last advert that it has received (RFC 9568 6.1).
pub fn active_down_interval(interval: Duration) -> Duration {
    interval * 3 + interval * (256 - u32::from(PRIORITIES[1])) / 256
}

/// Running routers. They stop when this is dropped.
#[derive(Debug)]
pub enum Routers {
    Xvrrp { _agents: Vec<Xvrrp> },
    Keepalived { _daemons: Vec<Keepalived> },
}

impl Routers {
    /// Starts both routers with one virtual router, which has the lab's virtual address. Returns when the first one is
    /// Active and the second one is Backup.
    pub fn start(program: Program, lab: &Lab, interval: Duration) -> Result<Self> {
        let places = lab.routers.iter().zip(PRIORITIES);
        match program {
            Program::Xvrrp => {
                let advert_interval = format!("\"{}ms\"", interval.as_millis());
                let router = |priority| VirtualRouter::lan(priority).with("advert_interval", &advert_interval);
                let agents = places.map(|(place, priority)| Xvrrp::start(place, &[router(priority)]));
                let mut agents = agents.collect::<Result<Vec<_>>>()?;
                agents[0].wait_for_state("lan", "active")?;
                agents[1].wait_for_state("lan", "backup")?;
                Ok(Self::Xvrrp { _agents: agents })
            }
            Program::Keepalived => {
                let config = |priority| KeepalivedConfig {
                    advert_int: interval.as_secs_f64(),
                    ..KeepalivedConfig::v3(51, priority)
                };
                let daemons = places.map(|(place, priority)| Keepalived::start_quietly(place, &config(priority)));
                let mut daemons = daemons.collect::<Result<Vec<_>>>()?;
                daemons[0].wait_for_state("MASTER")?;
                daemons[1].wait_for_state("BACKUP")?;
                Ok(Self::Keepalived { _daemons: daemons })
            }
        }
    }
}
