//! Wrong configurations, and the exact messages about them.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use xvrrp_bad_configurations::{Case, that_must_wait, wrong_anywhere, wrong_on_the_host};
use xvrrp_config::host::{self, HostInterface, HostLookup, Survey};
use xvrrp_config::{ConfigError, HostNames, NotifyFifo, ScriptUser};

/// Returns the interfaces that [`wrong_on_the_host`] describes.
fn interfaces() -> Vec<HostInterface> {
    let interface = |name: &str, ethernet, addresses: &[Ipv4Addr]| HostInterface {
        name: name.into(),
        ethernet,
        loopback: name == "lo",
        takes_own_mac_only: (name == "br0").then_some("a bridge"),
        addresses: addresses.iter().copied().map(IpAddr::V4).collect(),
    };
    vec![
        interface("lo", false, &[Ipv4Addr::LOCALHOST]),
        interface("tun0", false, &[Ipv4Addr::new(198, 51, 100, 1)]),
        interface("eth0", true, &[Ipv4Addr::new(192, 0, 2, 10)]),
        interface("eth1", true, &[]),
        interface("br0", true, &[Ipv4Addr::new(203, 0, 113, 10)]),
    ]
}

/// Names of these interfaces, as messages list them.
const INTERFACES: &str = "br0, eth0, eth1, lo, tun0";

/// A host whose programs are below `/bin`, `/usr/bin` and `/home/joe`, whose only users are `root` and `nobody`, and
/// whose only group is `nogroup`. `joe` owns his home.
struct TestHost;

impl HostLookup for TestHost {
    fn is_executable(&self, path: &Path) -> bool {
        ["/bin", "/usr/bin", "/home/joe"].iter().any(|directory| path.starts_with(directory))
    }

    fn has_user(&self, user: &ScriptUser) -> bool {
        ["root", "nobody"].contains(&user.name.as_str()) && user.group.as_ref().is_none_or(|group| group == "nogroup")
    }

    fn is_root(&self, user: Option<&ScriptUser>) -> bool {
        user.is_none_or(|user| user.name == "root")
    }

    fn becomes_root(&self, program: &Path) -> bool {
        program.starts_with("/home/joe/setuid")
    }

    fn fault_of_fifo(&self, fifo: &NotifyFifo) -> Option<String> {
        fifo.path
            .starts_with("/home/joe")
            .then(|| "belongs to joe; remove it, or give the path of a FIFO of the agent's user".to_owned())
    }

    fn replaceable(&self, program: &Path) -> Option<String> {
        program.starts_with("/home/joe").then(|| "/home/joe belongs to joe".to_owned())
    }
}

/// Loads a configuration and checks it against the host. Returns the warnings if it can be used.
fn load(path: &Path) -> Result<Vec<String>, ConfigError> {
    let mut config = xvrrp_config::load(path)?;
    config.find_programs(|name| (name == "killall").then(|| "/usr/bin/killall".into()));
    let interfaces = interfaces();
    let survey = Survey::new(&config, &interfaces);
    host::check(&config, &survey, &TestHost)?;
    xvrrp_config::check_names(&config, &HostNames::default())?;
    let exists = |name: &str| interfaces.iter().any(|interface| interface.name == name);
    Ok(survey.warnings(&config).into_iter().chain(xvrrp_config::missing_interfaces(&config, exists)).collect())
}

/// Returns the errors or else the warnings about a configuration.
fn messages(text: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xvrrp.toml");
    fs::write(&path, text).unwrap();
    let messages = load(&path).map_or_else(|error| error.to_string(), |warnings| warnings.join("\n"));
    messages.replace(&*path.to_string_lossy(), "FILE")
}

fn assert_exact_messages(cases: &[Case]) {
    let mut failures = Vec::new();
    for Case { title, configuration, messages: expected } in cases {
        let found = messages(configuration.as_bytes()).replace(INTERFACES, "INTERFACES");
        if found != *expected {
            failures.push(format!("== {title}\nexpected:\n{expected}\nfound:\n{found}\n"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn for_every_wrong_configuration_the_message_says_what_is_wrong_and_what_is_expected() {
    assert_exact_messages(&wrong_anywhere());
}

#[test]
fn for_a_configuration_that_the_host_cannot_use_the_message_says_why() {
    assert_exact_messages(&wrong_on_the_host());
}

#[test]
fn a_warning_says_what_a_virtual_router_or_a_route_will_wait_for() {
    assert_exact_messages(&that_must_wait());
}

#[test]
fn every_case_has_a_title_of_its_own() {
    let cases = wrong_anywhere().into_iter().chain(wrong_on_the_host());
    let mut titles = HashSet::new();
    let repeated: Vec<_> = cases.filter(|case| !titles.insert(case.title)).map(|case| case.title).collect();
    assert_eq!(repeated, [""; 0]);
}

#[test]
fn for_a_file_that_cannot_be_read_the_message_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    for (path, message) in [
        (missing.as_path(), "cannot be read: there is no such file; give the path of a configuration"),
        (directory.path(), "cannot be read: it is a directory; give the path of a file in it"),
    ] {
        let error = load(path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {message}", path.display()));
    }
}

#[test]
fn text_in_another_encoding_than_utf_8_is_refused_with_its_line() {
    let latin_1 = b"# a gateway\n# f\xfcr das LAN\n";
    assert_eq!(messages(latin_1), "FILE:2: is not UTF-8 text; save the file as UTF-8");
    let utf_16 = b"\xff\xfe[\0[\0";
    assert_eq!(messages(utf_16), "FILE:1: is not UTF-8 text; save the file as UTF-8");
}

#[test]
fn a_device_is_refused_instead_of_read() {
    let message = "/dev/zero: cannot be read: it is a device; give the path of a regular file";
    assert_eq!(load(Path::new("/dev/zero")).unwrap_err().to_string(), message);
}

#[test]
fn too_many_virtual_routers_are_reported_once() {
    let router = |number: usize| {
        format!(
            "[[virtual_router]]\nname = \"r{number}\"\ninterface = \"i{}\"\nvrid = {}\n",
            number / 255,
            number % 255 + 1
        ) + &format!("addresses = [\"10.0.{}.{}\"]\n", number / 255, number % 255 + 1)
    };
    let text: String = (0..4080).map(router).collect();
    assert_eq!(xvrrp_config::parse(Path::new("FILE"), &text).unwrap().virtual_routers.len(), 4080);
    let error = xvrrp_config::parse(Path::new("FILE"), &(text + &router(4080))).unwrap_err();
    let message = "FILE:20401: virtual_router: 4081 virtual routers are too many; expected at most 4080 in a file";
    assert_eq!(error.to_string(), message);
}
