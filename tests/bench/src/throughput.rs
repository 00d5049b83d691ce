//! Measures the throughput of a gateway, with the program on its interfaces and without.

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

/// Share of the throughput without the program that must be reached with it.
const TARGET: f64 = 0.98;
const PORT: u16 = 7008;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The payload of the smallest frame on a wire.
const PAYLOAD: usize = 18;
const UDP: u8 = 17;
/// Number of frames that are injected at a time.
const AT_ONCE: u32 = 1 << 19;
/// The gateway's interfaces.
const CLIENT_SIDE: &str = "eth0";
const SERVER_SIDE: &str = "eth1";

/// Programs on the gateway, and the MAC that the client sends to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No program.
    Bare,
    /// Programs that only pass, in the same places, to show what the kernel's hooks cost by themselves. At the driver
    /// only.
    Hooks,
    /// The agent's programs, past which the frames go to the interface's own MAC.
    Past,
    /// The agent's programs, which admit the frames to the virtual MAC.
    Through,
}

const WAYS: [Way; 4] = [Way::Bare, Way::Hooks, Way::Past, Way::Through];

/// Client, gateway and server, connected by cables.
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
    // The ways take turns, so that a disturbance affects all of them.
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
            "thousand packets/s (median; whisker: minimum to maximum)",
            &driver,
        ),
        plot(
            "Forwarding of the smallest packets, generic mode",
            "thousand packets/s (median; whisker: minimum to maximum)",
            &small,
        ),
        plot("Forwarding of one TCP stream", "Gbit/s (median; whisker: minimum to maximum)", &stream),
    ];
    Ok(Findings {
        how: format!(
            "A client, a gateway and a server are connected by a veth cable on each side of the gateway. All ways take \
             turns, for {rounds} rounds. The smallest packets are UDP with {PAYLOAD} bytes, and those that arrive at \
             the server are counted. At the driver: the kernel makes the frames and hands them to the gateway's \
             driver, where the program is in driver mode, as on a card. Over the cable: one thread sends for \
             {window:?}, with one system call for each packet, and the program is in generic mode. Past: to the \
             interface's own MAC. Through: to the virtual MAC, admitted by the program."
        ),
        rows: vec![driver, small, stream],
        notes: vec![
            "Over the cable, the program runs in generic mode, after the packet's buffer has been allocated. If that \
             buffer is not linear or has too little headroom, the kernel copies it. With segments of 64 kB, which TCP \
             has over veth, that is most of the cost. At the driver, as on a card, there is neither."
                .to_owned(),
            "Bare programs: one program that only passes at each of the two hooks, XDP and TC egress, to which the \
             agent's programs are attached. They show what the kernel's hooks themselves cost on a path that only \
             forwards."
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
    Ok(row.beside("no program", bare).target(format!("at least {TARGET} of the figure without the program"), met))
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

    /// Returns the number of packets that arrive at the server in a second.
    fn small_packets(&self, window: Duration) -> Result<f64> {
        let _sink = self.sink()?;
        let socket = self.client.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.connect((SERVER, PORT))?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // May fail because an earlier packet was refused.
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

    /// Hands packets to the gateway's driver and returns how many arrive at the server in a second.
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
        // Packets may still be under way.
        pause(Duration::from_millis(20))?;
        let arrived = received(&self.server, "eth0")? - before;
        ensure!(arrived >= f64::from(packets) * 0.99, "only {arrived} of {packets} packets have arrived");
        if let Some(kernel) = kernel {
            let admitted = kernel.count(1, Counter::VirtualMacAdmitted)?;
            ensure!(
                (way == Way::Through) == (admitted > 0),
                "the program has admitted {admitted} packets to the virtual MAC"
            );
        }
        Ok(arrived / took.as_secs_f64())
    }

    /// Loads the agent's programs, Active on both interfaces. The agent itself would choose generic mode on veth.
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

    /// Opens a socket for the packets at the server. It is never read, and packets that it has no room for are dropped
    /// silently.
    fn sink(&self) -> Result<UdpSocket> {
        Ok(self.server.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??)
    }

    /// Measures the bits per second of a TCP stream from the client to the server.
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
            report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports no rate")
        });
        if measured.is_err() {
            let _ = server.kill();
        }
        server.wait()?;
        measured
    }
}
