//! `cargo xtask soak --minutes N [--seed S]`: injects random faults into three routers and verifies that no two of them
//! ever serve at once.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use xvrrp_bench::soak::{self, Options, Report};
use xvrrp_lab::{interrupt_on_signals, is_interrupted};

const USAGE: &str = "usage: cargo xtask soak [--minutes N] [--seed S] [--first EPISODE] [--wall-clock]";
const HELP: &str = "\
Injects random faults into three routers with 30 virtual routers each, and verifies that no two of them ever serve at
once.

  --minutes N      run for N minutes (default: 2)
  --seed S         repeat the faults of this seed
  --first EPISODE  start with this episode of the seed
  --wall-clock     also step the wall clock, which is that of the whole machine";
/// Exit status by which a shell shows that SIGINT has ended a program.
const EXIT_INTERRUPTED: u8 = 130;
/// Share of all samples that must be certain, or the run proves nothing. It allows for a machine that does other work
/// too.
const CERTAINTY: f64 = 0.5;

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}\n\n{HELP}");
        return ExitCode::SUCCESS;
    }
    match options().and_then(|options| soak(&options)) {
        Ok(()) if is_interrupted() => ExitCode::from(EXIT_INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let mut options = Options { length: Duration::from_mins(2), seed: u64::from(seed), first: 0, wall_clock: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|number| number.parse::<u64>().ok()).context(USAGE);
        match arg.as_str() {
            "--minutes" => options.length = Duration::from_secs(number()? * 60),
            "--seed" => options.seed = number()?,
            "--first" => options.first = number()?,
            "--wall-clock" => options.wall_clock = true,
            other => bail!("there is no option {other:?}; {USAGE}"),
        }
    }
    Ok(options)
}

fn soak(options: &Options) -> Result<()> {
    interrupt_on_signals()?;
    println!("seed {0}: `cargo xtask soak --seed {0}` repeats these faults", options.seed);
    if !options.wall_clock {
        println!("the wall clock is left alone, because it is that of the whole machine (--wall-clock steps it)");
    }
    let report = soak::run(options, |line| println!("{line}"))?;
    let Report { episodes, faults, moments, certain, excused, gentle, excused_changes, recoveries } = &report;
    let certainty = *certain as f64 / (*moments).max(1) as f64;
    println!("\nepisodes: {episodes}, with these faults: {faults:?}");
    println!("samples: {moments} were due, {:.2} % of them are certain", certainty * 100.0);
    println!(
        "two routers served at once: in 0 samples without an excuse; in {excused} while a router was cut off, adverts \
         were late or lost, or XDP was detached"
    );
    println!(
        "episodes without a reason for a change of role: {gentle}, with 0 changes of role, apart from \
         {excused_changes} while the machine stood still"
    );
    if let (Some(longest), Some(median)) = (recoveries.last(), recoveries.get(recoveries.len() / 2)) {
        println!(
            "time from the last fault of an episode until one router alone served: median {median:?}, longest \
             {longest:?}"
        );
    }
    ensure!(
        certainty > CERTAINTY,
        "the run proves nothing: only {:.0} % of the samples are certain, because the machine was too busy",
        certainty * 100.0
    );
    Ok(())
}
