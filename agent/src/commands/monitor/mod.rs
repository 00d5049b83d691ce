//! `xvrrp monitor`: prints adverts, ARP and Neighbor Discovery as XDP sees them, before it discards any.
//!
//! While a client monitors, the kernel half copies the frames to a buffer, and the agent passes them on through the
//! control socket. Only one client can monitor at a time. Frames that the client does not read fast enough are lost,
//! and counted.

mod describe;
mod pcap;

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use self::describe::describe;
use crate::control::monitor::{MonitorLine, bytes};
use crate::control::{self, Request};

/// Prints a line for each frame that the agent with this control socket sees, until the agent ends. If `write` is a
/// path, also writes the frames to that capture file.
///
/// # Errors
/// The agent does not answer, refuses or ends, or the output cannot be written.
pub fn run(control: &Path, write: Option<PathBuf>) -> anyhow::Result<()> {
    let answers = control::follow(control, &Request::Monitor)?;
    let mut file = write.map(|path| open(&path)).transpose()?;
    let mut output = io::stdout().lock();
    eprintln!("times are UTC; Ctrl-C ends");
    for line in answers.lines() {
        let line = serde_json::from_str(&line.context("cannot read from the agent")?);
        let line = match line.context("the agent is of another version")? {
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
            // A reader such as `head` has closed the output.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write the result")?,
        }
    }
    bail!("the agent has ended or reloaded")
}

fn open(path: &Path) -> anyhow::Result<(PathBuf, File)> {
    let begun = File::create(path).and_then(|mut file| pcap::begin(&mut file).map(|()| file));
    Ok((path.to_owned(), begun.with_context(|| format!("cannot write {}", path.display()))?))
}

/// Converts seconds to microseconds.
fn micros(at: f64) -> u64 {
    u64::try_from(std::time::Duration::try_from_secs_f64(at).unwrap_or_default().as_micros()).unwrap_or_default()
}

/// Formats the time of day in UTC. `at` is in seconds since 1970.
fn clock(at: f64) -> String {
    let micros = micros(at);
    let seconds = micros / 1_000_000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_printed_with_microseconds() {
        assert_eq!(clock(86_400.0 * 3.0 + 3_723.25), "01:02:03.250000");
    }
}
