//! Runs the real program with wrong configurations, missing files and missing capabilities. It must say what is wrong,
//! exit with the documented status, and leave the host unchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use xvrrp_bad_configurations::{Case, wrong_anywhere, wrong_on_the_host};
use xvrrp_lab::{Namespace, PATIENCE, VirtualRouter, Xvrrp, agent_binary, eventually, host_state};

/// Exit status of success.
const EXIT_DONE: i32 = 0;
/// Exit status of a failure at run time.
const EXIT_FAILED: i32 = 1;
/// Exit status of wrong usage or a wrong configuration.
const EXIT_USAGE: i32 = 2;

const VALID: &str =
    "[[virtual_router]]\nname = \"lan\"\ninterface = \"eth0\"\nvrid = 51\naddresses = [\"192.0.2.1/24\"]\n";

/// Creates a user joe whose home has a program and a FIFO, for the rest of the command line alone.
const WITH_JOE: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs /home
cp /etc/passwd /home/passwd
echo 'joe:x:4711:4711::/home/joe:/bin/sh' >> /home/passwd
mount --bind /home/passwd /etc/passwd
mkdir /home/joe
cp /bin/true /home/joe/notify
mkfifo /home/joe/fifo
cp /bin/true /home/joe/setuid
chown -R joe /home/joe
chown root /home/joe/setuid
chmod 4755 /home/joe/setuid
exec \"$@\"";

/// A host with the interfaces that [`wrong_on_the_host`] describes, and a directory for a configuration.
struct Host {
    namespace: Namespace,
    directory: TempDir,
}

impl Host {
    fn new() -> Result<Self> {
        let namespace = Namespace::new("bad-input")?;
        namespace.ip("link add eth0 type veth peer name eth1")?;
        namespace.ip("tuntap add tun0 mode tun")?;
        namespace.ip("link add br0 type bridge")?;
        namespace.ip("addr add 203.0.113.10/24 dev br0")?;
        namespace.ip("addr add 192.0.2.10/24 dev eth0")?;
        for interface in ["eth0", "eth1", "tun0"] {
            namespace.ip(&format!("link set {interface} up"))?;
        }
        // The kernel notices a carrier late, and the snapshots would show that as a change.
        eventually("eth0 and eth1 are up", PATIENCE, || {
            let links = namespace.ip("-o link")?;
            ensure!(links.matches("state UP").count() == 2, "{links}");
            Ok(())
        })?;
        Ok(Self { namespace, directory: TempDir::with_prefix("xvrrp-bad-input-")? })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("xvrrp.toml")
    }

    fn write(&self, configuration: &str) -> Result<PathBuf> {
        fs::write(self.file(), configuration)?;
        Ok(self.file())
    }

    /// Runs the program in the namespace, on a host with a user joe.
    fn xvrrp(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.namespace.command("unshare")?;
        command.args(["--mount", "sh", "-c", WITH_JOE, "sh"]).arg(agent_binary()?).args(words);
        Ok(command.output()?)
    }

    /// Runs the program in the namespace without these capabilities (`cap_` and a number of linux/capability.h, or
    /// `all`).
    fn xvrrp_without(&self, capabilities: &[&str], words: &[&str]) -> Result<Output> {
        let dropped: Vec<_> = capabilities.iter().map(|capability| format!("-{capability}")).collect();
        let mut command: Command = self.namespace.command("setpriv")?;
        for set in ["--inh-caps", "--bounding-set"] {
            command.arg(format!("{set}={}", dropped.join(",")));
        }
        Ok(command.arg(agent_binary()?).args(words).output()?)
    }

    /// Returns everything that an agent could change on the host, line by line.
    fn snapshot(&self) -> Result<Vec<String>> {
        let host = host_state(&self.namespace)?;
        let mut lines: Vec<_> = host.lines().map(str::to_owned).collect();
        for entry in fs::read_dir(self.directory.path())? {
            let path = entry?.path();
            if path != self.file() {
                lines.push(format!("file {}", path.display()));
            }
        }
        Ok(lines)
    }

    fn assert_unchanged(&self, before: &[String], context: &str) -> Result<()> {
        eventually(&format!("{context}: the host is unchanged"), PATIENCE, || {
            let now = self.snapshot()?;
            let (gone, new) = (only_in(before, &now), only_in(&now, before));
            ensure!(now == before, "the host has {new:#?} instead of {gone:#?}");
            Ok(())
        })
    }

    /// Returns the names of the interfaces as messages list them.
    fn interfaces(&self) -> Result<String> {
        let links = self.namespace.ip("-json link")?;
        let links: serde_json::Value = serde_json::from_str(&links)?;
        let mut names: Vec<_> =
            links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
        names.sort_unstable();
        Ok(names.join(", "))
    }

    /// Asserts that `check` and `run` refuse each configuration with the same message, and change nothing.
    fn assert_all_refused(&self, cases: &[Case]) -> Result<()> {
        let before = self.snapshot()?;
        let interfaces = self.interfaces()?;
        for Case { title, configuration, messages } in cases {
            let file = self.write(configuration)?;
            let messages = messages.replace("FILE", path(&file)).replace("INTERFACES", &interfaces);
            for words in [&["check", path(&file)][..], &["run", "--config", path(&file)]] {
                assert_output(&self.xvrrp(words)?, EXIT_USAGE, "", &format!("{messages}\n"), title);
            }
            self.assert_unchanged(&before, title)?;
        }
        Ok(())
    }
}

/// Returns the lines of one snapshot that another one does not have.
fn only_in<'a>(these: &'a [String], those: &[String]) -> Vec<&'a String> {
    these.iter().filter(|line| !those.contains(line)).collect()
}

fn path(file: &Path) -> &str {
    file.to_str().expect("temporary directories have plain names")
}

fn assert_output(output: &Output, code: i32, stdout: &str, stderr: &str, context: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr, "{context}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{context}");
    assert_eq!(output.status.code(), Some(code), "{context}");
}

#[test]
fn a_wrong_configuration_is_refused_and_changes_nothing() -> Result<()> {
    Host::new()?.assert_all_refused(&wrong_anywhere())
}

#[test]
fn a_configuration_that_does_not_fit_the_host_is_refused_and_changes_nothing() -> Result<()> {
    Host::new()?.assert_all_refused(&wrong_on_the_host())
}

#[test]
fn a_valid_configuration_is_reported_as_valid_and_changes_nothing() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let file = host.write(VALID)?;
    let valid = format!("{}: configuration is valid: 1 virtual router\n", file.display());
    assert_output(&host.xvrrp(&["check", path(&file)])?, EXIT_DONE, &valid, "", "with all capabilities");
    // `check` needs no privilege.
    assert_output(&host.xvrrp_without(&["all"], &["check", path(&file)])?, EXIT_DONE, &valid, "", "with none");
    host.assert_unchanged(&before, "afterwards")
}

#[test]
fn a_running_agent_changes_the_snapshot() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let mut agent = Xvrrp::start(&host.namespace, &[VirtualRouter::lan(100)])?;
    agent.wait_for_state("lan", "active")?;
    assert_ne!(host.snapshot()?, before);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_refused() -> Result<()> {
    let host = Host::new()?;
    let before = host.snapshot()?;
    let missing = host.directory.path().join("missing.toml");
    for (file, reason) in [
        (missing.as_path(), "there is no such file; give the path of a configuration"),
        (host.directory.path(), "it is a directory; give the path of a file in it"),
    ] {
        let message = format!("{}: cannot be read: {reason}\n", file.display());
        for words in [&["check", path(file)][..], &["run", "--config", path(file)]] {
            assert_output(&host.xvrrp(words)?, EXIT_USAGE, "", &message, reason);
        }
    }

    let file = host.write(VALID)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000))?;
    let reason = "permission denied; make it readable for the user that runs xvrrp";
    let message = format!("{}: cannot be read: {reason}\n", file.display());
    // Root can read every file unless it lacks CAP_DAC_OVERRIDE.
    assert_output(&host.xvrrp_without(&["all"], &["check", path(&file)])?, EXIT_USAGE, "", &message, reason);
    host.assert_unchanged(&before, "afterwards")
}

#[test]
fn wrong_usage_has_the_exit_status_of_a_wrong_configuration() -> Result<()> {
    let host = Host::new()?;
    for words in [&[][..], &["run"], &["run", "--config"], &["check"], &["chek", "xvrrp.toml"], &["check", "a", "b"]] {
        let output = host.xvrrp(words)?;
        ensure!(output.status.code() == Some(EXIT_USAGE), "{words:?}: {output:?}");
        ensure!(!output.stderr.is_empty(), "{words:?} prints no message");
    }
    Ok(())
}

/// Capabilities by their numbers in linux/capability.h, which setpriv accepts even if its libraries are older.
const CAP_NET_ADMIN: &str = "cap_12";
const CAP_NET_RAW: &str = "cap_13";
const CAP_SYS_ADMIN: &str = "cap_21";
const CAP_PERFMON: &str = "cap_38";
const CAP_BPF: &str = "cap_39";

#[test]
fn a_missing_capability_is_named_before_the_host_is_changed() -> Result<()> {
    let host = Host::new()?;
    let file = host.write(VALID)?;
    let before = host.snapshot()?;
    let bpf = "CAP_BPF (to load BPF programs and use their maps)";
    let perfmon = "CAP_PERFMON (to load BPF programs that compute packet pointers)";
    let net_admin = "CAP_NET_ADMIN (to attach to interfaces and put addresses on them)";
    let net_raw = "CAP_NET_RAW (to send adverts)";
    let sys_admin = "CAP_SYS_ADMIN (to enter another network namespace)";

    let run = ["run", "--config", path(&file)];
    let run_elsewhere = [&run[..], &["--netns", host.namespace.name()]].concat();
    for (words, dropped, missing) in [
        (&run[..], &["all"][..], &[bpf, perfmon, net_admin, net_raw][..]),
        (&run, &[CAP_NET_ADMIN], &[net_admin]),
        (&run, &[CAP_NET_RAW], &[net_raw]),
        (&run, &[CAP_BPF, CAP_SYS_ADMIN], &[bpf]),
        (&run, &[CAP_PERFMON, CAP_SYS_ADMIN], &[perfmon]),
        (&run_elsewhere, &[CAP_SYS_ADMIN], &[sys_admin]),
    ] {
        let remedy = "run as root, or give them to the service (systemd: CapabilityBoundingSet=, AmbientCapabilities=)";
        let message = format!("xvrrp: missing {}; {remedy}\n", missing.join(", "));
        assert_output(&host.xvrrp_without(dropped, words)?, EXIT_FAILED, "", &message, &format!("without {dropped:?}"));
        host.assert_unchanged(&before, &format!("without {dropped:?}"))?;
    }
    Ok(())
}

#[test]
fn a_time_namespace_with_another_boot_time_is_refused() -> Result<()> {
    let host = Host::new()?;
    let file = host.write(VALID)?;
    let file = path(&file);
    let reason = "whose boot-time clock is 1000.000000000 s off the kernel's";
    for words in [&["check", file][..], &["run", "--config", file]] {
        let mut command = host.namespace.command("unshare")?;
        let output = command.args(["--time", "--boottime", "1000"]).arg(agent_binary()?).args(words).output()?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(EXIT_FAILED) && message.contains(reason), "{message}");
    }
    Ok(())
}
