//! `cargo xtask COMMAND`: builds, tests, measures and packages xvrrp.

mod build;
mod checklist;
mod complaint;
mod conformance;
mod dist;
mod files;
mod fuzz;
mod golden;
mod kernel;
mod parity;
mod process;
mod run;
mod setup;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Builds, tests, measures and packages xvrrp")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install missing programs: the BPF compiler and linker and, on Debian, the programs that the tests call
    Setup,
    /// Build the kernel half and the agent that contains it
    Build {
        /// Optimize the agent
        #[arg(long)]
        release: bool,
    },
    /// Build the agent, then run it with ARGS
    Run {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Show two agents in network namespaces: cut a cable, and see the address move
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Inject random faults into three routers, and verify that no two of them ever serve at once
    Soak {
        /// `--minutes N`, `--seed S`, `--first EPISODE`, `--wall-clock`; `-- --help` explains them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run every test; those with namespaces, BPF and peers need root
    Test {
        /// Run the kernel half and a lab on virtio network cards under Debian's kernel of this series, such as 6.1, in
        /// qemu
        #[arg(long, value_name = "SERIES", conflicts_with = "load")]
        kernel: Option<String>,
        #[command(flatten)]
        load: test::Load,
        /// Arguments for `cargo test`, such as the name of a test
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure xvrrp and keepalived in the same lab
    Bench {
        /// Subjects, such as `outage` or `xdp` (default: all of them), `--runs N` and `--quick`; `-- --help` explains
        /// them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Draw the display of `xvrrp status --watch` to docs/pictures/status-watch.svg
    Screenshot,
    /// Make a Debian package: target/dist/xvrrp_VERSION_ARCHITECTURE.deb
    Dist(dist::DistOptions),
    /// Run the wire decoders under cargo-fuzz
    Fuzz {
        /// Run each target for this number of seconds
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Add new inputs to fuzz/corpus, and reduce it to the smallest inputs that reach as much code
        #[arg(long)]
        keep: bool,
        /// Targets to run [default: all of them]
        targets: Vec<String>,
    },
    /// Record the golden traces of elections in agent/vrrp/tests/golden again
    Golden,
    /// Write docs/conformance.md from the checklist and from the code and tests that cite it
    Conformance,
    /// Write docs/keepalived-parity.md from its rows, the directives of the import, and the tests that cite the rows
    Parity,
    /// Check the rules that no compiler checks, such as layering and the size of files
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
        Command::Parity => parity::run(),
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
