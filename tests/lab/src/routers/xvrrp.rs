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

/// The agent's binary, as `cargo xtask` built it.
pub fn agent_binary() -> Result<PathBuf> {
    let built = env::var_os("XVRRP_AGENT").map(PathBuf::from);
    let default = workspace().join("target/debug/xvrrp");
    let binary = built.unwrap_or(default);
    ensure!(binary.exists(), "{} is missing; run the tests by `cargo xtask test`", binary.display());
    Ok(binary)
}

/// A running agent with its configuration, control socket and log in a directory of its own.
#[derive(Debug)]
pub struct Xvrrp {
    pub daemon: Daemon,
    /// Shared with successors.
    directory: Arc<Scratch>,
    namespace: String,
}

impl Xvrrp {
    /// Starts an agent in the namespace.
    pub fn start(namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        Self::start_in(namespace, virtual_routers, Arc::new(Scratch::new()?), &How::default())
    }

    /// Starts an agent in the namespace by a program that runs what its further arguments say, or by none; `keys` are more
    /// lines of `[agent]`.
    pub fn start_by(
        namespace: &Namespace,
        virtual_routers: &[VirtualRouter],
        wrapper: &[&str],
        keys: &str,
    ) -> Result<Self> {
        Self::start_in(namespace, virtual_routers, Arc::new(Scratch::new()?), &How { wrapper, keys, ..How::default() })
    }

    /// Starts an agent in the namespace that has its control socket, and all that it keeps beside it, in a tiny directory.
    pub fn start_in_tiny_run(namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        let mut scratch = Scratch::new()?;
        scratch.run = Some(TinyDirectory::new()?);
        Self::start_in(namespace, virtual_routers, Arc::new(scratch), &How::default())
    }

    /// That directory.
    pub fn tiny_run(&self) -> Result<&TinyDirectory> {
        self.directory.run.as_ref().context("it has no tiny directory")
    }

    /// Starts an agent in the namespace, with a mount namespace of its own and its pins below `bpffs`.
    pub fn start_unshared(namespace: &Namespace, virtual_routers: &[VirtualRouter], bpffs: &Path) -> Result<Self> {
        let keys = format!("bpffs = {bpffs:?}\n");
        Self::start_by(namespace, virtual_routers, &["unshare", "--mount"], &keys)
    }

    /// Starts another agent after this one has ended, with the same directory: as after a crash.
    pub fn restart(self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        let Self { daemon, directory, .. } = self;
        drop(daemon);
        Self::start_in(namespace, virtual_routers, directory, &How::default())
    }

    /// The same, for one that has ended already.
    pub fn start_again(&mut self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<()> {
        self.start_again_with(namespace, virtual_routers, "")
    }

    /// The same with more lines of `[agent]`.
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

    /// The same by a program that runs what its further arguments say, or by none; `keys` are more lines of `[agent]`.
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

    /// Starts another agent with the same directory, whether this one has ended or not: as a supervisor that does not wait.
    pub fn start_beside(&self, namespace: &Namespace, virtual_routers: &[VirtualRouter]) -> Result<Self> {
        Self::start_in(namespace, virtual_routers, Arc::clone(&self.directory), &How::default())
    }

    /// Writes its configuration anew, for a reload.
    pub fn configure(&self, virtual_routers: &[VirtualRouter]) -> Result<()> {
        write_config(&self.directory, &self.namespace, virtual_routers, "")
    }

    /// Has it reload. What it complains of is the error.
    pub fn reload(&self) -> Result<()> {
        run(std::process::Command::new(agent_binary()?).args(["reload", "--control"]).arg(self.control())).map(drop)
    }

    /// Has it hand over a virtual router by `xvrrp handover`, with these options: its exit code, and what it said.
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

    /// The agent's own account of itself.
    pub fn status(&self) -> Result<Value> {
        let mut command = std::process::Command::new(agent_binary()?);
        command.args(["status", "--json", "--control"]).arg(self.control());
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }

    /// The account of one virtual router; of the first one, if it has both families.
    pub fn virtual_router(&self, name: &str) -> Result<Value> {
        Ok(self.of_each_family(name)?.remove(0))
    }

    /// The accounts of all that have the name, at least one.
    fn of_each_family(&self, name: &str) -> Result<Vec<Value>> {
        let status = self.status()?;
        let routers = status["virtual_routers"].as_array().context("status without virtual_routers")?;
        let found: Vec<_> = routers.iter().filter(|router| router["name"] == name).cloned().collect();
        ensure!(!found.is_empty(), "no virtual router {name} in {status}");
        Ok(found)
    }

    /// `active`, `backup`, `fault` or `init`.
    pub fn state(&self, name: &str) -> Result<String> {
        Ok(self.virtual_router(name)?["state"].as_str().context("status without state")?.to_owned())
    }

    /// What the kernel half counted for a virtual router, by the counter's name.
    pub fn counter(&self, name: &str, counter: &str) -> Result<u64> {
        Ok(self.virtual_router(name)?["counters"][counter].as_u64().unwrap_or(0))
    }

    /// Fails unless it has heard adverts and has found no fault with any.
    pub fn ensure_understood(&self, name: &str) -> Result<()> {
        for virtual_router in self.of_each_family(name)? {
            let counters = virtual_router["counters"].as_object().context("an object of counters")?;
            ensure!(counters.contains_key("advert_accepted"), "{counters:?}");
            let known = ["advert_accepted", "advert_release"];
            let wrong = counters.keys().find(|name| name.starts_with("advert_") && !known.contains(&name.as_str()));
            ensure!(wrong.is_none(), "{counters:?}");
        }
        Ok(())
    }

    /// Waits until it is `active`, `backup`, `fault` or `init`, in each of its families.
    pub fn wait_for_state(&mut self, name: &str, state: &str) -> Result<()> {
        let what = format!("{name} in {} is {state}", self.namespace);
        eventually(&what, PATIENCE, || {
            self.daemon.check_alive()?;
            let now = self.of_each_family(name)?;
            ensure!(now.iter().all(|router| router["state"] == state), "it is {now:?}");
            Ok(())
        })
    }

    /// Waits until it has so many virtual routers, and all are in this state.
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

    /// How many times the log says that any of its virtual routers has come into a state.
    pub fn all_transitions(&self, state: &str) -> usize {
        self.daemon.count_lines(&["state changed", &format!("state={state} ")])
    }

    /// How many times the log says that a virtual router has come into a state.
    pub fn transitions(&self, name: &str, state: &str) -> usize {
        self.daemon.count_lines(&[&format!("virtual_router={name} "), &format!("state={state} ")])
    }

    /// Waits until the log says so many times that a virtual router has come into a state.
    pub fn wait_for_transitions(&self, name: &str, state: &str, count: usize) -> Result<()> {
        self.daemon.wait_for_lines(&[&format!("virtual_router={name} "), &format!("state={state} ")], count)
    }

    /// Waits until the kernel half has counted this at least so often for a virtual router.
    pub fn wait_for_counter(&self, name: &str, counter: &str, least: u64) -> Result<()> {
        eventually(&format!("{name} counts {least} {counter}"), PATIENCE, || {
            let count = self.counter(name, counter)?;
            ensure!(count >= least, "{count}");
            Ok(())
        })
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.directory.config()
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.directory.control()
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.daemon.stop(Signal::SIGTERM, PATIENCE)
    }

    /// Ends it without a chance to clean up.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.daemon.stop(Signal::SIGKILL, Duration::from_secs(5))
    }
}

/// What differs from start to start.
#[derive(Default)]
struct How<'a> {
    /// A program that runs the agent, with its own arguments.
    wrapper: &'a [&'a str],
    /// More keys of `[agent]`.
    keys: &'a str,
    /// More options of `xvrrp run`.
    options: &'a [&'a str],
}

/// Where the files of an agent and its successors are.
#[derive(Debug)]
struct Scratch {
    /// Of its control socket, if not with the others.
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
