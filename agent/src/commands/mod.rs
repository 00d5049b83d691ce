//! The command line: its definition, and a file for each command.

mod cleanup;
mod handover;
pub mod manual;
mod monitor;
mod reload;
mod status;
mod watch;

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use nix::sched::{CloneFlags, setns};
use xvrrp_config::{AgentConfig, Config, ConfigError};

use crate::control::{self, Request};
use crate::process::{capabilities, signals};
use crate::service::{agent, check};
use crate::succession::InheritedState;

/// Directory in which `ip netns add` creates a handle for each network namespace.
const NETNS_DIRECTORY: &str = "/run/netns";

/// Keeps virtual IP addresses alive on a group of Linux gateways: VRRP with an XDP fast path
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 success, 1 failure, 2 wrong usage or configuration.")]
pub struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the agent: take part in the elections of the configured virtual routers until SIGTERM or SIGINT
    Run {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take over from the running agent without a failover, for an upgrade or another configuration
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        namespace: Namespace,
    },
    /// Check a configuration, by itself and against this host, without changing anything
    Check {
        /// Configuration file
        file: PathBuf,
        /// Also check that it can continue from the state of the running agent with this control socket
        #[arg(long, value_name = "PATH", hide = true)]
        from: Option<PathBuf>,
        #[command(flatten)]
        namespace: Namespace,
    },
    /// Make the running agent restart, without a failover, with its current configuration file and the installed
    /// program; if the configuration is invalid, nothing changes
    Reload {
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Hand over the role of an Active virtual router to another host until --resume
    ///
    /// This host sends an advert with priority 0 and becomes Backup. Another host takes over within its Skew_Time. The
    /// command waits for that and prints how long it took. Afterwards, this host takes the role again only with
    /// --resume, or if no other router has it. This survives a reload, `run --replace` and a crash of the agent, but
    /// not a stop.
    #[command(
        after_help = "Exit status: 0 done, 1 refused, or no router took over (then this host is Active again), 2 wrong usage."
    )]
    Handover {
        /// Name of the virtual router; all of its families and its whole sync group are handed over
        name: String,
        /// End the handover: if this host has a better priority, it takes the role back at once, regardless of
        /// preempt_delay
        #[arg(long, conflicts_with = "force")]
        resume: bool,
        /// Hand over even if no other router was ever heard: a Backup that has never been Active is silent
        #[arg(long)]
        force: bool,
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Convert a configuration of keepalived or heartbeat, and print the result
    ///
    /// In the result, each key has a comment with the file and line that it comes from. Directives without a
    /// counterpart are listed on standard error, with advice on what to do instead.
    #[command(
        after_help = "Exit status: 0 everything was converted, 2 the file cannot be read, 3 directives are listed on standard \
                      error."
    )]
    Import {
        /// keepalived.conf, or heartbeat's ha.cf or haresources, which are in the same directory
        file: PathBuf,
        /// Program whose configuration it is, if the name and the content of the file do not show it
        #[arg(long)]
        from: Option<xvrrp_import::Format>,
        /// Host that the result is for: a heartbeat node, or keepalived's --config-id
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Remove from this host what a crashed agent has left, if no agent will be started again
    Cleanup {
        /// Configuration that the agent ran with; not needed if its [agent] table had only defaults
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        namespace: Namespace,
    },
    /// Print each advert, and each ARP and Neighbor Discovery frame for a virtual address, that arrives
    ///
    /// XDP handles these frames before tcpdump can see them. The last word of a line is the counter in `xvrrp status`
    /// that counted the frame, which says what became of it. Only one client can monitor at a time.
    Monitor {
        /// Also write the frames to a capture file for tcpdump -r or Wireshark, at most 512 bytes of each
        #[arg(long, value_name = "FILE.pcap")]
        write: Option<PathBuf>,
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Show the status of the running agent and its virtual routers
    Status {
        /// Print a JSON document, with durations in milliseconds
        #[arg(long)]
        json: bool,
        /// Show the status in this terminal as it changes, until q or Ctrl-C
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Print a script with which a shell completes the command line
    Completions { shell: Shell },
    /// Write the manual pages to a directory
    #[command(hide = true)]
    ManualPages { directory: PathBuf },
}

#[derive(Debug, clap::Args)]
struct Namespace {
    /// Network namespace to work in: a name that `ip netns` lists, or a path
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The command fails. A [`ConfigError`] or [`ImportError`](xvrrp_import::ImportError) means that a file is wrong,
    /// [`Incomplete`](xvrrp_import::Incomplete) that an import is incomplete.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            CliCommand::Run { config, replace, namespace } => run(&config, replace, &namespace),
            CliCommand::Check { file, from, namespace } => check(&file, from.as_deref(), &namespace),
            CliCommand::Reload { control } => reload::ask(&control),
            CliCommand::Handover { name, resume: false, force, control } => {
                print(&format!("{}\n", handover::hand_over(&control, &name, force)?))
            }
            CliCommand::Handover { name, resume: true, force: _, control } => {
                print(&format!("{}\n", handover::resume(&control, &name)?))
            }
            CliCommand::Import { file, from, node } => {
                import_file(&file, &xvrrp_import::Options { format: from, node })
            }
            CliCommand::Cleanup { config, namespace } => clean_up(config.as_deref(), &namespace),
            CliCommand::Completions { shell } => print(&manual::completions(Self::command(), shell)?),
            CliCommand::ManualPages { directory } => manual::write_pages(Self::command(), &directory),
            CliCommand::Monitor { write, control } => monitor::run(&control, write),
            CliCommand::Status { watch: true, control, .. } => watch::run(&control),
            CliCommand::Status { json: true, control, .. } => {
                let answer = control::ask_for(&control, &Request::Status)?;
                print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))
            }
            CliCommand::Status { json: false, control, .. } => print(&status::text(&control::status(&control)?)),
        }
    }
}

fn run(file: &Path, replace: bool, namespace: &Namespace) -> anyhow::Result<()> {
    let inherited = InheritedState::inherited()?;
    let config = load_or_inherit(file, inherited.as_ref())?;
    // A process that becomes the next agent is in its namespace already. By now, `--netns` may lead nowhere, or to
    // another namespace.
    let enters = namespace.netns.is_some() && inherited.is_none();
    capabilities::check(enters)?;
    if enters {
        namespace.enter()?;
    }
    manage(agent::run(&config, replace, inherited))
}

fn check(file: &Path, from: Option<&Path>, namespace: &Namespace) -> anyhow::Result<()> {
    let inherited = InheritedState::inherited()?;
    let config = load_or_inherit(file, inherited.as_ref())?;
    namespace.enter()?;
    // A configuration that already runs is not checked against the host again: the agent keeps running with it as far
    // as it can.
    let renewed = inherited.as_ref().is_none_or(|inherited| inherited.renewed);
    if renewed {
        for warning in manage(check::check(&config))? {
            eprintln!("warning: {warning}");
        }
    }
    if let Some(control) = from {
        // The next agent needs them too, and a new version of the program may have been installed without them
        // (setcap(8)).
        capabilities::check(false)?;
        manage(check::check_succession(&config, control, !renewed))?;
    }
    let count = config.virtual_routers.len();
    let plural = if count == 1 { "" } else { "s" };
    print(&format!("{}: configuration is valid: {count} virtual router{plural}\n", file.display()))
}

fn clean_up(config: Option<&Path>, namespace: &Namespace) -> anyhow::Result<()> {
    let agent = config.map(load).transpose()?.map_or_else(AgentConfig::default, |config| config.agent);
    namespace.enter()?;
    let removed = manage(cleanup::run(&agent))?;
    if removed.is_empty() {
        return print("nothing was left\n");
    }
    print(&removed.iter().map(|what| format!("removed {what}\n")).collect::<String>())
}

impl Namespace {
    /// Moves this thread, and everything that it starts later, into the namespace.
    fn enter(&self) -> anyhow::Result<()> {
        let Some(name) = &self.netns else { return Ok(()) };
        let path = if name.contains('/') { PathBuf::from(name) } else { Path::new(NETNS_DIRECTORY).join(name) };
        let namespace = std::fs::File::open(&path).with_context(|| {
            format!("--netns {name}: cannot open {}; `ip netns` lists the namespaces", path.display())
        })?;
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("--netns {name}: cannot enter {} (needs CAP_SYS_ADMIN)", path.display()))
    }
}

fn import_file(file: &Path, options: &xvrrp_import::Options) -> anyhow::Result<()> {
    let xvrrp_import::Import { toml, notices } = xvrrp_import::import(file, options)?;
    if let Some(toml) = &toml {
        print(toml)?;
    }
    for notice in &notices {
        eprintln!("{notice}");
    }
    if notices.is_empty() && toml.is_some() {
        return Ok(());
    }
    Err(xvrrp_import::Incomplete { count: notices.len(), result: toml.is_some() }.into())
}

/// Prints to standard output. A reader such as `head` may close it early; that is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(()),
    }
}

/// Returns the configuration that the previous agent in this process has left, otherwise the one in the file.
fn load_or_inherit(file: &Path, inherited: Option<&InheritedState>) -> Result<Config, ConfigError> {
    match inherited.and_then(|inherited| inherited.configuration.as_ref()) {
        Some(text) => xvrrp_config::parse(file, &text.0),
        None => load(file),
    }
}

fn load(file: &Path) -> Result<Config, ConfigError> {
    xvrrp_config::load(file)
}

/// Runs the management side of a command on a runtime. The election has a thread and a runtime of its own.
fn manage<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // For the threads of blocking calls.
    runtime.on_thread_start(signals::hold_back).enable_all();
    let runtime = runtime.build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(task);
    // Does not wait for blocking calls: a read from a file system that does not answer may never end.
    runtime.shutdown_background();
    outcome
}
