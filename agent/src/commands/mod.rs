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
use xvrrp_config::{AgentConfig, Config};
use xvrrp_import::{AgentKeys, Source};

use crate::control::{self, Request};
use crate::process::{capabilities, command, signals};
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
        /// Configuration file: one of xvrrp, or a keepalived.conf as it is
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take over from the running agent without a failover, for an upgrade or another configuration
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        namespace: Namespace,
        #[command(flatten)]
        foreign: Foreign,
    },
    /// Check a configuration, by itself and against this host, without changing anything
    #[command(
        after_help = "Exit status: 0 valid, 1 this host cannot be examined, 2 wrong usage or configuration, 3 something in \
                      a configuration of another program is left out."
    )]
    Check {
        /// Configuration file: one of xvrrp, or a keepalived.conf as it is
        file: PathBuf,
        /// Also check that it can continue from the state of the running agent with this control socket
        #[arg(long, value_name = "PATH", hide = true)]
        from: Option<PathBuf>,
        #[command(flatten)]
        namespace: Namespace,
        #[command(flatten)]
        foreign: Foreign,
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
    /// Convert a configuration of keepalived, heartbeat or FRR, and print the result
    ///
    /// In the result, each key has a comment with the file and line that it comes from. Standard error lists what is
    /// left out, with advice on what to do instead, and what differs from the original.
    #[command(
        after_help = "Exit status: 0 nothing is left out, 2 the file cannot be read, 3 something is left out, or there is no \
                      virtual router."
    )]
    Import {
        /// keepalived.conf, frr.conf, or heartbeat's ha.cf or haresources, which are in the same directory
        file: PathBuf,
        /// Also list what needs nothing: directives that the original program ignores too, and those that say what
        /// xvrrp does anyway
        #[arg(long)]
        verbose: bool,
        /// Program whose configuration it is, if the name and the content of the file do not show it
        #[arg(long)]
        from: Option<xvrrp_import::Format>,
        /// Host that the result is for: a node of heartbeat's, or keepalived's --config-id
        #[arg(long, visible_alias = "config-id", value_name = "NAME")]
        node: Option<String>,
    },
    /// Remove from this host what a crashed agent has left, if no agent will be started again
    Cleanup {
        /// Configuration that the agent ran with; not needed if its [agent] table had only defaults
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        foreign: Foreign,
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

/// What the configurations of other programs do not say.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for configurations of keepalived, heartbeat and FRR")]
struct Foreign {
    /// Host that the configuration is for: keepalived's --config-id, or a node of heartbeat's [default: the host name
    /// up to its first dot]
    #[arg(long, visible_alias = "config-id", value_name = "NAME")]
    node: Option<String>,
    /// Control socket of the agent, in place of the default
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Address at which metrics are served over HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<String>,
    /// Directory in which programs and maps are pinned, in place of the default
    #[arg(long, value_name = "PATH")]
    bpffs: Option<String>,
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
    /// The command fails. A [`ConfigError`](xvrrp_config::ConfigError), [`SourceError`](xvrrp_import::SourceError) or
    /// [`ImportError`](xvrrp_import::ImportError) means that a file is wrong, [`Incomplete`](xvrrp_import::Incomplete)
    /// or [`LeftOut`] that something in a file is left out.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            CliCommand::Run { config, foreign, replace, namespace } => {
                run(&foreign.source(config), replace, &namespace)
            }
            CliCommand::Check { file, foreign, from, namespace } => {
                check(&foreign.source(file), from.as_deref(), &namespace)
            }
            CliCommand::Reload { control } => reload::ask(&control),
            CliCommand::Handover { name, resume: false, force, control } => {
                print(&format!("{}\n", handover::hand_over(&control, &name, force)?))
            }
            CliCommand::Handover { name, resume: true, force: _, control } => {
                print(&format!("{}\n", handover::resume(&control, &name)?))
            }
            CliCommand::Import { file, verbose, from, node } => {
                import_file(&file, verbose, &xvrrp_import::Options { format: from, node })
            }
            CliCommand::Cleanup { config, foreign, namespace } => clean_up(config, foreign, &namespace),
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

fn run(source: &Source, replace: bool, namespace: &Namespace) -> anyhow::Result<()> {
    let inherited = InheritedState::inherited()?;
    let config = load_or_inherit(source, inherited.as_ref())?;
    // A process that becomes the next agent is in its namespace already. By now, the name may lead nowhere, or to
    // another namespace.
    let netns = namespace.of(&config.agent).filter(|_| inherited.is_none());
    capabilities::check(netns.is_some())?;
    enter(netns)?;
    manage(agent::run(&config, source, replace, inherited))
}

fn check(source: &Source, from: Option<&Path>, namespace: &Namespace) -> anyhow::Result<()> {
    let inherited = InheritedState::inherited()?;
    let config = load_or_inherit(source, inherited.as_ref())?;
    enter(namespace.of(&config.agent).filter(|_| inherited.is_none()))?;
    // A configuration that already runs is not checked against the host again: the agent keeps running with it as far
    // as it can.
    let renewed = inherited.as_ref().is_none_or(|inherited| inherited.renewed);
    if renewed {
        let warnings = manage(check::check(&config))?;
        // What an import leaves out or changes is no objection to a reload, and the next agent logs it.
        let original = config.text.original.as_deref().filter(|_| from.is_none());
        for changed in original.iter().flat_map(|original| original.changed.iter().chain(&original.unusable)) {
            eprintln!("{changed}");
        }
        for warning in warnings.into_iter().filter(|_| from.is_none()) {
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
    let valid = format!("{}: configuration is valid: {count} virtual router{plural}", source.path.display());
    let Some(original) = config.text.original.as_deref().filter(|_| from.is_none()) else {
        return print(&format!("{valid}\n"));
    };
    if !original.left_out.is_empty() {
        return Err(LeftOut { valid, counts: original.counts.clone() }.into());
    }
    let counts = if original.counts.is_empty() { String::new() } else { format!(": {}", original.counts) };
    print(&format!("{valid}; nothing is left out{counts}\n"))
}

/// A configuration of another program can be used, but something in it is left out.
#[derive(Debug, thiserror::Error)]
#[error("{valid}, but something is left out: {counts}")]
pub struct LeftOut {
    valid: String,
    /// Numbers of what is left out, what differs and what needs nothing.
    counts: String,
}

impl Foreign {
    fn source(self, path: PathBuf) -> Source {
        let Self { node, control, metrics, bpffs } = self;
        Source { path, node, agent: AgentKeys { control, metrics, bpffs } }
    }
}

fn clean_up(config: Option<PathBuf>, foreign: Foreign, namespace: &Namespace) -> anyhow::Result<()> {
    let agent = match config {
        Some(path) => foreign.source(path).load()?.agent,
        None => {
            let Foreign { control, bpffs, .. } = foreign;
            let own = AgentConfig::default();
            let (control, bpffs) = (control.map_or(own.control, PathBuf::from), bpffs.map_or(own.bpffs, PathBuf::from));
            AgentConfig { control, bpffs, ..AgentConfig::default() }
        }
    };
    enter(namespace.of(&agent))?;
    let removed = manage(cleanup::run(&agent))?;
    if removed.is_empty() {
        return print("nothing was left\n");
    }
    print(&removed.iter().map(|what| format!("removed {what}\n")).collect::<String>())
}

impl Namespace {
    /// Returns the namespace to work in, if it is another one: the command line counts more than the configuration.
    fn of<'a>(&'a self, agent: &'a AgentConfig) -> Option<&'a str> {
        self.netns.as_deref().or(agent.netns.as_deref())
    }
}

/// Moves this thread, and everything that it starts later, into a network namespace.
fn enter(netns: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = netns else { return Ok(()) };
    let path = if name.contains('/') { PathBuf::from(name) } else { Path::new(NETNS_DIRECTORY).join(name) };
    let namespace = std::fs::File::open(&path).with_context(|| {
        format!("network namespace {name}: cannot open {}; `ip netns` lists the namespaces", path.display())
    })?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("network namespace {name}: cannot enter {} (needs CAP_SYS_ADMIN)", path.display()))
}

/// Prints the result of an import to standard output, and its notices to standard error. The last line there has their
/// numbers.
fn import_file(file: &Path, verbose: bool, options: &xvrrp_import::Options) -> anyhow::Result<()> {
    let import = xvrrp_import::import(file, options)?;
    if let Some(toml) = import.toml() {
        print(toml)?;
    }
    for notice in import.notices.iter().filter(|notice| verbose || notice.kind != xvrrp_import::Kind::Note) {
        eprintln!("{notice}");
    }
    let counts = import.counts();
    let hidden = !verbose && counts.notes > 0;
    if !import.is_complete() {
        return Err(xvrrp_import::Incomplete { counts, result: import.configuration.is_some(), hidden }.into());
    }
    if !import.notices.is_empty() {
        eprintln!("xvrrp: nothing is left out: {counts}{}", if hidden { xvrrp_import::HOW_TO_SHOW } else { "" });
    }
    Ok(())
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
///
/// What this host cannot run of another program's configuration is left out, unless the previous agent has found out.
fn load_or_inherit(source: &Source, inherited: Option<&InheritedState>) -> anyhow::Result<Config> {
    match inherited.and_then(|inherited| inherited.configuration.as_ref()) {
        Some(text) => Ok(source.parse(text).map(with_paths)?),
        None => manage(check::disable_unusable(source.load().map(with_paths)?)),
    }
}

/// Looks up the programs of a configuration that are named without a path.
fn with_paths(mut config: Config) -> Config {
    config.find_programs(command::find);
    config
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
