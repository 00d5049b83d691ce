//! The agent under test.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::Daemon;
use crate::TinyDirectory;
use crate::VirtualRouter;
use crate::{Namespace, run, workspace};
use crate::{PATIENCE, eventually};

/// Returns the path of the agent's binary, which `cargo xtask` has built.
pub fn agent_binary() -> Result<PathBuf> {
    let built = env::var_os("XVRRP_AGENT").map(PathBuf::from);
    let default = workspace().join("target/debug/xvrrp");
    let binary = built.unwrap_or(default);
    ensure!(binary.exists(), "{} is missing: run the tests by `cargo xtask test`, which builds it", binary.display());
    Ok(binary)
}

/// A running agent with its configuration, control socket and log in a directory of its own.
#[derive(Debug)]
pub struct Xvrrp {
    /// The process.
    pub daemon: Daemon,
    /// Shared with the agents that follow this one.
    directory: Arc<Scratch>,
    namespace: String,
}

impl Xvrrp {
    /// Starts an agent in the namespace.
    pub fn start(namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        Self::start_in(namespace, virtual_routers, Arc::new(Scratch::new()?), &How::default())
    }

    /// Starts an agent in the namespace. `wrapper` is the command line of a program that runs the agent, or empty.
    /// `keys` are more lines of `[agent]`.
    pub fn start_by(
        namespace: &Namespace,
        virtual_routers: &[VirtualRouter],
        wrapper: &[&str],
        keys: &str,
    ) -> Result<Self> {
        Self::start_in(namespace, virtual_routers, Arc::new(Scratch::new()?), &How { wrapper, keys, ..How::default() })
    }

    /// Starts an agent in the namespace whose control socket, and the files beside it, are in a tiny directory.
    pub fn start_in_tiny_run(namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        let mut scratch = Scratch::new()?;
        scratch.run = Some(TinyDirectory::new()?);
        Self::start_in(namespace, virtual_routers, Arc::new(scratch), &How::default())
    }

    /// Returns the tiny directory of an agent that was started by [`Self::start_in_tiny_run`].
    pub fn tiny_run(&self) -> Result<&TinyDirectory> {
        self.directory.run.as_ref().context("the agent was started without a tiny directory")
    }

    /// Starts an agent in the namespace and in a mount namespace of its own, with its pins below `bpffs`.
    pub fn start_unshared(namespace: &Namespace, virtual_routers: &[VirtualRouter], bpffs: &Path) -> Result<Self> {
        let keys = format!("bpffs = {bpffs:?}\n");
        Self::start_by(namespace, virtual_routers, &["unshare", "--mount"], &keys)
    }

    /// Starts an agent outside of the namespace. It enters the namespace by `--netns` with this path.
    pub fn start_outside(namespace: &Namespace, virtual_routers: &[VirtualRouter], path: &Path) -> Result<Self> {
        let outside = format!("--net=/proc/{}/ns/net", std::process::id());
        let path = path.to_str().context("a path that is not UTF-8")?;
        let how = How { wrapper: &["nsenter", &outside], options: &["--netns", path], ..How::default() };
        Self::start_in(namespace, virtual_routers, Arc::new(Scratch::new()?), &how)
    }

    /// Ends this agent, unless it has ended, and starts another one with the same directory, as after a crash.
    pub fn restart(self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        let Self { daemon, directory, .. } = self;
        drop(daemon);
        Self::start_in(namespace, virtual_routers, directory, &How::default())
    }

    /// Starts another agent with the same directory after this one has ended.
    pub fn start_again(&mut self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<()> {
        self.start_again_with(namespace, virtual_routers, "")
    }

    /// Starts another agent with the same directory after this one has ended. `keys` are more lines of `[agent]`.
    pub fn start_again_with(
        &mut self,
        namespace: &Namespace,
        virtual_routers: &[VirtualRouter],
        keys: &str,
    ) -> Result<()> {
        let how = How { keys, ..How::default() };
        *self = Self::start_in(namespace, virtual_routers, Arc::clone(&self.directory), &how)?;
        Ok(())
    }

    /// Starts another agent that takes over from this one, which then ends by itself.
    pub fn replace(&self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        self.replace_by(namespace, virtual_routers, &[], "")
    }

    /// Starts another agent that takes over from this one. `wrapper` is the command line of a program that runs the
    /// agent, or empty. `keys` are more lines of `[agent]`.
    pub fn replace_by(
        &self,
        namespace: &Namespace,
        virtual_routers: &[VirtualRouter],
        wrapper: &[&str],
        keys: &str,
    ) -> Result<Self> {
        let how = How { wrapper, keys, options: &["--replace"] };
        Self::start_in(namespace, virtual_routers, Arc::clone(&self.directory), &how)
    }

    /// Starts another agent with the same directory, whether this one has ended or not, as an impatient supervisor
    /// would.
    pub fn start_beside(&self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        Self::start_in(namespace, virtual_routers, Arc::clone(&self.directory), &How::default())
    }

    /// Replaces its configuration file, for a reload.
    pub fn configure(&self, virtual_routers: &[VirtualRouter]) -> Result<()> {
        write_config(&self.directory, &self.namespace, virtual_routers, "")
    }

    /// Makes it reload by `xvrrp reload`, and returns when the new agent answers. The error contains its complaint.
    pub fn reload(&self) -> Result<()> {
        run(std::process::Command::new(agent_binary()?).args(["reload", "--control"]).arg(self.control())).map(drop)
    }

    /// Runs `xvrrp handover` for a virtual router with these options, and returns its exit code and its output.
    pub fn hand_over(&self, name: &str, options: &[&str]) -> Result<(Option<i32>, String)> {
        let mut command = std::process::Command::new(agent_binary()?);
        let output = command.args(["handover", name, "--control"]).arg(self.control()).args(options).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    fn start_in(
        namespace: &Namespace,
        virtual_routers: &[VirtualRouter],
        directory: Arc<Scratch>,
        how: &How<'_>,
    ) -> Result<Self> {
        write_config(&directory, namespace.name(), virtual_routers, how.keys)?;
        let agent = agent_binary()?;
        let mut command = match how.wrapper {
            [] => namespace.command(agent)?,
            [wrapper, arguments @ ..] => {
                let mut command = namespace.command(wrapper)?;
                command.args(arguments).arg(agent);
                command
            }
        };
        command.args(["run", "--config"]).arg(directory.config()).args(how.options);
        let daemon = Daemon::start("xvrrp", &mut command, directory.files.path())?;
        Ok(Self { daemon, directory, namespace: namespace.name().to_owned() })
    }

    /// Returns the status of the agent.
    pub fn status(&self) -> Result<Value> {
        let mut command = std::process::Command::new(agent_binary()?);
        command.args(["status", "--json", "--control"]).arg(self.control());
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }

    /// Returns the status of one virtual router; that of the first family if it has both.
    pub fn virtual_router(&self, name: &str) -> Result<Value> {
        Ok(self.of_each_family(name)?.remove(0))
    }

    /// Returns the status of a virtual router in each of its families, at least one.
    fn of_each_family(&self, name: &str) -> Result<Vec<Value>> {
        let status = self.status()?;
        let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
        let found: Vec<_> = routers.iter().filter(|router| router["name"] == name).cloned().collect();
        ensure!(!found.is_empty(), "no virtual router {name} in {status}");
        Ok(found)
    }

    /// Returns the state of a virtual router: `active`, `backup`, `fault` or `init`.
    pub fn state(&self, name: &str) -> Result<String> {
        Ok(self.virtual_router(name)?["state"].as_str().context("status without state")?.to_owned())
    }

    /// Returns a counter of the kernel half for a virtual router. It does not show whether the agent has acted on what
    /// was counted.
    pub fn counter(&self, name: &str, counter: &str) -> Result<u64> {
        Ok(self.virtual_router(name)?["counters"][counter].as_u64().unwrap_or(0))
    }

    /// Fails unless the virtual router has accepted adverts and has discarded none.
    pub fn ensure_understood(&self, name: &str) -> Result<()> {
        for virtual_router in self.of_each_family(name)? {
            let counters = virtual_router["counters"].as_object().context("status without counters")?;
            ensure!(counters.contains_key("advert_accepted"), "{name} has accepted no advert: {counters:?}");
            let known = ["advert_accepted", "advert_release"];
            let wrong = counters.keys().find(|name| name.starts_with("advert_") && !known.contains(&name.as_str()));
            ensure!(wrong.is_none(), "{name} has discarded adverts: {counters:?}");
        }
        Ok(())
    }

    /// Waits until a virtual router is `active`, `backup`, `fault` or `init` in each of its families, and has logged
    /// that.
    pub fn wait_for_state(&mut self, name: &str, state: &str) -> Result<()> {
        let what = format!("{name} in {} is {state}", self.namespace);
        eventually(&what, PATIENCE, || {
            self.daemon.check_alive()?;
            let now = self.of_each_family(name)?;
            ensure!(now.iter().all(|router| router["state"] == state), "it is {now:?}");
            self.ensure_logged(name, state)
        })
    }

    /// Fails unless this is the latest state that the virtual router has logged in each of its families. The log
    /// follows the status: a test that counts lines waits for the log first.
    pub fn ensure_logged(&self, name: &str, state: &str) -> Result<()> {
        let log = self.daemon.log();
        if log.is_empty() {
            // Its wrapper has redirected the log: an agent logs its start before it answers.
            return Ok(());
        }
        for router in self.of_each_family(name)? {
            let family = router["family"].as_str().context("status without family")?;
            let words = ["state changed", &format!("virtual_router={name} "), &format!("family={family} ")];
            let latest = log.lines().rfind(|line| words.iter().all(|word| line.contains(word)));
            let is_logged = latest.is_some_and(|line| line.contains(&format!("state={state} ")));
            ensure!(is_logged, "{name} is {state} over {family}, which it has not logged; the latest line: {latest:?}");
        }
        Ok(())
    }

    /// Waits until it has `count` virtual routers and all of them are in this state.
    pub fn wait_until_all_are(&mut self, state: &str, count: usize) -> Result<()> {
        let what = format!("all {count} virtual routers of {} are {state}", self.namespace);
        eventually(&what, 2 * PATIENCE, || {
            self.daemon.check_alive()?;
            let mut states = BTreeMap::<String, usize>::new();
            for router in self.status()?["virtual_routers"].as_array().context("status without virtual_routers")? {
                *states.entry(router["state"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
            ensure!(states.len() == 1 && states.get(state) == Some(&count), "{states:?}");
            Ok(())
        })
    }

    /// Returns how many transitions of any virtual router to a state its log has.
    pub fn all_transitions(&self, state: &str) -> usize {
        self.daemon.count_lines(&["state changed", &format!("state={state} ")])
    }

    /// Returns how many transitions of a virtual router to a state its log has.
    pub fn transitions(&self, name: &str, state: &str) -> usize {
        self.daemon.count_lines(&[&format!("virtual_router={name} "), &format!("state={state} ")])
    }

    /// Waits until its log has exactly `count` transitions of a virtual router to a state.
    pub fn wait_for_transitions(&self, name: &str, state: &str, count: usize) -> Result<()> {
        self.daemon.wait_for_lines(&[&format!("virtual_router={name} "), &format!("state={state} ")], count)
    }

    /// Waits until a counter of the kernel half for a virtual router is at least this high. This does not show that the
    /// agent has acted on what was counted.
    pub fn wait_for_counter(&self, name: &str, counter: &str, min: u64) -> Result<()> {
        eventually(&format!("{counter} of {name} in {} is at least {min}", self.namespace), PATIENCE, || {
            let count = self.counter(name, counter)?;
            ensure!(count >= min, "it is {count}");
            Ok(())
        })
    }

    /// Returns the path of its configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.config()
    }

    /// Returns the path of its control socket.
    pub fn control(&self) -> PathBuf {
        self.directory.control()
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.daemon.stop(Signal::SIGTERM, PATIENCE)
    }

    /// Kills it, so that it cannot clean up.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.daemon.stop(Signal::SIGKILL, Duration::from_secs(5))
    }
}

/// What differs between the ways to start an agent.
#[derive(Default)]
struct How<'a> {
    /// The command line of a program that runs the agent, or empty.
    wrapper: &'a [&'a str],
    /// More keys of `[agent]`.
    keys: &'a str,
    /// More options of `xvrrp run`.
    options: &'a [&'a str],
}

/// The directories for the files of an agent and its successors.
#[derive(Debug)]
struct Scratch {
    /// The directory of its control socket, if that is not with the other files.
    run: Option<TinyDirectory>,
    files: TempDir,
}

impl Scratch {
    fn new() -> Result<Self> {
        Ok(Self { run: None, files: TempDir::with_prefix("xvrrp-lab-")? })
    }

    fn config(&self) -> PathBuf {
        self.files.path().join("xvrrp.toml")
    }

    fn control(&self) -> PathBuf {
        self.run.as_ref().map_or(self.files.path(), TinyDirectory::path).join("xvrrp.sock")
    }
}

fn write_config(directory: &Scratch, router_id: &str, virtual_routers: &[VirtualRouter], keys: &str) -> Result<()> {
    let control = directory.control();
    let mut text = format!("[agent]\ncontrol = {control:?}\n");
    if !keys.contains("router_id") {
        writeln!(text, "router_id = \"{router_id}\"")?;
    }
    text += keys;
    for virtual_router in virtual_routers {
        write!(text, "\n{virtual_router}")?;
    }
    Ok(std::fs::write(directory.config(), text)?)
}
