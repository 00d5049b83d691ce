//! FIFOs of notifications: the lines that keepalived writes, readers that are slow or absent, and files that are
//! refused.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::{User, mkfifo};
use tempfile::TempDir;
use xvrrp_lab::traffic::{AdvertTap, Advertiser};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, agent_binary, alone, eventually, wait_until};

use super::scripts::{GLOBAL, Router, compare, directory, instance};

/// A directory with a FIFO and a program that appends what it reads to the file `lines`.
struct Reader(TempDir);

impl Reader {
    fn new() -> Result<Self> {
        let directory = directory()?;
        let path = directory.path().display();
        // keepalived sends SIGTERM before it writes the last lines.
        let script = format!(
            "trap '' TERM\nfor last; do :; done\necho \"$$ $*\" >> {path}/runs\nwhile read -r line; do echo \"$line\" >> \
             {path}/lines; done < \"$last\""
        );
        xvrrp_lab::script(directory.path(), "reader", &script)?;
        Ok(Self(directory))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the lines that were read, in order.
    fn lines(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.path("lines")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    fn wait_for_lines(&self, count: usize) -> Result<Vec<String>> {
        eventually(&format!("{count} lines were read"), PATIENCE, || {
            let lines = self.lines();
            ensure!(lines.len() == count, "{lines:#?}");
            Ok(lines)
        })
    }

    /// Returns the process ids and arguments of the programs that were started.
    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// A table for `notify_fifo`.
    fn table(&self) -> String {
        format!("notify_fifo = {{ path = {:?}, run = [{:?}, \"x\"] }}\n", self.path("fifo"), self.path("reader"))
    }
}

/// Returns the lines about one virtual router or group, in order.
fn about(lines: &[String], name: &str) -> Vec<String> {
    lines.iter().filter(|line| line.contains(&format!("\"{name}\""))).cloned().collect()
}

// parity 24, 25, 59, 70
#[test]
fn keepalived_writes_the_same_lines() -> Result<()> {
    let priority = "  track_file {\n    FILE\n  }\n  notify_priority_changes on";
    let lone = instance("lone", 50, "192.0.2.40", priority);
    let [lan, wan] = [("lan", 51, "192.0.2.1"), ("wan", 52, "192.0.2.50")]
        .map(|(name, vrid, address)| instance(name, vrid, address, ""));
    let group = "vrrp_sync_group gw {\n  group {\n    lan\n    wan\n  }\n}\n";
    compare(|imported| {
        let (lab, reader) = (Lab::new(1)?, Reader::new()?);
        let (path, file) = (|name: &str| reader.path(name).display().to_string(), reader.path("weight"));
        fs::write(&file, "0\n")?;
        let fifo = format!("  notify_fifo {}\n  notify_fifo_script \"{} 'a b'\"\n}}", path("fifo"), path("reader"));
        let global = GLOBAL.replacen('}', &fifo, 1);
        let check = format!("vrrp_track_file FILE {{\n  file {}\n  weight 1\n}}\n", file.display());
        let original = format!("{global}{check}{lone}{lan}{wan}{group}");
        let mut router = Router::start(imported, &lab.routers[0], &original, reader.0.path())?;
        // BACKUP and MASTER of each of them.
        reader.wait_for_lines(8)?;
        fs::write(&file, "5\n")?;
        reader.wait_for_lines(9)?;
        lab.pull(0)?;
        reader.wait_for_lines(13)?;
        router.stop()?;
        let lines = reader.wait_for_lines(17)?;
        ensure!(!imported || !reader.path("fifo").exists(), "the FIFO is left");
        let arguments = format!("a b {}", path("fifo"));
        ensure!(reader.runs().iter().all(|run| run.ends_with(&arguments)), "{:?}", reader.runs());
        // keepalived has no fixed order of those that change together.
        Ok(["lone", "lan", "wan", "gw"].map(|name| about(&lines, name)))
    })
}

#[test]
fn a_reload_leaves_the_reader_running_and_a_stop_ends_it_after_the_last_line() -> Result<()> {
    let lab = Lab::new(1)?;
    let reader = Reader::new()?;
    let routers = [VirtualRouter::unhurried_lan(200)];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &routers, &[], &reader.table())?;
    agent.wait_for_state("lan", "active")?;
    reader.wait_for_lines(2)?;
    for _ in 0..3 {
        agent.reload()?;
        agent.wait_for_state("lan", "active")?;
    }
    lab.pull(0)?;
    agent.wait_for_state("lan", "fault")?;
    let lines = reader.wait_for_lines(3)?;
    let expected = ["BACKUP", "MASTER", "FAULT"].map(|state| format!("INSTANCE \"lan\" {state} 200"));
    ensure!(lines == expected, "{lines:?}");
    ensure!(reader.runs().len() == 1, "{:?}", reader.runs());
    let pid = reader.runs()[0].split(' ').next().context("no process id")?.to_owned();
    ensure!(agent.stop()?.success());
    ensure!(reader.wait_for_lines(4)?[3] == "INSTANCE \"lan\" STOP 200");
    ensure!(!reader.path("fifo").exists(), "the FIFO is left");
    wait_until("the reader has ended", || Ok(!Path::new("/proc").join(&pid).exists()))
}

#[test]
fn a_successor_has_a_fifo_and_a_reader_of_its_own_that_learns_the_states() -> Result<()> {
    let lab = Lab::new(1)?;
    let reader = Reader::new()?;
    let routers = [VirtualRouter::unhurried_lan(200)];
    let mut agent = Xvrrp::start_by(&lab.routers[0], &routers, &[], &reader.table())?;
    agent.wait_for_state("lan", "active")?;
    reader.wait_for_lines(2)?;
    let mut successor = agent.replace_by(&lab.routers[0], &routers, &[], &reader.table())?;
    ensure!(agent.daemon.wait(PATIENCE)?.success());
    successor.daemon.wait_for_line(&["state=active ", "reason=resumed"], PATIENCE)?;
    let lines = reader.wait_for_lines(3)?;
    ensure!(lines[2] == "INSTANCE \"lan\" MASTER 200", "{lines:?}");
    eventually("only the reader of the successor runs", PATIENCE, || {
        let runs = reader.runs();
        let lives = |run: &&String| Path::new("/proc").join(run.split(' ').next().unwrap_or_default()).exists();
        ensure!(runs.len() == 2 && runs.iter().filter(lives).count() == 1, "{runs:?}");
        Ok(())
    })?;
    ensure!(successor.stop()?.success());
    ensure!(reader.wait_for_lines(4)?[3] == "INSTANCE \"lan\" STOP 200");
    ensure!(!reader.path("fifo").exists(), "the FIFO is left");
    Ok(())
}

#[test]
fn a_reader_that_ends_is_started_again_and_one_that_hangs_does_not_delay_the_stop() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let runs = directory.path().join("runs");
    // The first run reads one line. The second one reads nothing, and ignores SIGTERM.
    let script = format!(
        "for last; do :; done\necho \"$$\" >> {0}\nif [ $(wc -l < {0}) = 1 ]; then read -r line < \"$last\"; exit 1; fi\n\
         trap '' TERM\nsleep 1000 & sleep 1000",
        runs.display()
    );
    let program = xvrrp_lab::script(directory.path(), "reader", &script)?;
    let keys = format!("notify_fifo = {{ path = {:?}, run = [{program:?}] }}\n", directory.path().join("fifo"));
    let mut agent = Xvrrp::start_by(&lab.routers[0], &[VirtualRouter::lan(200)], &[], &keys)?;
    agent.wait_for_state("lan", "active")?;
    agent.daemon.wait_for_line(&["WARN", "exit status: 1", "starting it again in 1s"], PATIENCE)?;
    let pid = eventually("the reader runs again", PATIENCE, || {
        let runs = fs::read_to_string(&runs)?;
        runs.lines().nth(1).map(str::to_owned).context("it does not")
    })?;
    let start = Instant::now();
    ensure!(agent.stop()?.success());
    ensure!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    wait_until("the reader has been killed", || Ok(!Path::new("/proc").join(&pid).exists()))
}

/// Enough virtual routers for a few changes of each to fill the buffers.
const ROUTERS: u8 = 40;
/// The lease of a virtual router with 100 ms adverts. Its Active_Down_Interval is longer by Skew_Time.
const LEASE: Duration = Duration::from_millis(300);

/// Changes the priority of every virtual router every 150 ms for 3 s, less often than they advertise. Each change is a
/// line of each of them. Returns the longest time that one of them sent no advert.
fn longest_gap(weight: &Path, tap: &AdvertTap, mut meanwhile: impl FnMut() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    for number in 1..=20 {
        fs::write(weight, format!("{}\n", 1 + number % 5))?;
        xvrrp_lab::pause(Duration::from_millis(150))?;
        meanwhile()?;
    }
    let advertiser = |vrid| Advertiser { interface: 0, vrid, source: Lab::address(0) };
    let all: Vec<_> = (1..=ROUTERS).map(advertiser).collect();
    Ok(tap.longest_gap(&all, start, Instant::now()))
}

#[test]
fn a_fifo_whose_reader_is_absent_slow_or_gone_delays_no_advert_and_keeps_the_last_lines() -> Result<()> {
    let _alone = alone();
    let lab = Lab::new(2)?;
    let tap = AdvertTap::start(lab.switch(), &Lab::port(0))?;
    let directory = directory()?;
    let [path, weight] = ["fifo", "weight"].map(|name| directory.path().join(name));
    let router = |number: u8| {
        VirtualRouter::lan(200)
            .with("name", &format!("\"r{number}\""))
            .with("vrid", &number.to_string())
            .with("addresses", &format!("[\"192.0.2.{}/24\"]", 100 + number))
    };
    let track = "[{ check = \"weight\", weight = 1 }]";
    let tracking = |number| router(number).with("track", track).with("notify_priority_changes", "true");
    let routers: Vec<VirtualRouter> = (1..=ROUTERS).map(tracking).collect();
    let check = format!("[[check]]\nname = \"weight\"\nfile = {weight:?}\ninterval = \"20ms\"\n");
    let keys = format!("notify_fifo = {path:?}\n\n{check}");
    let mut agent = Xvrrp::start_by(&lab.routers[0], &routers, &[], &keys)?;
    agent.wait_until_all_are("active", ROUTERS.into())?;
    ensure!(fs::metadata(&path)?.file_type().is_fifo());
    let open = || File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    // The kernel's buffer is as small as it can be.
    fcntl(open()?, FcntlArg::F_SETPIPE_SZ(4096))?;
    let mut backup = Xvrrp::start(&lab.routers[1], &[router(1).with("priority", "100")])?;
    backup.wait_for_state("r1", "backup")?;
    let takeovers = backup.transitions("r1", "active");

    let absent = longest_gap(&weight, &tap, || Ok(()))?;
    let dropping = ["WARN", "nothing reads the FIFO, or too slowly"];
    agent.daemon.wait_for_line(&dropping, PATIENCE)?;
    let mut reader = open()?;
    let mut taken = 0;
    let slow = longest_gap(&weight, &tap, || {
        // Fails while the agent has not written more.
        taken += reader.read(&mut [0; 512]).unwrap_or(0);
        Ok(())
    })?;
    ensure!(taken > 4096, "{taken} bytes were read");
    drop(reader);
    let gone = longest_gap(&weight, &tap, || Ok(()))?;
    for (reader, gap) in [("absent", absent), ("slow", slow), ("gone", gone)] {
        println!("{reader} reader: the longest time without an advert is {gap:?}");
        ensure!(gap < LEASE, "{reader}: {gap:?}");
    }
    ensure!(backup.transitions("r1", "active") == takeovers, "{}", backup.daemon.log());

    // A reader that comes now finds the last state of each of them.
    lab.pull(0)?;
    agent.wait_until_all_are("fault", ROUTERS.into())?;
    lab.plug(0)?;
    agent.wait_until_all_are("active", ROUTERS.into())?;
    let reader = File::open(&path)?;
    let lines = std::thread::spawn(move || io::read_to_string(reader));
    agent.daemon.wait_for_line(&["WARN", "dropped ", " lines, because the FIFO was not read in time"], PATIENCE)?;
    ensure!(agent.stop()?.success());
    let lines = lines.join().ok().context("the reader panicked")??;
    for number in 1..=ROUTERS {
        let of_it: Vec<&str> = lines.lines().filter(|line| line.contains(&format!("\"r{number}\""))).collect();
        let states = of_it.iter().rev().take(2).map(|line| line.rsplit(' ').nth(1).unwrap_or_default());
        ensure!(states.eq(["STOP", "MASTER"]), "{number}: {of_it:?}");
    }
    Ok(())
}

#[test]
fn a_link_a_file_and_a_fifo_of_another_user_are_refused_and_left_alone() -> Result<()> {
    let lab = Lab::new(1)?;
    let directory = directory()?;
    let [fifo, file] = ["fifo", "xvrrp.toml"].map(|name| directory.path().join(name));
    let [elsewhere, missing] = ["elsewhere", "missing/fifo"].map(|name| directory.path().join(name));
    let nobody = User::from_name("nobody")?.context("no user nobody")?;
    fs::write(&elsewhere, "contents")?;
    let remedy = "remove it, or give the path of a FIFO of the agent's user";
    let refuse = |path: &Path, what: &str| -> Result<()> {
        for command in [vec!["check"], vec!["run", "--config"]] {
            let (socket, router) = (directory.path().join("socket"), VirtualRouter::lan(200));
            fs::write(&file, format!("[agent]\ncontrol = {socket:?}\nnotify_fifo = {path:?}\n{router}"))?;
            let output = lab.routers[0].command(agent_binary()?)?.args(command).arg(&file).output()?;
            let told = String::from_utf8(output.stderr)?;
            let expected = format!("{}:3: agent: notify_fifo: \"{}\" {what}\n", file.display(), path.display());
            ensure!(told == expected && output.status.code() == Some(2), "{told} instead of {expected}");
        }
        Ok(())
    };
    symlink(&elsewhere, &fifo)?;
    refuse(&fifo, &format!("is a symbolic link, which is not followed; {remedy}"))?;
    fs::remove_file(&fifo)?;
    symlink("nowhere", &fifo)?;
    refuse(&fifo, &format!("is a symbolic link, which is not followed; {remedy}"))?;
    ensure!(!directory.path().join("nowhere").exists());
    refuse(&elsewhere, &format!("is a regular file; {remedy}"))?;
    ensure!(fs::read(&elsewhere)? == b"contents");
    fs::remove_file(&fifo)?;
    mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
    chown(&fifo, Some(nobody.uid.as_raw()), None)?;
    refuse(&fifo, &format!("belongs to nobody; {remedy}"))?;
    ensure!(fs::symlink_metadata(&fifo)?.file_type().is_fifo());
    let parent = missing.parent().context("no parent")?.display();
    refuse(&missing, &format!("cannot be made, because there is no directory {parent}; make it"))
}
