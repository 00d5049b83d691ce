//! Converts the commands of check scripts and notify scripts.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::User;
use toml::Value as Toml;

use super::super::report::ImportReport;
use super::tree::{Statement, command_words};

/// A command, as the result has it.
#[derive(Debug)]
pub(super) struct Command {
    /// A list of words, or a string for the shell.
    pub value: Toml,
    /// The words of the line that follow the command.
    pub rest: Vec<String>,
}

/// Returns whether this host has a user of this name.
pub(super) fn host_has_user(name: &str) -> bool {
    matches!(User::from_name(name), Ok(Some(_)))
}

/// Returns the user that these words name, as xvrrp writes it: `NAME` or `NAME:GROUP`. keepalived has the group in a
/// word of its own. A colon before it asks for the user's supplementary groups, which programs of xvrrp have anyway.
pub(super) fn user(words: &[String]) -> Option<String> {
    let [name, groups @ ..] = words else { return None };
    Some(match groups.first().map(|group| group.trim_start_matches(':')) {
        None | Some("") => name.clone(),
        Some(group) => format!("{name}:{group}"),
    })
}

/// Reads the command of a directive, or reports it.
///
/// keepalived removes quotes and backslashes twice: from the line, and from the first word after the keyword.
pub(super) fn read(it: &Statement, report: &mut ImportReport) -> Option<Command> {
    let mut arguments = command_words(&it.text).unwrap_or_default().into_iter().skip(1);
    let line = arguments.next().unwrap_or_default();
    let words = command_words(&line).filter(|words| words.first().is_some_and(|program| !program.is_empty()));
    let Some(words) = words else {
        let advice = "has no program, or an unpaired quote, so keepalived ignores it; correct it";
        report.changed(&it.location, &it.keyword, advice);
        return None;
    };
    Some(Command { value: convert(line, words, it, report), rest: arguments.collect() })
}

fn convert(line: String, words: Vec<String>, it: &Statement, report: &mut ImportReport) -> Toml {
    let program = words.first().map_or("", String::as_str);
    // A redirection alone is for the shell in keepalived, too.
    if program.starts_with(['<', '>']) {
        return Toml::String(line);
    }
    if program.contains('/') || is_in_path(program) || !is_for_shell(program, &line) {
        return list(words);
    }
    let (shell, command) = in_shell(line, is_in_path("bash"));
    let advice =
        format!("keepalived finds no program {program:?} and never runs this; {shell} runs it: try the command");
    report.changed(&it.location, &it.keyword, advice);
    command
}

/// Returns a command for a shell, and which shell that is. Not every `/bin/sh` has `[[`: Debian's has not.
fn in_shell(line: String, has_bash: bool) -> (&'static str, Toml) {
    let is_separator = |c: char| c.is_ascii_whitespace() || matches!(c, ';' | '&' | '|' | '(' | '!' | '`');
    match line.split(is_separator).any(|word| word == "[[") {
        true if has_bash => ("bash", list(vec!["bash".to_owned(), "-c".to_owned(), line])),
        true => ("/bin/sh, which may not know \"[[\",", Toml::String(line)),
        false => ("/bin/sh", Toml::String(line)),
    }
}

fn list(words: Vec<String>) -> Toml {
    Toml::Array(words.into_iter().map(Toml::String).collect())
}

/// Returns whether a directory of `PATH` has a program of this name.
fn is_in_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|directory| directory.is_absolute()).any(|directory| {
        let metadata = fs::metadata(directory.join(name));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// Words with which a command for the shell can begin, and which are no names of programs.
const SHELL_WORDS: &[&str] = &["case", "exec", "exit", "for", "if", "until", "while"];

/// Returns whether only a shell can run this line.
fn is_for_shell(program: &str, line: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    !program.chars().all(plain)
        || SHELL_WORDS.contains(&program)
        || line.contains(['|', '&', ';', '<', '>', '(', ')', '$', '`'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_program_can_run_is_for_the_shell() {
        for (line, expected) in [
            ("killall -0 nginx", false),
            ("curl -f http://127.0.0.1/?a=b", false),
            ("[[ -f /etc/down ]] && exit 1 || exit 0", true),
            ("if test -e /etc/down; then exit 1; fi", true),
            ("pidof nginx || exit 1", true),
            ("! test -e /etc/down", true),
        ] {
            let program = line.split(' ').next().unwrap_or_default();
            assert_eq!(is_for_shell(program, line), expected, "{line}");
        }
    }

    #[test]
    fn what_not_every_shell_knows_is_for_bash_wherever_it_is_in_the_line() {
        let bash = |line: &str| Toml::Array(["bash", "-c", line].map(|word| Toml::String(word.to_owned())).into());
        for line in [
            "[[ -f /etc/down ]] && exit 1 || exit 0",
            "if [[ -f /etc/down ]]; then exit 1; fi",
            "! [[ -f /etc/down ]]",
            "test -e /etc/up||[[ -f /etc/down ]]",
        ] {
            assert_eq!(in_shell(line.to_owned(), true), ("bash", bash(line)), "{line}");
            let (shell, command) = in_shell(line.to_owned(), false);
            assert_eq!((shell.contains("may not know"), command), (true, Toml::String(line.to_owned())), "{line}");
        }
        for line in
            ["[ -f /etc/down ] && exit 1 || exit 0", "pidof nginx || exit 1", "grep -q '[[:space:]]' /etc/x; true"]
        {
            assert_eq!(in_shell(line.to_owned(), true), ("/bin/sh", Toml::String(line.to_owned())), "{line}");
        }
    }

    #[test]
    fn a_group_follows_the_user_after_a_colon() {
        for (words, expected) in [
            (&["nobody"][..], "nobody"),
            (&["nobody", "nogroup"], "nobody:nogroup"),
            (&["nobody", ":nogroup"], "nobody:nogroup"),
            (&["nobody", ":"], "nobody"),
        ] {
            let words: Vec<String> = words.iter().copied().map(Into::into).collect();
            assert_eq!(user(&words).as_deref(), Some(expected));
        }
        assert_eq!(user(&[]), None);
    }

    #[test]
    fn programs_are_looked_up_in_path() {
        assert!(is_in_path("sh"));
        assert!(!is_in_path("there-is-no-such-program"));
    }
}
