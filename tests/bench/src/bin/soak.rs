//! `cargo xtask soak --minutes N [--seed S]`: random faults on three routers; two must never serve at once.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use xvrrp_bench::soak::{self, Options, Report};
use xvrrp_lab::{interrupt_on_signals, is_interrupted};

const USAGE: &str = "cargo xtask soak [--minutes N] [--seed S] [--first EPISODE] [--wall-clock]";
/// As a shell shows a program that SIGINT has ended.
const EXIT_INTERRUPTED: u8 = 130;
/// Of all moments, so many must have been watched, or nothing is proven. On a machine that others use too.
const CERTAINTY: f64 = 0.5;

fn main() -> ExitCode {
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
    let mut options = Options { length: Duration::from_secs(120), seed: u64::from(seed), first: 0, wall_clock: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|number| number.parse::<u64>().ok()).context(USAGE);
        match arg.as_str() {
            "--minutes" => options.length = Duration::from_secs(number()? * 60),
            "--seed" => options.seed = number()?,
            "--first" => options.first = number()?,
            "--wall-clock" => options.wall_clock = true,
            "--help" | "-h" => bail!("{USAGE}"),
            other => bail!("what is {other:?}? {USAGE}"),
        }
    }
    Ok(options)
}

fn soak(options: &Options) -> Result<()> {
    interrupt_on_signals()?;
    println!("seed {}: the same faults again by `cargo xtask soak --seed {}`", options.seed, options.seed);
    if !options.wall_clock {
        println!("the wall clock is left alone: it is the whole machine's (--wall-clock steps it)");
    }
    let report = soak::run(options, |line| println!("{line}"))?;
    let Report { episodes, faults, moments, certain, excused, gentle, excused_changes, recoveries } = &report;
    let certainty = *certain as f64 / (*moments).max(1) as f64;
    println!("\n{episodes} episodes, faults: {faults:?}");
    println!(
        "{moments} samples due, {:.2} % of them certain; two routers served in none without an excuse,",
        certainty * 100.0
    );
    println!(
        "and in {excused} while a router was cut off, adverts were late or lost, or a role had just been given up"
    );
    println!(
        "{gentle} episodes in which no role had to change: none did, but for {excused_changes} changes while the machine stood still"
    );
    if let (Some(longest), Some(median)) = (recoveries.last(), recoveries.get(recoveries.len() / 2)) {
        println!(
            "one alone served again {median:?} (median), {longest:?} (longest) after the last fault of an episode"
        );
    }
    ensure!(certainty > CERTAINTY, "the machine was too busy to be sure of anything");
    Ok(())
}
