//! `xvrrp monitor`: adverts, ARP and Neighbor Discovery as XDP sees them, before it throws any away.
//!
//! The kernel half shows them in a buffer as long as somebody watches, and only one at a time does. The
//! agent passes them on through the control socket; what it is not asked for fast enough is lost, and counted.

mod describe;
mod pcap;

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use self::describe::describe;
use crate::control::monitor::{MonitorLine, bytes};
use crate::control::{self, Request};

/// Prints what the agent with this control socket sees until it ends, a line for each frame; with `write`, the frames go into
/// that file, too.
pub fn run(control: &Path, write: Option<PathBuf>) -> anyhow::Result<()> {
    let answers = control::follow(control, &Request::Monitor)?;
    let mut file = write.map(|path| open(&path)).transpose()?;
    let mut output = io::stdout().lock();
    eprintln!("times are UTC; Ctrl-C ends");
    for line in answers.lines() {
        let told = serde_json::from_str(&line.context("the agent is heard no more")?);
        let line = match told.context("the agent is of another version")? {
            MonitorLine::Lost { lost } => format!("... {lost} frames more, too many to show\n"),
            MonitorLine::Frame { at, interface, verdict, length, frame } => {
                let frame = bytes(&frame).context("the agent is of another version")?;
                if let Some((path, file)) = &mut file {
                    let written = pcap::add(file, micros(at), &frame, length);
                    written.with_context(|| format!("cannot write to {}", path.display()))?;
                }
                format!("{} {interface} {}: {verdict}\n", clock(at), describe(&frame))
            }
        };
        match output.write_all(line.as_bytes()).and_then(|()| output.flush()) {
            // Who has read enough of it, such as `head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write the result")?,
        }
    }
    bail!("the agent has ended, or has started anew")
}

fn open(path: &Path) -> anyhow::Result<(PathBuf, File)> {
    let begun = File::create(path).and_then(|mut file| pcap::begin(&mut file).map(|()| file));
    Ok((path.to_owned(), begun.with_context(|| format!("cannot write {}", path.display()))?))
}

/// Seconds since 1970 in microseconds.
fn micros(at: f64) -> u64 {
    u64::try_from(std::time::Duration::try_from_secs_f64(at).unwrap_or_default().as_micros()).unwrap_or_default()
}

/// The time of day, UTC.
fn clock(at: f64) -> String {
    let micros = micros(at);
    let seconds = micros / 1_000_000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_has_microseconds() {
        assert_eq!(clock(86_400.0 * 3.0 + 3_723.25), "01:02:03.250000");
    }
}
