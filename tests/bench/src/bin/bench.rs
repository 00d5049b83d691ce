//! `cargo xtask bench [SUBJECT...] [--runs N] [--quick]`: measures xvrrp, and keepalived beside it where both can do
//! the same.

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
                options.runs = Some(runs.context("--runs needs a number")?);
            }
            "--quick" => options.quick = true,
            "--help" | "-h" => {
                println!("Measures xvrrp beside keepalived. Without SUBJECT, measures everything.\n");
                println!("Usage: cargo xtask bench [SUBJECT...] [--runs N] [--quick]\n");
                println!("  --runs N     measure everything N times, instead of each subject's own number of times");
                println!("  --quick      only check that the bench works; the figures mean nothing\n");
                println!("Subjects:");
                for Subject { name, title, .. } in SUBJECTS {
                    println!("  {name:12} {title}");
                }
                return Ok(());
            }
            name => match SUBJECTS.iter().find(|subject| subject.name == name) {
                Some(subject) => subjects.push(*subject),
                None => bail!("there is no subject {name:?}; the subjects are {}", names().join(", ")),
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
    ensure!(report.failed().is_empty(), "these subjects could not be measured: {}", report.failed().join(", "));
    ensure!(report.missed() == 0, "targets were missed; if the machine does other work too, run the bench again");
    Ok(())
}

fn names() -> Vec<&'static str> {
    SUBJECTS.iter().map(|subject| subject.name).collect()
}
