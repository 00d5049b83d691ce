//! The command line.

mod cleanup;
mod handover;
pub mod manual;
mod monitor;
mod reload;
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
use crate::process::capabilities;
use crate::service::{agent, check};
use crate::succession::InheritedState;

/// Where `ip netns add` puts a handle of a network namespace.
const NETNS_DIRECTORY: &str = "/run/netns";

/// Keeps virtual IP addresses alive on a group of Linux gateways: VRRP with an XDP fast path.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 done, 1 failed while working, 2 wrong usage or configuration.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take part in the elections of a configuration's virtual routers, until SIGTERM or SIGINT
    Run {
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take over from the agent that runs, without a failover: for an upgrade, or another configuration
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        namespace: Namespace,
    },
    /// Check a configuration, alone and against this host, without touching anything
    Check {
        /// The configuration
        file: PathBuf,
        /// Also whether it can go on with what the running agent with this control socket would leave
        #[arg(long, value_name = "PATH", hide = true)]
        from: Option<PathBuf>,
        #[command(flatten)]
        namespace: Namespace,
    },
    /// Make the running agent start anew with its configuration as it is now, and with the program as it is installed now,
    /// without a failover; with a wrong configuration everything stays as it was
    Reload {
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Give the role of an Active virtual router to another host, and leave it there until --resume
    ///
    /// This host sends an advert with priority 0 and becomes Backup, and the other takes over within its Skew_Time; the command
    /// waits for that and prints how long it took. From then on this host takes the role again only with --resume, or if
    /// nobody else has it. A reload, `run --replace` and a crash of the agent change nothing of that; a stop does.
    #[command(
        after_help = "Exit status: 0 done, 1 refused, or nobody took over (then this host is Active again), 2 wrong usage."
    )]
    Handover {
        /// The virtual router, in all of its families, and with it all of its sync group
        name: String,
        /// End the handover: with a better priority this host takes the role back at once, whatever preempt_delay says
        #[arg(long, conflicts_with = "force")]
        resume: bool,
        /// Even if no other router was ever heard: a Backup that has never been Active is silent
        #[arg(long)]
        force: bool,
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Turn a configuration of keepalived or heartbeat into one of xvrrp, on standard output
    ///
    /// Each key says which file and line it comes from. What has no counterpart is listed on standard error, with what
    /// to do instead.
    #[command(
        after_help = "Exit status: 0 all was taken over, 2 the file cannot be read, 3 some is listed on standard error."
    )]
    Import {
        /// keepalived.conf, or heartbeat's ha.cf or haresources, which lie in one directory
        file: PathBuf,
        /// Whose configuration it is, if its name and content do not tell
        #[arg(long)]
        from: Option<xvrrp_import::Format>,
        /// The host that the result is for: a node of heartbeat's, or what keepalived calls its --config-id
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Take off this host what a crashed agent has left, where none will be started again
    Cleanup {
        /// The configuration that the agent ran with, unless its [agent] table had only defaults
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        namespace: Namespace,
    },
    /// Print the adverts, and the ARP and Neighbor Discovery for virtual addresses, that arrive, and what becomes of each
    ///
    /// XDP takes them before tcpdump could see them. The last word of a line is the counter in `xvrrp status` that has counted
    /// the frame. One at a time can watch.
    Monitor {
        /// Put the frames into a capture file, too, for tcpdump -r or Wireshark; no more than 512 bytes of each
        #[arg(long, value_name = "FILE.pcap")]
        write: Option<PathBuf>,
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Show how the virtual routers of the running agent stand
    Status {
        /// Print a JSON document, with all times in milliseconds
        #[arg(long)]
        json: bool,
        /// Show them in this terminal as they change, until q or Ctrl-C
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        /// The agent's control socket
        #[arg(long, value_name = "PATH", default_value = xvrrp_config::AgentConfig::DEFAULT_CONTROL)]
        control: PathBuf,
    },
    /// Print what a shell reads to complete the command line
    Completions { shell: Shell },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    ManualPages { directory: PathBuf },
}

#[derive(Debug, clap::Args)]
struct Namespace {
    /// The network namespace to work in: a name that `ip netns` knows, or a path
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

impl Cli {
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run { config, replace, namespace } => {
                let bequest = InheritedState::inherited()?;
                let config = load_or_go_on(&config, bequest.as_ref())?;
                capabilities::check(namespace.netns.is_some())?;
                namespace.enter()?;
                manage(agent::run(&config, replace, bequest))
            }
            Command::Check { file, from, namespace } => {
                let bequest = InheritedState::inherited()?;
                let config = load_or_go_on(&file, bequest.as_ref())?;
                namespace.enter()?;
                // The configuration that runs may go on wherever it can.
                let renewed = bequest.as_ref().is_none_or(|bequest| bequest.renewed);
                if renewed {
                    for warning in manage(check::check(&config))? {
                        eprintln!("warning: {warning}");
                    }
                }
                if let Some(control) = from {
                    manage(check::check_succession(&config, &control, !renewed))?;
                }
                let count = config.virtual_routers.len();
                let plural = if count == 1 { "" } else { "s" };
                print(&format!("{}: configuration is valid: {count} virtual router{plural}\n", file.display()))
            }
            Command::Reload { control } => reload::ask(&control),
            Command::Handover { name, resume: false, force, control } => {
                print(&format!("{}\n", handover::hand_over(&control, &name, force)?))
            }
            Command::Handover { name, resume: true, force: _, control } => {
                print(&format!("{}\n", handover::resume(&control, &name)?))
            }
            Command::Import { file, from, node } => import_file(&file, &xvrrp_import::Options { format: from, node }),
            Command::Cleanup { config, namespace } => {
                let agent =
                    config.as_deref().map(load).transpose()?.map_or_else(AgentConfig::default, |config| config.agent);
                namespace.enter()?;
                let removed = manage(cleanup::run(&agent))?;
                if removed.is_empty() {
                    return print("nothing was left\n");
                }
                print(&removed.iter().map(|what| format!("removed {what}\n")).collect::<String>())
            }
            Command::Completions { shell } => print(&manual::completions(Self::command(), shell)?),
            Command::ManualPages { directory } => manual::write_pages(Self::command(), &directory),
            Command::Monitor { write, control } => monitor::run(&control, write),
            Command::Status { watch: true, control, .. } => watch::run(&control),
            Command::Status { json, control, .. } => {
                if json {
                    let answer = control::ask_for(&control, &Request::Status)?;
                    print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))
                } else {
                    print(&control::status(&control)?.to_string())
                }
            }
        }
    }
}

impl Namespace {
    /// Moves this thread, and so all that it will start, into the namespace.
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
    let xvrrp_import::Import { toml, left } = xvrrp_import::import(file, options)?;
    if let Some(toml) = &toml {
        print(toml)?;
    }
    for left in &left {
        eprintln!("{left}");
    }
    if left.is_empty() && toml.is_some() {
        return Ok(());
    }
    Err(xvrrp_import::Incomplete { count: left.len(), result: toml.is_some() }.into())
}

/// On standard output. Who has read enough of it, such as `head`, may close it.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(()),
    }
}

/// The configuration that the agent before goes on with, or what stands in the file.
fn load_or_go_on(file: &Path, bequest: Option<&InheritedState>) -> Result<Config, ConfigError> {
    match bequest.and_then(|bequest| bequest.configuration.as_ref()) {
        Some(text) => xvrrp_config::parse(file, &text.0),
        None => load(file),
    }
}

fn load(file: &Path) -> Result<Config, ConfigError> {
    xvrrp_config::load(file)
}

/// Runs everything but the election, which has a thread and a runtime of its own.
fn manage<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(task);
    // A read from a file system that does not answer may never end.
    runtime.shutdown_background();
    outcome
}
