//! What a gateway forwards, with the program on its interfaces and without.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::usage::received;
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use crate::lab::{Namespace, VirtualRouter, Xvrrp, eventually, pause, run as run_command};

pub const SUBJECT: Subject = Subject { name: "throughput", title: "forwarding with the program attached", run };

/// What forwarding must reach of what it is without the program.
const TARGET: f64 = 0.98;
const PORT: u16 = 7008;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The payload of the smallest frame on a wire.
const PAYLOAD: usize = 18;

/// What is on the gateway, and which way the client goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No program.
    Bare,
    /// The program, which has nothing to do with the frames: they go to the interface's own MAC address.
    Past,
    /// The program, which admits the frames: they go to the virtual MAC.
    Through,
}

const WAYS: [Way; 3] = [Way::Bare, Way::Past, Way::Through];

/// Client, gateway and server, and cables between them.
struct Path {
    client: Namespace,
    gateway: Namespace,
    server: Namespace,
}

fn run(options: &Options) -> Result<Findings> {
    let path = Path::new()?;
    let window = options.pick(Duration::from_secs(1), Duration::from_millis(300));
    let rounds = options.runs(10, 1);
    let mut packets = [const { Vec::new() }; 3];
    let mut bits = [const { Vec::new() }; 3];
    // One way after the other, again and again: what disturbs, disturbs all of them.
    for _ in 0..rounds {
        for (index, way) in WAYS.into_iter().enumerate() {
            let agent = path.set_up(way)?;
            packets[index].push(path.small_packets(window)? / 1e3);
            bits[index].push(path.iperf(options.pick(2, 1))? / 1e9);
            if let Some(mut agent) = agent {
                agent.stop()?;
            }
        }
    }
    let small = judged("smallest packets", "kpackets/s", packets)?;
    let stream = judged("one TCP stream (iperf3)", "Gbit/s", bits)?;
    let group = |row: &Row| {
        let all = row.reference.iter().chain(&row.figures);
        all.fold(Group::new(""), |group, figure| group.with(&figure.program, figure.samples.clone()))
    };
    let plot = |title: &str, axis: &str, row: &Row| Plot {
        title: title.to_owned(),
        axis: axis.to_owned(),
        logarithmic: false,
        mark: None,
        body: Body::Bars(vec![group(row)]),
    };
    let plots = vec![
        plot("Forwarding of the smallest packets", "thousand packets/s (median; whisker: least to most)", &small),
        plot("Forwarding of one TCP stream", "Gbit/s (median; whisker: least to most)", &stream),
    ];
    Ok(Findings {
        how: format!(
            "Client, gateway and server, a veth cable between each two; {rounds} rounds through all three ways. Smallest \
             packets: UDP with {PAYLOAD} bytes from one thread, one system call each, for {window:?}; counted is what \
             arrives at the server. Past: to the interface's own MAC; through: to the virtual MAC, admitted by the program."
        ),
        rows: vec![small, stream],
        notes: vec![
            "On veth the program runs in generic mode, behind the allocation of the packet's buffer, which the kernel makes \
             anew or linear for it where it must: with segments of 64 kB, as TCP over veth has them, that is most of the \
             cost. On a card in driver mode there is neither."
                .to_owned(),
        ],
        plots,
    })
}

fn judged(what: &str, unit: &'static str, [bare, past, through]: [Vec<f64>; 3]) -> Result<Row> {
    let (bare, past, through) = (Samples::of(bare)?, Samples::of(past)?, Samples::of(through)?);
    let met = past.median().min(through.median()) >= bare.median() * TARGET;
    let row = Row::new(what, unit).figure("past", past).figure("through", through).beside("no program", bare);
    Ok(row.target(format!("at least {TARGET} of what it is without the program"), met))
}

impl Path {
    fn new() -> Result<Self> {
        let path = Self {
            client: Namespace::new("client")?,
            gateway: Namespace::new("gateway")?,
            server: Namespace::new("server")?,
        };
        let gateway = &path.gateway;
        for (host, interface, net, own) in
            [(&path.client, "eth0", "192.0.2", "192.0.2.100"), (&path.server, "eth1", "198.51.100", "198.51.100.100")]
        {
            gateway.ip(&format!("link add {interface} type veth peer name eth0 netns {}", host.name()))?;
            gateway.ip(&format!("addr add {net}.2/24 dev {interface}"))?;
            gateway.ip(&format!("link set {interface} up"))?;
            host.ip(&format!("addr add {own}/24 dev eth0"))?;
            host.ip("link set eth0 up")?;
            host.ip(&format!("route add default via {net}.2"))?;
        }
        gateway.sysctl("net.ipv4.ip_forward", "1")?;
        gateway.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
        Ok(path)
    }

    fn set_up(&self, way: Way) -> Result<Option<Xvrrp>> {
        let last = if way == Way::Through { 1 } else { 2 };
        self.client.ip(&format!("route replace default via 192.0.2.{last}"))?;
        self.server.ip(&format!("route replace default via 198.51.100.{last}"))?;
        if way == Way::Bare {
            return Ok(None);
        }
        let wan = VirtualRouter::lan(200)
            .with("name", "\"wan\"")
            .with("interface", "\"eth1\"")
            .with("vrid", "52")
            .with("addresses", "[\"198.51.100.1/24\"]");
        let mut agent = Xvrrp::start(&self.gateway, &[VirtualRouter::lan(200), wan])?;
        agent.wait_for_state("lan", "active")?;
        agent.wait_for_state("wan", "active")?;
        Ok(Some(agent))
    }

    /// How many a second arrive.
    fn small_packets(&self, window: Duration) -> Result<f64> {
        // Never read: what it has no room for is dropped without a word.
        let _sink = self.server.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
        let socket = self.client.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.connect((SERVER, PORT))?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // It may be told that nobody is there yet.
                    let _ = socket.send(&[0; PAYLOAD]);
                }
            });
            let counted = (|| -> Result<f64> {
                pause(window / 5)?;
                let (start, before) = (Instant::now(), received(&self.server, "eth0")?);
                pause(window)?;
                let after = received(&self.server, "eth0")?;
                Ok((after - before) / start.elapsed().as_secs_f64())
            })();
            stop.store(true, Ordering::Relaxed);
            counted
        })
    }

    /// Bits per second of a TCP stream from the client to the server.
    fn iperf(&self, seconds: u32) -> Result<f64> {
        let mut server = self.server.command("iperf3")?;
        server.args(["-s", "-1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = server.spawn().context("cannot run iperf3; `cargo xtask setup` installs it")?;
        let measured = eventually("iperf3 listens", Duration::from_secs(5), || {
            let sockets = self.server.sh("ss --tcp --listening --numeric --no-header")?;
            anyhow::ensure!(sockets.contains(":5201"), "{sockets:?}");
            Ok(())
        })
        .and_then(|()| {
            let mut client = self.client.command("iperf3")?;
            client.args(["-c", &SERVER.to_string(), "-t", &seconds.to_string(), "-J"]);
            let report: Value = serde_json::from_str(&run_command(&mut client)?)?;
            report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 tells no rate")
        });
        if measured.is_err() {
            let _ = server.kill();
        }
        server.wait()?;
        measured
    }
}
