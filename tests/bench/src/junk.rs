//! Sends floods of every kind of junk to the Active router and to the Backup. [`xvrrp_lab::traffic::junk`] makes the
//! floods.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::samples::number;
use super::{Findings, Options, Row, Samples, Subject};
use xvrrp_lab::Lab;
use xvrrp_lab::metronome::{Metronome, stolen};
use xvrrp_lab::probe::UdpEcho;
use xvrrp_lab::traffic::junk::{self, CPU_SHARE, Junk, Target};

pub const SUBJECT: Subject = Subject { name: "junk", title: "floods of invalid frames", run };

const INTERVAL: Duration = Duration::from_millis(10);
const LENGTH: Duration = Duration::from_secs(20);

fn run(options: &Options) -> Result<Findings> {
    let length = options.pick(LENGTH, Duration::from_secs(1));
    let kinds = options.pick(&Junk::ALL[..], &Junk::ALL[..1]);
    let lab = Lab::new(2)?;
    let echoes = lab.routers.iter().zip(0..).map(|(router, host)| UdpEcho::start(router, host));
    let _echoes = echoes.collect::<Result<Vec<_>>>()?;
    let pair = junk::pair(lab, INTERVAL)?;
    let metronome = Metronome::start()?;
    let mut findings = Findings {
        how: format!(
            "An Active router and a Backup of xvrrp send adverts every {} ms. Each flood goes to one of them for {} s, \
             from its own switch port, as fast as one processor can send. Meanwhile, a client asks every millisecond \
             which of them serves, except if the flood itself consists of such requests. Every frame must be counted: \
             by the counter of its kind, or by the port as lost to a full backlog.",
            INTERVAL.as_millis(),
            length.as_secs()
        ),
        ..Findings::default()
    };
    for &kind in kinds {
        for target in Target::ALL {
            let what = format!("{}, at the {}", kind.name(), target.name());
            let (start, stolen_before) = (Instant::now(), stolen()?);
            let withstood = kind.flood(&pair, target, length).with_context(|| what.clone())?;
            let machine = metronome.verdict(start, stolen_before)?;
            let [active, backup] = withstood.shares.map(|share| Samples::of([share * 100.0]));
            findings.rows.push(
                Row::new(format!("{what}: agents"), "% of a core")
                    .figure("Active", active?)
                    .figure("Backup", backup?)
                    .target(format!("each below {:.0} %", CPU_SHARE * 100.0), withstood.was_cheap(CPU_SHARE)),
            );
            findings.rows.push(
                Row::new(format!("{what}: changes"), "changes")
                    .figure("xvrrp", Samples::of([f64::from(u32::try_from(withstood.changes)?)])?)
                    .target("none, and only the Active router serves", withstood.roles_held()),
            );
            let lost = i128::from(withstood.handed.frames) - i128::from(withstood.counted + withstood.lost);
            findings.rows.push(
                Row::new(format!("{what}: unaccounted"), "frames")
                    .figure("xvrrp", Samples::of([lost as f64])?)
                    .target("none", withstood.adds_up()),
            );
            findings
                .notes
                .push(format!("{what}: {} a second; {withstood}; {machine}.", number(withstood.handed.rate())));
        }
    }
    Ok(findings)
}
