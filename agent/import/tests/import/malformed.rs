//! Configurations that cannot be read, and the exact messages about them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xvrrp_import::{Format, Options};

fn message(format: Format, files: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let file = directory.path().join(files.first().map_or("missing", |(name, _)| name));
    let options = Options { format: Some(format), node: Some("alpha".to_owned()) };
    let error = xvrrp_import::import(&file, &options).expect_err("it is malformed").to_string();
    error.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn a_keepalived_conf_without_an_end_is_refused_with_file_and_line() {
    for (text, expected) in [
        ("$A=$B\n$B=$A\nx $A\n", "k.conf:3: parameters refer to each other endlessly; break the cycle"),
        ("$A=$A$A\nx $A\n", "k.conf:2: parameters refer to each other endlessly; break the cycle"),
        (
            "$A=a \\\n$A\n\n$A\n",
            "k.conf:4: there are more than 1000000 lines up to here; shorten the definitions and sequences",
        ),
        (
            "\n~SEQ(I, 1, 1000000000) $A=$I\n",
            "k.conf:2: there are more than 1000000 lines up to here; shorten the definitions and sequences",
        ),
        (&"{".repeat(100_000), "k.conf:1: there are more than 64 MiB up to here; shorten the lines"),
        ("\ninclude k.conf\n", "k.conf:2: files include each other endlessly; break the cycle"),
        ("x\0y\n", "k.conf: is not a text file; give the path of a configuration"),
    ] {
        let message = message(Format::Keepalived, &[("k.conf", text)]);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn an_include_that_keepalived_does_not_start_without_is_refused_with_file_and_line() {
    let start = "; keepalived does not start either";
    for (text, expected) in [
        ("includem none.conf", format!("include: there is no file none.conf; restore it, or remove the line{start}")),
        (
            "includew none*.conf",
            format!("include: no file matches none*.conf; if there should be one, copy it here as well{start}"),
        ),
        (
            "includea none*.conf",
            format!("include: no file matches none*.conf; if there should be one, copy it here as well{start}"),
        ),
        (
            "includeb {k,none}.conf",
            format!(
                "include: some of the files of {{k,none}}.conf are missing; restore them, or correct the line{start}"
            ),
        ),
        ("includer .", format!("include: . is a directory, so keepalived skips it; so does the import{start}")),
    ] {
        let message = message(Format::Keepalived, &[("k.conf", &format!("global_defs {{\n}}\n{text}\n"))]);
        assert_eq!(message, format!("k.conf:3: {expected}"), "{text}");
    }
    let checked = "global_defs {\n  include_check wildcard_match\n}\ninclude none*.conf\n";
    let message = message(Format::Keepalived, &[("k.conf", checked)]);
    assert!(message.starts_with("k.conf:4: include: no file matches none*.conf"), "{message}");
}

#[test]
fn a_file_that_is_not_regular_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    symlink("/dev/zero", path("zero")).unwrap();
    fs::write(path("k.conf"), "\ninclude fifo\n").unwrap();
    let started = Instant::now();
    for (name, expected) in [
        ("fifo", "fifo: cannot be read: it is a FIFO; give the path of a regular file"),
        ("zero", "zero: cannot be read: it is a device; give the path of a regular file"),
        (".", ".: cannot be read: it is a directory; give the path of a file in it"),
        ("k.conf", "k.conf:2: include: fifo: cannot be read: it is a FIFO; give the path of a regular file"),
    ] {
        let error = xvrrp_import::import(&path(name), &Options::default()).unwrap_err().to_string();
        assert_eq!(error.replace(&format!("{}/", directory.path().display()), ""), expected);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_file_above_the_limit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k.conf");
    // Sparse: the file takes no space.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = xvrrp_import::import(&path, &Options::default()).unwrap_err().to_string();
    assert!(
        error.ends_with("k.conf: cannot be read: it is longer than 16 MiB; give the path of the intended file"),
        "{error}"
    );
}

#[test]
fn a_file_that_grows_while_it_is_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k.conf");
    fs::write(&path, "# a comment\n".repeat(500_000)).unwrap();
    let done = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&path).unwrap();
            // Stops before the limit for the length of a file.
            for _ in 0..4_000_000 {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all(b"#\n").unwrap();
            }
        });
        let started = Instant::now();
        let refused = std::iter::repeat_with(|| xvrrp_import::import(&path, &Options::default()))
            .take_while(|_| started.elapsed() < Duration::from_mins(1))
            .find_map(Result::err);
        done.store(true, Ordering::Relaxed);
        refused
    });
    let error = refused.expect("the file grew while it was read").to_string();
    let expected = "k.conf: was written while it was read; run the command again once nothing writes to it";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn a_malformed_heartbeat_configuration_is_refused_with_file_and_line() {
    for (ha_cf, haresources, expected) in [
        ("keepalive 1\n", "", "ha.cf:1: no node is named; add the hosts, as in: node alpha beta"),
        (
            "node alpha beta\ndeadtime soon\n",
            "",
            "ha.cf:2: deadtime: \"soon\" is not a time; expected one such as 10 or 500ms",
        ),
        ("node alpha beta\ndeadtime\n", "", "ha.cf:2: deadtime has no value; add one"),
        (
            "node alpha\nauto_failback maybe\n",
            "",
            "ha.cf:2: auto_failback: \"maybe\" is not valid; expected on, off or legacy",
        ),
        (
            "node alpha beta\n",
            "# x\ngamma 192.0.2.1\n",
            "haresources:2: \"gamma\" is not a node of ha.cf; begin the line with a node",
        ),
        (
            "node beta gamma\n",
            "beta 192.0.2.1\n",
            "ha.cf:1: \"alpha\" is not one of the nodes; name the node that the result is for: --node with one of beta, \
             gamma",
        ),
    ] {
        let message = message(Format::Heartbeat, &[("ha.cf", ha_cf), ("haresources", haresources)]);
        assert_eq!(message, expected);
    }
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let missing = message(Format::Keepalived, &[]);
    assert_eq!(missing, "missing: cannot be read: there is no such file; give the path of a configuration");
    let missing = message(Format::Heartbeat, &[("ha.cf", "node alpha\n")]);
    let remedy = "put ha.cf and haresources into one directory";
    assert_eq!(missing, format!("haresources: cannot be read: there is no such file; {remedy}"));
}
