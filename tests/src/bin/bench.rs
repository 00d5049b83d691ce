//! `cargo xtask bench [SUBJECT...]`: measures xvrrp, beside keepalived where both can do the same.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use xvrrp_tests::lab::{agent_binary, run};
use xvrrp_tests::{bench_xdp, outage};

const SUBJECTS: &[&str] = &["outage", "xdp"];
const RUNS: usize = 10;

fn main() -> Result<()> {
    let mut runs = RUNS;
    let mut subjects = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--runs" => runs = args.next().unwrap_or_default().parse()?,
            known if SUBJECTS.contains(&known) => subjects.push(known.to_owned()),
            other => bail!("unknown subject {other:?}; known: {}, and --runs N", SUBJECTS.join(", ")),
        }
    }
    if subjects.is_empty() {
        subjects = SUBJECTS.iter().map(|&subject| subject.to_owned()).collect();
    }
    println!("{}\n", machine()?);
    let mut met = true;
    for subject in subjects {
        if subject == "outage" {
            let report = outage::run(runs)?;
            println!("{report}");
            met &= report.meets_target();
        } else {
            let report = bench_xdp::run()?;
            println!("{report}");
            met &= report.meets_target();
        }
    }
    ensure!(met, "a target was missed; on a machine that others use too, run it again");
    Ok(())
}

/// What the figures were measured on.
fn machine() -> Result<String> {
    let kernel = run(Command::new("uname").args(["-srm"]))?;
    let xvrrp = run(Command::new(agent_binary()?).arg("--version"))?;
    let keepalived = Command::new("keepalived").arg("--version").output()?;
    let keepalived = String::from_utf8_lossy(&keepalived.stderr).lines().next().unwrap_or_default().to_owned();
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{}, {cores} cores; {}; {keepalived}", kernel.trim(), xvrrp.trim()))
}
