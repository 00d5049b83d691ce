//! Every way to get a configuration wrong, and the exact message for it.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use xvrrp_bad_configurations::{Case, waited_for, wrong_anywhere, wrong_on_the_host};
use xvrrp_config::ConfigError;
use xvrrp_config::host::{self, HostInterface, Survey};

/// As [`wrong_on_the_host`] needs it.
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

/// All of them, as messages list them.
const INTERFACES: &str = "br0, eth0, eth1, lo, tun0";

/// With what is said about one that can be used.
fn load(path: &Path) -> Result<Vec<String>, ConfigError> {
    let config = xvrrp_config::load(path)?;
    let interfaces = interfaces();
    let survey = Survey::new(&config, &interfaces);
    host::check(&config, &survey, |path| path.starts_with("/bin"), |user| user == "nobody")?;
    Ok(survey.warnings(&config))
}

/// All that is said about a configuration; nothing for a right one.
fn complaints(text: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xvrrp.toml");
    fs::write(&path, text).unwrap();
    let complaints = load(&path).map_or_else(|error| error.to_string(), |warnings| warnings.join("\n"));
    complaints.replace(&*path.to_string_lossy(), "FILE")
}

fn assert_exact_messages(cases: &[Case]) {
    let mut failures = Vec::new();
    for Case { title, configuration, messages } in cases {
        let said = complaints(configuration.as_bytes()).replace(INTERFACES, "INTERFACES");
        if said != *messages {
            failures.push(format!("== {title}\nexpected:\n{messages}\nsaid:\n{said}\n"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_wrong_configuration_is_told_what_is_wrong_and_what_would_be_right() {
    assert_exact_messages(&wrong_anywhere());
}

#[test]
fn what_the_host_lacks_is_told() {
    assert_exact_messages(&wrong_on_the_host());
}

#[test]
fn what_virtual_routers_will_wait_for_is_told() {
    assert_exact_messages(&waited_for());
}

#[test]
fn no_case_is_there_twice() {
    let cases = wrong_anywhere().into_iter().chain(wrong_on_the_host());
    let mut titles = HashSet::new();
    let twice: Vec<_> = cases.filter(|case| !titles.insert(case.title)).map(|case| case.title).collect();
    assert_eq!(twice, [""; 0]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_apart() {
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
fn other_encodings_than_utf_8_are_told_with_their_line() {
    let latin_1 = b"# a gateway\n# f\xfcr das LAN\n";
    assert_eq!(complaints(latin_1), "FILE:2: is not UTF-8 text; save the file as UTF-8");
    let utf_16 = b"\xff\xfe[\0[\0";
    assert_eq!(complaints(utf_16), "FILE:1: is not UTF-8 text; save the file as UTF-8");
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_not_read_to_its_end() {
    let message = "/dev/zero: cannot be read: it is a device; give the path of a regular file";
    assert_eq!(load(Path::new("/dev/zero")).unwrap_err().to_string(), message);
}

#[test]
fn more_virtual_routers_than_there_is_room_for_are_told_once() {
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
    let message = "FILE:20401: virtual_router: 4081 are too many; expected at most 4080 in a file";
    assert_eq!(error.to_string(), message);
}
