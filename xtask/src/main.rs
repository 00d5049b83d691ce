//! `cargo xtask COMMAND`: everything that is done with this repository.

mod build;
mod complaint;
mod conformance;
mod dist;
mod files;
mod fuzz;
mod golden;
mod kernel;
mod process;
mod run;
mod setup;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Everything that is done with this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: the BPF toolchain and, on Debian, the peers of the tests
    Setup,
    /// Compile the kernel half and the agent that carries it
    Build {
        /// Optimize the agent
        #[arg(long)]
        release: bool,
    },
    /// Build, then run the agent with ARGS
    Run {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Two agents in network namespaces: cut a cable, see the address move
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Random faults on three agents in network namespaces, and two that never serve at once
    Soak {
        /// `--minutes N`, `--seed S`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run every test; namespaces, BPF and peers need root
    Test {
        /// Instead: load, XDP and a lab on virtio network cards under Debian's kernel of this series, such as 6.1, in qemu
        #[arg(long, value_name = "SERIES", conflicts_with = "load")]
        kernel: Option<String>,
        #[command(flatten)]
        load: test::Load,
        /// For `cargo test`, such as a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure xvrrp beside keepalived in the same lab
    Bench {
        /// What to measure, such as `outage` or `xdp`; everything unless said. `--runs N`: how many times; `--quick`:
        /// only whether the bench works; `--help`: what there is
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Draw what `xvrrp status --watch` shows: docs/pictures/status-watch.svg
    Screenshot,
    /// Make a Debian package: target/dist/xvrrp_VERSION_ARCHITECTURE.deb
    Dist(dist::Options),
    /// Run the wire decoders under cargo-fuzz
    Fuzz {
        /// How long each target runs
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Put what is found into the corpus in fuzz/corpus, reduced to the smallest inputs that reach as much
        #[arg(long)]
        keep: bool,
        /// All of them, unless some are named
        targets: Vec<String>,
    },
    /// Record the elections of agent/vrrp/tests/golden again
    Golden,
    /// Write docs/conformance.md from the checklist and from who cites it
    Conformance,
    /// Check the rules that no compiler checks: layering, file sizes
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Build { release } => build(release),
        Command::Run { args } => run::agent(&args),
        Command::Demo { args } => run::demo(&args),
        Command::Soak { args } => run::measure("soak", &args),
        Command::Test { kernel: Some(series), args, .. } => kernel::run(&series, &args),
        Command::Test { kernel: None, load, args } => test::run(load, &args),
        Command::Bench { args } => run::measure("bench", &args),
        Command::Screenshot => run::screenshot(),
        Command::Dist(options) => dist::run(&options),
        Command::Fuzz { seconds, keep, targets } => fuzz::run(seconds, keep, &targets),
        Command::Golden => golden::record(),
        Command::Conformance => conformance::run(),
        Command::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(release: bool) -> anyhow::Result<()> {
    setup::ensure(setup::Needs::Build)?;
    let profile = if release { build::Profile::Release } else { build::Profile::Dev };
    build::run(profile, &["xvrrp"]).map(drop)
}
