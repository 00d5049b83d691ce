use super::*;

fn route(text: &str) -> Route {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn hop(via: &str, interface: &str) -> NextHop {
    let interface = Some(interface.to_owned()).filter(|name| !name.is_empty());
    NextHop { via: via.parse().ok(), interface, ..NextHop::default() }
}

fn net(text: &str) -> Prefix {
    prefix("", text).unwrap().unwrap()
}

#[test]
fn a_route_without_any_options_has_the_values_that_ip_chooses() {
    let expected = Route {
        family: Family::Ipv4,
        kind: RouteKind::Unicast,
        destination: net("0.0.0.0/0"),
        source: None,
        next_hops: vec![hop("192.0.2.254", "")],
        preferred_source: None,
        table: Table::Listed(Named::Number(254)),
        metric: 0,
        scope: 0,
        tos: Named::Number(0),
        metrics: vec![],
        locked: vec![],
        congestion_control: None,
        preference: 0,
        insertion: Insertion::Prepend,
        kept: true,
    };
    for text in ["default via 192.0.2.254", "to default gw 192.0.2.254", "inet all via inet 192.0.2.254"] {
        assert_eq!(route(text), expected, "{text}");
    }
    assert_eq!(route("10.0.0.0/8 dev eth1").scope, 253);
    assert_eq!(route("local 10.0.0.1 dev lo").scope, 254);
    assert_eq!(route("local 10.0.0.1 dev lo").table, Table::Listed(Named::Number(255)));
    assert_eq!(route("2001:db8::/32 dev eth1").scope, 0);
    assert_eq!(route("2001:db8::/32 dev eth1").metric, 1024);
}

#[test]
fn the_family_is_that_of_the_addresses_or_else_ipv4() {
    for (text, expected) in [
        ("default dev eth0", Family::Ipv4),
        ("inet6 default dev eth0", Family::Ipv6),
        ("default via fe80::1 dev eth0", Family::Ipv6),
        ("inet default via inet6 fe80::1 dev eth0", Family::Ipv4),
        ("10.0.0.0/8 via fe80::1 dev eth0", Family::Ipv4),
        ("blackhole default src 2001:db8::1", Family::Ipv6),
    ] {
        assert_eq!(route(text).family, expected, "{text}");
    }
}

// parity 92, 93, 94
#[test]
fn every_option_of_a_route_is_read() {
    let text = "src 192.0.2.1 to 198.51.100.0/24 via 192.0.2.254 dev eth1 table isp1 metric 7 scope site tos 0x10 \
                proto vrrp onlink mtu lock 1400 window 9 rtt 100ms rttvar 2 ssthresh 3 cwnd lock 4 advmss 1300 \
                reordering 5 hoplimit 6 initcwnd 10 features ecn rto_min 1s initrwnd 11 quickack 1 congctl reno \
                fastopen_no_cookie 1 realms 3/office append no_track";
    let found = route(text);
    let metrics = [
        (Metric::Mtu, 1400),
        (Metric::Window, 9),
        (Metric::Rtt, 800),
        (Metric::RttVar, 2),
        (Metric::SsThresh, 3),
        (Metric::Cwnd, 4),
        (Metric::AdvMss, 1300),
        (Metric::Reordering, 5),
        (Metric::HopLimit, 6),
        (Metric::InitCwnd, 10),
        (Metric::Features, 1),
        (Metric::RtoMin, 1000),
        (Metric::InitRwnd, 11),
        (Metric::QuickAck, 1),
        (Metric::FastOpenNoCookie, 1),
    ];
    let realms = crate::model::Realms {
        source: Named::Number(3),
        destination: Named::Name(crate::model::Names::Realms, "office".into()),
    };
    assert_eq!(
        found,
        Route {
            family: Family::Ipv4,
            kind: RouteKind::Unicast,
            destination: net("198.51.100.0/24"),
            source: None,
            next_hops: vec![NextHop { onlink: true, realms: Some(realms), ..hop("192.0.2.254", "eth1") }],
            preferred_source: Some([192, 0, 2, 1].into()),
            table: Table::Listed(Named::Name(crate::model::Names::Tables, "isp1".into())),
            metric: 7,
            scope: 200,
            tos: Named::Number(0x10),
            metrics: metrics.to_vec(),
            locked: vec![Metric::Mtu, Metric::Cwnd],
            congestion_control: Some("reno".into()),
            preference: 0,
            insertion: Insertion::Append,
            kept: false,
        }
    );
    let found = route("2001:db8::/32 from 2001:db8:1::7/64 via fe80::1 dev eth1 pref high vrf blue");
    assert_eq!(found.source, Some(net("2001:db8:1::/64")));
    assert_eq!(found.preference, 1);
    assert_eq!(found.table, Table::Vrf("blue".into()));
}

#[test]
fn several_next_hops_are_read_with_their_weights() {
    let found =
        route("192.0.2.0/24 table 6909 nexthop via 10.0.0.1 dev eth1 onlink weight 1 nexthop dev eth2 weight 256");
    let first = NextHop { onlink: true, ..hop("10.0.0.1", "eth1") };
    assert_eq!(found.next_hops, [first, NextHop { weight: 256, ..hop("", "eth2") }]);
    let found = route("192.0.2.0/24 via 10.0.0.1 or 10.0.0.2 dev eth1");
    assert_eq!(found.next_hops, [hop("10.0.0.1", "eth1"), hop("10.0.0.2", "eth1")]);
}

// parity 95
#[test]
fn routes_that_discard_packets_lead_nowhere() {
    for (text, kind) in [
        ("blackhole 192.0.2.1", RouteKind::Blackhole),
        ("unreachable to 192.0.2.1", RouteKind::Unreachable),
        ("prohibit 192.0.2.1/32", RouteKind::Prohibit),
        ("throw 192.0.2.1", RouteKind::Throw),
    ] {
        let found = route(text);
        assert_eq!((found.kind, &found.next_hops[..]), (kind, &[][..]), "{text}");
        assert_eq!(found.destination, net("192.0.2.1/32"), "{text}");
    }
}

#[test]
fn a_route_that_could_be_meant_differently_is_refused() {
    for (text, expected) in [
        ("", "there is no destination"),
        ("via 192.0.2.1", "there is no destination"),
        ("default", "the route leads nowhere"),
        ("default onlink", "the route leads nowhere"),
        ("10.0.0.1/8 dev eth0", "write 10.0.0.0/8"),
        ("10.0.0.0/33 dev eth0", "is not a prefix"),
        ("10.0.0.0/08 dev eth0", "is not a prefix"),
        ("10/8 dev eth0", "is not a prefix"),
        ("default via 192.0.2.1/24", "write 192.0.2.1"),
        ("default via 192.0.2", "via: \"192.0.2\" is not an IP address"),
        ("default via", "via has no value"),
        ("default via 192.0.2.1 via 192.0.2.2", "via is given twice"),
        ("default via 192.0.2.1 gw 192.0.2.2", "via is given twice"),
        ("default default via 192.0.2.1", "the destination is given twice"),
        ("default table 1 vrf blue dev eth0", "vrf or table is given twice"),
        ("default dev eth0 mtu 70000", "expected a number from 1 to 65520"),
        ("default dev eth0 metric -1", "expected a number from 0 to"),
        ("default dev eth0 table 0", "0 stands for no table"),
        ("default dev eth0 tos 10", "write it with 0x"),
        ("default dev eth0 tos 0x11", "belong to ECN"),
        ("default dev eth0 proto bird", "recognizes what it has installed"),
        ("default dev eth0 proto 18", "recognizes what it has installed"),
        ("default dev eth/0", "is not a valid interface name"),
        ("default dev eth0 nexthop via 192.0.2.1", "there is a next hop before it"),
        ("default nexthop via 192.0.2.1 mtu 1400", "comes after the next hops"),
        ("default nexthop weight 5", "it leads nowhere"),
        ("default nexthop via 192.0.2.1 weight 257", "expected a number from 1 to 256"),
        ("default or 192.0.2.1", "there is no gateway before it"),
        ("blackhole default dev eth0", "leads nowhere; remove"),
        ("blackhole", "has no destination"),
        ("10.0.0.0/8 from 10.0.0.0/8 dev eth0", "\"10.0.0.0/8\" is IPv6"),
        ("10.0.0.0/8 dev eth0 src 2001:db8::1", "\"2001:db8::1\" is IPv6, but the words before it are IPv4"),
        ("inet6 default via 192.0.2.1", "is IPv4, but the route is IPv6"),
        ("2001:db8::/32 dev eth0 tos 0x10", "tos is for IPv4 routes only"),
        ("10.0.0.0/8 dev eth0 pref high", "pref is for IPv6 routes only"),
        ("default dev eth0 mtu", "mtu has no value"),
        ("default dev eth0 encap mpls 7", "not supported"),
        ("default dev eth0 expires 7", "cannot expire"),
        ("default dev eth0 colour red", "\"colour\" is not a word of ip route add"),
        ("192.0.2.0/24 dev eth0 rtt soon", "is not a time"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
