//! `cargo xtask bench [SUBJECT...] [--runs N] [--quick]`: measures xvrrp, beside keepalived where both can do the same.

use anyhow::{Context, Result, bail, ensure};
use xvrrp_bench::{self, Options, SUBJECTS, Subject};

fn main() -> Result<()> {
    let mut options = Options::default();
    let mut subjects: Vec<Subject> = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--runs" => {
                let runs = args.next().and_then(|count| count.parse().ok());
                options.runs = Some(runs.context("--runs wants a number")?);
            }
            "--quick" => options.quick = true,
            "--help" | "-h" => {
                println!("cargo xtask bench [SUBJECT...] [--runs N] [--quick]");
                for Subject { name, title, .. } in SUBJECTS {
                    println!("  {name:12} {title}");
                }
                return Ok(());
            }
            name => match SUBJECTS.iter().find(|subject| subject.name == name) {
                Some(subject) => subjects.push(*subject),
                None => bail!("unknown subject {name:?}; known: {}", names().join(", ")),
            },
        }
    }
    if subjects.is_empty() {
        subjects = SUBJECTS.to_vec();
    }
    let report = xvrrp_bench::run(&subjects, &options)?;
    let directory = xvrrp_bench::directory()?;
    report.write(&directory)?;
    println!("report: {}", directory.join("report.html").display());
    ensure!(report.failed().is_empty(), "could not be measured: {}", report.failed().join(", "));
    ensure!(report.missed() == 0, "a target was missed; on a machine that others use too, run it again");
    Ok(())
}

fn names() -> Vec<&'static str> {
    SUBJECTS.iter().map(|subject| subject.name).collect()
}
