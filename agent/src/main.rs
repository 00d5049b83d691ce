use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::filter::LevelFilter;
use xvrrp::commands::{Cli, LeftOut};
use xvrrp::process::{log_queue, signals};
use xvrrp_config::ConfigError;
use xvrrp_dataplane::with_causes;
use xvrrp_import::{ImportError, Incomplete, SourceError};

/// How many lines of the log may wait for whoever reads it. Room for all of them is made at the start: 64 kB.
const LOG_LINES: usize = 2048;
/// Wrong usage or configuration; clap uses the same.
const EXIT_USAGE: u8 = 2;
/// Something in a configuration of another program is left out.
const EXIT_INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    // A separate thread writes the log, so that a slow reader delays nothing. Lines may be lost.
    let (log, _guard) = signals::without(|| {
        NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES).finish(log_queue::Receiver(std::io::stderr()))
    });
    tracing_subscriber::fmt()
        .with_writer(move || log_queue::Sender(log.clone()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(LevelFilter::INFO)
        .init();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Each of their lines names a place in the configuration by itself.
        Err(error) if error.is::<ConfigError>() || error.is::<ImportError>() || error.is::<SourceError>() => {
            eprintln!("{error}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => {
            eprintln!("xvrrp: {}", with_causes(error.as_ref()));
            if error.is::<Incomplete>() || error.is::<LeftOut>() {
                ExitCode::from(EXIT_INCOMPLETE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
