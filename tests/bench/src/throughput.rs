//! What a gateway forwards, with the program on its interfaces and without.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use serde_json::Value;
use xvrrp_common::abi::{Counter, Router, RouterKey};

use super::bare_xdp::{self, BareProgram, Injector, Variation};
use super::{Body, Findings, Group, Options, Plot, Row, Samples, Subject};
use xvrrp_lab::kernel_half::{KernelHalf, key, router, virtual_mac};
use xvrrp_lab::traffic::frames;
use xvrrp_lab::usage::received;
use xvrrp_lab::{Namespace, VirtualRouter, Xvrrp, eventually, pause, run as run_command};

pub const SUBJECT: Subject = Subject { name: "throughput", title: "forwarding with the program attached", run };

/// What forwarding must reach of what it is without the program.
const TARGET: f64 = 0.98;
const PORT: u16 = 7008;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The payload of the smallest frame on a wire.
const PAYLOAD: usize = 18;
const UDP: u8 = 17;
/// How many frames are injected at a time.
const AT_ONCE: u32 = 1 << 19;
/// The gateway's interfaces.
const CLIENT_SIDE: &str = "eth0";
const SERVER_SIDE: &str = "eth1";

/// What is on the gateway, and which way the client goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No program.
    Bare,
    /// Programs that only pass, in the same places: what the kernel's hooks cost by themselves. At the driver only.
    Hooks,
    /// The program, which has nothing to do with the frames: they go to the interface's own MAC address.
    Past,
    /// The program, which admits the frames: they go to the virtual MAC.
    Through,
}

const WAYS: [Way; 4] = [Way::Bare, Way::Hooks, Way::Past, Way::Through];

/// Client, gateway and server, and cables between them.
struct Path {
    client: Namespace,
    gateway: Namespace,
    server: Namespace,
}

fn run(options: &Options) -> Result<Findings> {
    let (path, at_drivers) = (Path::new()?, Path::new()?);
    at_drivers.gateway.receive_at_driver(CLIENT_SIDE)?;
    let window = options.pick(Duration::from_secs(1), Duration::from_millis(300));
    let rounds = options.runs(10, 1);
    let mut injected = [const { Vec::new() }; WAYS.len()];
    let mut packets = [const { Vec::new() }; WAYS.len()];
    let mut bits = [const { Vec::new() }; WAYS.len()];
    // One way after the other, again and again: what disturbs, disturbs all of them.
    for _ in 0..rounds {
        for (index, way) in WAYS.into_iter().enumerate() {
            if way != Way::Hooks {
                let agent = path.set_up(way)?;
                packets[index].push(path.small_packets(window)? / 1e3);
                bits[index].push(path.iperf(options.pick(2, 1))? / 1e9);
                if let Some(mut agent) = agent {
                    agent.stop()?;
                }
            }
            injected[index].push(at_drivers.injected_packets(way, options.pick(AT_ONCE, AT_ONCE / 16))? / 1e3);
        }
    }
    let driver = judged("smallest packets, at the driver", "kpackets/s", injected)?;
    let small = judged("smallest packets, over the cable", "kpackets/s", packets)?;
    let stream = judged("one TCP stream (iperf3), over the cable", "Gbit/s", bits)?;
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
        plot(
            "Forwarding of the smallest packets, driver mode",
            "thousand packets/s (median; whisker: least to most)",
            &driver,
        ),
        plot(
            "Forwarding of the smallest packets, generic mode",
            "thousand packets/s (median; whisker: least to most)",
            &small,
        ),
        plot("Forwarding of one TCP stream", "Gbit/s (median; whisker: least to most)", &stream),
    ];
    Ok(Findings {
        how: format!(
            "Client, gateway and server, a veth cable on each side of the gateway; {rounds} rounds through all ways. Smallest \
             packets: UDP with {PAYLOAD} bytes; counted is what arrives at the server. At the driver: the kernel makes the \
             frames and hands them to the gateway's driver, where the program is in driver mode, as on a card. Over the \
             cable: from one thread, one system call each, for {window:?}; the program is in generic mode. Past: to the \
             interface's own MAC; through: to the virtual MAC, admitted by the program."
        ),
        rows: vec![driver, small, stream],
        notes: vec![
            "Over the cable the program runs in generic mode, behind the allocation of the packet's buffer, which the kernel makes \
             anew or linear for it where it must: with segments of 64 kB, as TCP over veth has them, that is most of the \
             cost. At the driver, as on a card, there is neither."
                .to_owned(),
            "Bare programs: one that only passes in each of the two places, XDP and TC's egress, that the agent's programs \
             take: what the kernel's own hooks cost of a path that does nothing else but forward."
                .to_owned(),
        ],
        plots,
    })
}

fn judged(what: &str, unit: &'static str, [bare, hooks, past, through]: [Vec<f64>; WAYS.len()]) -> Result<Row> {
    let (bare, past, through) = (Samples::of(bare)?, Samples::of(past)?, Samples::of(through)?);
    let met = past.median().min(through.median()) >= bare.median() * TARGET;
    let mut row = Row::new(what, unit).figure("past", past).figure("through", through);
    if !hooks.is_empty() {
        row = row.figure("bare programs", Samples::of(hooks)?);
    }
    Ok(row.beside("no program", bare).target(format!("at least {TARGET} of what it is without the program"), met))
}

impl Path {
    fn new() -> Result<Self> {
        let path = Self {
            client: Namespace::new("client")?,
            gateway: Namespace::new("gateway")?,
            server: Namespace::new("server")?,
        };
        let gateway = &path.gateway;
        for (host, interface, net, own) in [
            (&path.client, CLIENT_SIDE, "192.0.2", "192.0.2.100"),
            (&path.server, SERVER_SIDE, "198.51.100", "198.51.100.100"),
        ] {
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
        let _sink = self.sink()?;
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

    /// How many a second arrive of so many that are handed to the gateway's driver.
    fn injected_packets(&self, way: Way, packets: u32) -> Result<f64> {
        let _sink = self.sink()?;
        let own = self.gateway.mac(CLIENT_SIDE)?;
        let kernel = if matches!(way, Way::Past | Way::Through) { Some(self.kernel_half()?) } else { None };
        let (pass, accept) = (BareProgram::pass()?, BareProgram::accept()?);
        let programs = match &kernel {
            Some(kernel) => Some((kernel.ingress()?, kernel.egress()?)),
            None if way == Way::Hooks => Some((pass.fd(), accept.fd())),
            None => None,
        };
        let mut attached = Vec::new();
        if let Some((ingress, egress)) = programs {
            for interface in [CLIENT_SIDE, SERVER_SIDE] {
                attached.push(bare_xdp::attach(ingress, &self.gateway, interface)?);
                attached.push(bare_xdp::attach_egress(egress, &self.gateway, interface)?);
            }
        }
        let mut datagram = [0; 8 + PAYLOAD];
        datagram[2..4].copy_from_slice(&PORT.to_be_bytes());
        let length = u16::try_from(datagram.len())?;
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        let destination = if way == Way::Through { virtual_mac() } else { own };
        let frame = frames::ipv4(destination, 64, UDP, SERVER.octets(), &datagram);
        let injector = Injector::new(&self.client, "eth0", &frame, Variation::default())?;
        let before = received(&self.server, "eth0")?;
        let start = Instant::now();
        injector.send(packets)?;
        let took = start.elapsed();
        // What was under way.
        pause(Duration::from_millis(20))?;
        let arrived = received(&self.server, "eth0")? - before;
        ensure!(arrived >= f64::from(packets) * 0.99, "of {packets} packets {arrived} have arrived");
        if let Some(kernel) = kernel {
            let admitted = kernel.count(1, Counter::VirtualMacAdmitted)?;
            ensure!((way == Way::Through) == (admitted > 0), "the program has admitted {admitted}");
        }
        Ok(arrived / took.as_secs_f64())
    }

    /// The agent's programs, Active on both interfaces: the agent itself takes generic mode on veth.
    fn kernel_half(&self) -> Result<KernelHalf> {
        let mut kernel = KernelHalf::load()?;
        for (interface, slot, address) in [(CLIENT_SIDE, 0, [192, 0, 2, 1]), (SERVER_SIDE, 1, [198, 51, 100, 1])] {
            let ifindex = self.gateway.run(|| if_nametoindex(interface))??;
            let interface_mac = self.gateway.mac(interface)?.0;
            let active = Router { slot, interface_mac, ..router(Router::ROLE_ACTIVE) };
            kernel.add(RouterKey { ifindex, ..key(51, 0) }, active, address)?;
        }
        Ok(kernel)
    }

    /// Never read: what it has no room for is dropped without a word.
    fn sink(&self) -> Result<UdpSocket> {
        Ok(self.server.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??)
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
