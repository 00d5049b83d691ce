//! Routes, rules and static addresses.

use xvrrp_config::{Named, RuleAction, StaticConfig};

use super::parse;

#[test]
fn routes_and_rules_belong_to_a_virtual_router_or_to_the_agent() {
    let config = parse(
        r#"
        [agent]
        static_addresses = ["192.0.2.9/24 dev eth1"]
        static_routes = ["198.51.100.0/24  via 192.0.2.254"]
        static_rules = ["from 198.51.100.0/24 lookup 100 priority 1000"]

        [[virtual_router]]
        name = "lan"
        interface = "eth0"
        vrid = 51
        addresses = ["192.0.2.1/24"]
        routes = [
            "default via 203.0.113.254 dev eth1",
            "2001:db8::/32 via fe80::1 dev eth1",
        ]
        rules = ["fwmark 7 lookup 101 priority 1001"]

        [[virtual_router]]
        name = "other"
        interface = "eth0"
        vrid = 52
        addresses = ["192.0.2.2/24"]
        routes = ["default via 203.0.113.254 dev eth1", "2001:db8::/32 via fe80::1 dev eth1 no_track"]
        "#,
    );
    let StaticConfig { addresses, routing } = &*config.agent.statics;
    assert_eq!((addresses[0].text.as_str(), addresses[0].line), ("192.0.2.9/24 dev eth1", 3));
    assert_eq!(routing.routes[0].text, "198.51.100.0/24 via 192.0.2.254");
    assert_eq!(routing.rules[0].value.action, RuleAction::Lookup(Named::Number(100)));
    let [lan, other] = &config.virtual_routers[..] else { panic!("{config:?}") };
    assert_eq!(lan.routing.routes.iter().map(|route| route.line).collect::<Vec<_>>(), [13, 14]);
    assert_eq!(lan.routing.rules[0].value.priority, 1001);
    // Several virtual routers may want one route.
    assert_eq!(lan.routing.routes[0].value, other.routing.routes[0].value);
    assert!(lan.routing.routes[1].value.kept && !other.routing.routes[1].value.kept);
}
