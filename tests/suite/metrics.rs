//! Metrics over HTTP, read by Prometheus' own tools and by clients that misbehave.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xvrrp_lab::{
    Lab, Namespace, PATIENCE, Pair, VirtualRouter, Xvrrp, agent_binary, eventually, pause, run, workspace,
};

const PORT: u16 = 9112;
const KEY: &str = "metrics = \"127.0.0.1:9112\"\n";
/// The first labels of the virtual router's metrics.
const LAN: &str = r#"{virtual_router="lan",vrid="51",interface="eth0",family="ipv4""#;

fn address() -> SocketAddr {
    ([127, 0, 0, 1], PORT).into()
}

/// Returns the answer of the agent in the namespace to this request.
fn ask(place: &Namespace, request: &str) -> Result<String> {
    place.run(|| {
        let mut stream = TcpStream::connect(address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?
}

fn scrape(place: &Namespace) -> Result<String> {
    let answer = ask(place, "GET /metrics HTTP/1.1\r\nhost: xvrrp\r\n\r\n")?;
    let (head, page) = answer.split_once("\r\n\r\n").context("no HTTP header")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok(page.to_owned())
}

/// Returns the value of a metric of the virtual router `lan`. `name` has no prefix; `labels` begin with a comma.
fn value(page: &str, name: &str, labels: &str) -> Result<f64> {
    let start = format!("xvrrp_virtual_router_{name}{LAN}{labels}}} ");
    let found = page.lines().find_map(|line| line.strip_prefix(&start));
    Ok(found.with_context(|| format!("no {start} in\n{page}"))?.parse()?)
}

/// Finds promtool on `PATH`, or where `cargo xtask setup` has put it.
fn promtool() -> Result<PathBuf> {
    let ours = workspace().join("target/promtool/promtool");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|directory| directory.join("promtool"));
    let found = places.chain([ours]).find(|place| place.is_file());
    found.context("promtool is missing; `cargo xtask setup` fetches it on Debian, else install Prometheus' tools")
}

fn monitoring(file: &str) -> String {
    format!("{}/scripts/monitoring/{file}", workspace().display())
}

/// Converts a page to Prometheus' older text format, which promtool reads. In that format the name of a counter has its
/// suffix in the comment lines too.
fn older_format(page: &str) -> String {
    let counters: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let rename = |line: &str| match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
        ["#", kind @ ("HELP" | "TYPE"), name, rest] if counters.contains(&name) => {
            format!("# {kind} {name}_total {rest}\n")
        }
        _ => format!("{line}\n"),
    };
    page.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF").map(rename).collect()
}

#[test]
fn the_metrics_of_both_routers_show_a_takeover_and_promtool_accepts_them() -> Result<()> {
    let pair = Pair::start(Lab::new(2)?, [KEY; 2], |router| router)?;
    let [first, second] = [0, 1].map(|index| move |lab: &Lab| scrape(&lab.routers[index]));
    let before = [first(&pair.lab)?, second(&pair.lab)?];
    ensure!(value(&before[0], "state", r#",state="active""#)? == 1.0, "{}", before[0]);
    ensure!(value(&before[1], "state", r#",state="backup""#)? == 1.0, "{}", before[1]);
    let lease = value(&before[0], "lease_remaining_seconds", "")?;
    ensure!(lease > 0.0 && lease <= 0.3, "{lease} s instead of at most three intervals of 100 ms");
    eventually("adverts are counted", PATIENCE, || {
        ensure!(value(&first(&pair.lab)?, "adverts_sent_total", "")? > 2.0);
        ensure!(value(&second(&pair.lab)?, "adverts_received_total", "")? > 2.0);
        Ok(())
    })?;

    pair.lab.pull(0)?;
    let after = eventually("both show the takeover", PATIENCE, || {
        let after = [first(&pair.lab)?, second(&pair.lab)?];
        ensure!(value(&after[0], "state", r#",state="fault""#)? == 1.0);
        ensure!(value(&after[1], "state", r#",state="active""#)? == 1.0);
        // The management side counts a transition after the election has reported it.
        ensure!(value(&after[0], "transitions_total", r#",to="fault""#)? == 1.0, "{}", after[0]);
        ensure!(value(&after[1], "transitions_total", r#",to="active""#)? >= 1.0, "{}", after[1]);
        Ok(after)
    })?;
    ensure!(value(&after[0], "lease_remaining_seconds", "").is_err(), "a lease without a role:\n{}", after[0]);
    ensure!(ask(&pair.lab.routers[0], "GET / HTTP/1.1\r\n\r\n")?.starts_with("HTTP/1.1 404 "));

    let directory = tempfile::tempdir()?;
    let file = directory.path().join("page");
    for page in &after {
        std::fs::write(&file, older_format(page))?;
        run(Command::new(promtool()?).args(["check", "metrics"]).stdin(std::fs::File::open(&file)?))?;
    }
    Ok(())
}

#[test]
fn clients_that_are_slow_or_silent_or_read_nothing_delay_neither_adverts_nor_other_clients() -> Result<()> {
    let pair = Pair::start(Lab::new(2)?, [KEY; 2], |router| router)?;
    let place = &pair.lab.routers[0];
    let connect = |text: &str| -> Result<TcpStream> {
        let mut stream = place.run(|| TcpStream::connect(address()))??;
        stream.write_all(text.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let sent = |page: &str| value(page, "adverts_sent_total", "");
    let before = sent(&scrape(place)?)?;
    let begin = Instant::now();
    let mut slow = Vec::new();
    let mut scrapes = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        slow.push(connect("")?);
        slow.push(connect("GET /metrics HTTP/1.1\r\n\r\n")?);
        slow.push(connect("GET /metrics HTTP/1.1\r\n")?);
        for stream in &mut slow {
            // One more byte of a header. Writing fails on connections that the agent has closed.
            if let Err(error) = stream.write_all(b"x")
                && error.kind() == ErrorKind::WouldBlock
            {
                bail!("the agent does not read");
            }
        }
        let asked = Instant::now();
        scrape(place)?;
        ensure!(asked.elapsed() < Duration::from_secs(2), "a well-behaved client waited for {:?}", asked.elapsed());
        scrapes += 1;
        pause(Duration::from_millis(20))?;
    }
    ensure!(scrapes > 10, "{scrapes} scrapes in {:?}", begin.elapsed());
    let due = begin.elapsed().as_secs_f64() / 0.1;
    pause(Duration::from_millis(200))?;
    let more = sent(&scrape(place)?)? - before;
    ensure!(more > due / 2.0, "{more} adverts of {due}");
    let takeover_adverts = pair.agents[1].virtual_router("lan")?["adverts_sent"].clone();
    ensure!(takeover_adverts == 0 && pair.agents[0].state("lan")? == "active", "{}", pair.logs());
    Ok(())
}

#[test]
fn an_agent_whose_metrics_port_is_taken_logs_an_error_and_serves() -> Result<()> {
    let lab = Lab::new(1)?;
    let place = &lab.routers[0];
    let taken = place.run(|| TcpListener::bind(address()))??;
    let mut agent = Xvrrp::start_by(place, &[VirtualRouter::lan(200)], &[], KEY)?;
    agent.wait_for_state("lan", "active")?;
    agent.daemon.wait_for_line(&["ERROR", "cannot listen on 127.0.0.1:9112"], PATIENCE)?;
    drop(taken);
    let page = eventually("the agent listens once the port is free", PATIENCE, || scrape(place))?;
    ensure!(value(&page, "state", r#",state="active""#)? == 1.0, "{page}");
    agent.daemon.wait_for_lines(&["ERROR"], 1)
}

#[test]
fn a_reload_keeps_the_counts_of_the_kernel_half_and_resets_those_of_the_agent() -> Result<()> {
    let pair = Pair::start(Lab::new(2)?, ["", KEY], |router| router)?;
    let place = &pair.lab.routers[1];
    let received = |page: &str| value(page, "adverts_received_total", "");
    let before = eventually("some adverts are counted", PATIENCE, || {
        let page = scrape(place)?;
        ensure!(received(&page)? > 10.0);
        Ok(page)
    })?;
    let start = |page: &str| page.lines().find(|line| line.starts_with("xvrrp_start_time_seconds ")).map(str::to_owned);
    pair.agents[1].reload()?;
    let after = eventually("the new agent answers", PATIENCE, || {
        let page = scrape(place)?;
        ensure!(start(&page) != start(&before), "the old agent still answers");
        Ok(page)
    })?;
    ensure!(received(&after)? >= received(&before)?, "{before}{after}");
    ensure!(value(&after, "transitions_total", r#",to="active""#)? == 0.0, "{after}");
    Ok(())
}

#[test]
fn status_reports_no_error_when_its_reader_closes_the_pipe() -> Result<()> {
    let lab = Lab::new(1)?;
    let agent = Xvrrp::start(&lab.routers[0], &[VirtualRouter::lan(200)])?;
    eventually("the agent answers", PATIENCE, || agent.status())?;
    for options in [&["status"][..], &["status", "--json"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut status = Command::new(agent_binary()?);
        status.args(options).arg("--control").arg(agent.control()).stdout(writer).stderr(Stdio::piped());
        let output = status.output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && complaint.is_empty(), "{}: {complaint}", output.status);
    }
    Ok(())
}

#[test]
fn promtool_accepts_the_alerts_and_each_fires_when_it_should() -> Result<()> {
    run(Command::new(promtool()?).args(["check", "rules", &monitoring("alerts.yml")]))?;
    run(Command::new(promtool()?).args(["test", "rules", &monitoring("alerts-test.yml")]))?;
    Ok(())
}

/// The queries are checked as rules because promtool cannot read dashboards.
#[test]
fn promtool_understands_every_query_of_the_dashboard() -> Result<()> {
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(monitoring("dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("a dashboard has panels")?;
    let mut rules = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().context("a panel has targets")? {
            let query = target["expr"].as_str().context("a target has a query")?;
            let query = query.replace("$__rate_interval", "5m").replace("$virtual_router", ".*");
            rules
                .push(serde_json::json!({ "record": format!("panel:{}:{}", panel["id"], rules.len()), "expr": query }));
        }
    }
    ensure!(!rules.is_empty());
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rules.yml");
    // JSON is valid YAML.
    std::fs::write(&file, serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string())?;
    run(Command::new(promtool()?).args(["check", "rules"]).arg(&file))?;
    Ok(())
}
