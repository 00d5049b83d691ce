//! keepalived and an agent run the same keepalived.conf, each alone on a segment of its own, and track the same way:
//! after each change of what is tracked, both are in the same state with the same priority.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use xvrrp_lab::{Keepalived, Lab, Namespace, PATIENCE, ProcessConnector, eventually, wait_until};

use crate::same_file::{Imported, Running};

/// What stands for the directory of a daemon's own files in a configuration.
const DIRECTORY: &str = "@";

/// A daemon with a segment and files of its own.
struct Side {
    daemon: Running,
    directory: TempDir,
    /// Dropped after the daemon.
    lab: Lab,
}

/// Both daemons with the same keepalived.conf.
struct Both([Side; 2]);

impl Side {
    fn start(config: &str, start: impl Fn(&Namespace, &str) -> Result<Running>) -> Result<Self> {
        let lab = Lab::new(1)?;
        Self::start_in(lab, tempfile::tempdir()?, config, start)
    }

    fn start_in(
        lab: Lab,
        directory: TempDir,
        config: &str,
        start: impl Fn(&Namespace, &str) -> Result<Running>,
    ) -> Result<Self> {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let config = config.replace(DIRECTORY, &directory.path().display().to_string());
        let daemon = start(&lab.routers[0], &config)?;
        Ok(Side { daemon, directory, lab })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Both {
    /// Starts both with a configuration in which [`DIRECTORY`] stands for the directory of each one's files.
    fn start(config: &str) -> Result<Self> {
        let keepalived =
            |namespace: &Namespace, config: &str| Keepalived::start_with(namespace, config).map(Running::Keepalived);
        let agent = |namespace: &Namespace, config: &str| Imported::start(namespace, config, None).map(Running::Xvrrp);
        Ok(Self([Side::start(config, keepalived)?, Side::start(config, agent)?]))
    }

    /// Starts both so that they can listen to the process connector.
    fn start_connected(config: &str) -> Result<Self> {
        let connector = ProcessConnector::new()?;
        let keepalived = |namespace: &Namespace, config: &str| {
            Keepalived::start_connected(namespace, config, &connector).map(Running::Keepalived)
        };
        let agent = |namespace: &Namespace, config: &str| {
            Imported::start(namespace, config, Some(&connector)).map(Running::Xvrrp)
        };
        let both = Self([Side::start(config, keepalived)?, Side::start(config, agent)?]);
        // The library is needed until both have opened their sockets.
        both.each(|side| wait_until("a state is entered", || Ok(side.daemon.look("lan", 100).is_ok())))?;
        Ok(both)
    }

    /// Does the same to both.
    fn each(&self, mut change: impl FnMut(&Side) -> Result<()>) -> Result<()> {
        self.0.iter().try_for_each(&mut change)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        self.each(|side| Ok(fs::write(side.path(name), text)?))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.each(|side| Ok(fs::remove_file(side.path(name))?))
    }

    /// Waits until an instance that is configured with priority 100 has this state and priority in both.
    fn expect(&self, instance: &str, state: &str, priority: u8) -> Result<()> {
        self.each(|side| {
            let what = format!("{} has {instance} in {state} with priority {priority}", side.daemon.name());
            eventually(&what, PATIENCE, || {
                let found = side.daemon.look(instance, 100)?;
                ensure!(found == (state.to_owned(), priority), "{found:?}\n{}", side.daemon.log());
                Ok(())
            })
        })
    }
}

/// Returns a `global_defs` and an instance `lan` that also has these lines. keepalived has room for the events of all
/// processes of the machine: after missing some, it forgets which delays run.
fn with_instance(trackers: &str, lines: &str) -> String {
    const GLOBAL: &str = "global_defs {
  vrrp_version 3
  script_user root
  process_monitor_rcv_bufs 16000000
  process_monitor_rcv_bufs_force true
}
";
    const INSTANCE: &str = "vrrp_instance lan {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority 100
  advert_int 0.1
  virtual_ipaddress {
    192.0.2.1/24
  }
";
    format!("{GLOBAL}{trackers}\n{INSTANCE}{lines}\n}}\n")
}

/// Returns a script that passes as long as the file of its name exists.
fn exists(name: &str, weight: &str) -> String {
    format!("vrrp_script {name} {{\n  script \"/usr/bin/test -e {DIRECTORY}/{name}\"\n  interval 1\n  {weight}\n}}\n")
}

// parity 75, 83, 85
#[test]
fn a_reversed_weight_has_the_same_effect_as_in_keepalived() -> Result<()> {
    let scripts = [
        exists("plus", "weight 20 reverse"),
        exists("minus", "weight -20 reverse"),
        exists("must", "weight 0 reverse"),
        exists("here", "weight 30 reverse"),
    ];
    let file = format!("track_file number {{\n  file {DIRECTORY}/number\n  weight 2 reverse\n}}\n");
    let both = Both::start(&with_instance(
        &(scripts.concat() + &file),
        "  track_script {
    plus
    minus
    must
    here weight -5 noreverse
  }
  track_file {
    number
  }
  track_interface {
    lo weight 3 reverse
  }",
    ))?;
    // 100 + 20 - 5 - 3
    both.expect("lan", "MASTER", 112)?;
    both.write("plus", "")?;
    both.expect("lan", "MASTER", 92)?;
    both.write("minus", "")?;
    both.expect("lan", "MASTER", 72)?;
    both.write("number", "5\n")?;
    both.expect("lan", "MASTER", 62)?;
    both.write("here", "")?;
    both.expect("lan", "MASTER", 67)?;
    both.write("must", "")?;
    both.expect("lan", "FAULT", 67)?;
    both.remove("must")?;
    both.expect("lan", "MASTER", 67)?;
    both.remove("plus")?;
    both.expect("lan", "MASTER", 87)
}

/// A process with a group of its own, which is killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        // `cat` without arguments waits for its input, which is a pipe.
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the group has ended by itself.
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// Copies a program to a path whose name no other process has.
fn unique_program(directory: &Path, program: &str, letter: char) -> Result<PathBuf> {
    let copy = directory.join(format!("x{letter}{}", std::process::id()));
    fs::copy(program, &copy)?;
    Ok(copy)
}

fn name(program: &Path) -> Result<&str> {
    program.file_name().and_then(|name| name.to_str()).context("a name")
}

/// Returns a `vrrp_track_process`.
fn process(name: &str, lines: &str) -> String {
    format!("vrrp_track_process {name} {{\n{lines}\n}}\n")
}

fn track_process(names: &[&str]) -> String {
    format!("  track_process {{\n    {}\n  }}", names.join("\n    "))
}

// parity 5, 53, 77, 78, 79, 80
#[test]
fn processes_are_counted_as_keepalived_does() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sleep = unique_program(directory.path(), "/bin/sleep", 's')?;
    let cat = unique_program(directory.path(), "/bin/cat", 'c')?;
    let (path, comm, alone) = (sleep.display(), name(&sleep)?, cat.display());
    let trackers = [
        // Weight 0 is the default.
        process("one", &format!("process {comm}")),
        process("two", &format!("process {comm}\nquorum 2\nweight 20")),
        process("few", &format!("process {comm}\nquorum_max 2\nweight -30")),
        process("none", &format!("process {alone}\nquorum_max 0\nfull_command\nweight 40")),
        process("exact", &format!("process {path} 1000\nweight 3")),
        process("initial", &format!("process {path} 10\nparam_match initial\nweight 5")),
        process("partial", &format!("process {path} 1000\nparam_match partial\nweight 7")),
        process("bare", &format!("process \"{alone}\"\nparam_match\nweight 9")),
        process("full", &format!("process {path}\nfull_command\nweight 11")),
    ];
    let names = ["one", "two", "few", "none", "exact", "initial", "partial", "bare", "full"];
    let both = Both::start_connected(&with_instance(&trackers.concat(), &track_process(&names)))?;
    // 100 - 30 + 40
    both.expect("lan", "FAULT", 110)?;
    let first = Process::start(&sleep, &["1000"])?;
    // 100 + 40 + 3 + 5 + 7 + 11
    both.expect("lan", "MASTER", 166)?;
    let second = Process::start(&sleep, &["1000", "2000"])?;
    both.expect("lan", "MASTER", 186)?;
    let third = Process::start(&sleep, &["500"])?;
    both.expect("lan", "MASTER", 156)?;
    let fourth = Process::start(&cat, &[])?;
    // - 40 + 9
    both.expect("lan", "MASTER", 125)?;
    drop(first);
    // + 30 - 3
    both.expect("lan", "MASTER", 152)?;
    drop(second);
    // - 20 - 5 - 7
    both.expect("lan", "MASTER", 120)?;
    drop(third);
    // - 30 - 11
    both.expect("lan", "FAULT", 79)?;
    drop(fourth);
    both.expect("lan", "FAULT", 110)
}

// parity 81
#[test]
fn a_process_that_is_restarted_within_terminate_delay_changes_nothing_in_both() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(3);
    let directory = tempfile::tempdir()?;
    let sleep = unique_program(directory.path(), "/bin/sleep", 't')?;
    let tracker = process("one", &format!("process {}\nterminate_delay 3", name(&sleep)?));
    let first = Process::start(&sleep, &["1000"])?;
    let both = Both::start_connected(&with_instance(&tracker, &track_process(&["one"])))?;
    both.expect("lan", "MASTER", 100)?;
    drop(first);
    let second = Process::start(&sleep, &["1000"])?;
    std::thread::sleep(DELAY + Duration::from_secs(1));
    both.expect("lan", "MASTER", 100)?;
    both.each(|side| {
        let log = side.daemon.log();
        ensure!(!log.contains("FAULT STATE") && !log.contains("state=fault"), "{log}");
        Ok(())
    })?;
    let killed = Instant::now();
    drop(second);
    std::thread::sleep(DELAY / 2);
    if killed.elapsed() < DELAY {
        both.expect("lan", "MASTER", 100)?;
    }
    both.expect("lan", "FAULT", 100)?;
    ensure!(killed.elapsed() >= DELAY, "a fault after {:?}", killed.elapsed());
    Ok(())
}

// parity 81
#[test]
fn a_quorum_that_a_fork_completes_counts_after_fork_delay_in_both() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let shell = unique_program(directory.path(), "/bin/dash", 'f')?;
    let by_name = format!("process {}\nquorum 2", name(&shell)?);
    let trackers = [
        process("at_once", &format!("{by_name}\nweight 20")),
        process("later", &format!("{by_name}\nfork_delay 8\nweight 3")),
    ];
    let both = Both::start_connected(&with_instance(&trackers.concat(), &track_process(&["at_once", "later"])))?;
    both.expect("lan", "MASTER", 100)?;
    let started = Instant::now();
    // The subshell stays, and is the parent of `sleep`.
    let _pair = Process::start(&shell, &["-c", "(sleep 1000; true) & wait"])?;
    both.expect("lan", "MASTER", 120)?;
    both.expect("lan", "MASTER", 123)?;
    ensure!(started.elapsed() >= Duration::from_secs(8), "after {:?}", started.elapsed());
    Ok(())
}

// parity 55
#[test]
fn with_dont_track_primary_a_lost_carrier_costs_no_role_in_both() -> Result<()> {
    let both = Both::start(&with_instance("", "  dont_track_primary\n  track_src_ip"))?;
    both.expect("lan", "MASTER", 100)?;
    both.each(|side| side.lab.pull(0))?;
    // Longer than any Active_Down_Interval and any lease.
    std::thread::sleep(Duration::from_secs(3));
    both.expect("lan", "MASTER", 100)?;
    both.each(|side| side.lab.plug(0))?;
    std::thread::sleep(Duration::from_secs(1));
    both.expect("lan", "MASTER", 100)?;
    both.each(|side| {
        let log = side.daemon.log();
        ensure!(!log.contains("FAULT STATE") && !log.contains("state=fault"), "{log}");
        ensure!(log.matches("Entering MASTER").count() + log.matches("state=active").count() == 1, "{log}");
        Ok(())
    })
}

// parity 84
#[test]
fn a_file_that_is_initialized_holds_the_same_number_in_both() -> Result<()> {
    let file = |name: &str, lines: &str| format!("track_file {name} {{\n  file @/{name}\n{lines}\n}}\n");
    let trackers = [
        file("new", "weight 2\n  init_file 5"),
        file("kept", "init_file 3"),
        file("forced", "init_file overwrite -4"),
        file("zero", "init_file"),
    ];
    let config = with_instance(&trackers.concat(), "  track_file {\n    new\n    kept\n    forced\n    zero\n  }");
    let side = |start: fn(&Namespace, &str) -> Result<Running>| -> Result<Side> {
        let directory = tempfile::tempdir()?;
        for name in ["kept", "forced"] {
            fs::write(directory.path().join(name), "30\n")?;
        }
        Side::start_in(Lab::new(1)?, directory, &config, start)
    };
    let keepalived = |namespace: &_, config: &_| Keepalived::start_with(namespace, config).map(Running::Keepalived);
    let agent = |namespace: &_, config: &_| Imported::start(namespace, config, None).map(Running::Xvrrp);
    let both = Both([side(keepalived)?, side(agent)?]);
    // 100 + 2 * 5 + 30 - 4 + 0
    both.expect("lan", "MASTER", 136)?;
    both.each(|side| {
        let numbers = ["new", "kept", "forced", "zero"].map(|name| fs::read_to_string(side.path(name)));
        let numbers = numbers.into_iter().collect::<Result<Vec<_>, _>>()?;
        ensure!(numbers == ["5\n", "30\n", "-4\n", "0\n"], "{}: {numbers:?}", side.daemon.name());
        Ok(())
    })?;
    both.write("zero", "1\n")?;
    both.expect("lan", "MASTER", 137)
}
