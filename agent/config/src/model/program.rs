//! Programs that the agent runs.

use std::fmt;

/// A program that the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What is run.
    pub command: CommandLine,
    /// User that runs it. Default: [`AgentConfig::script_user`](super::AgentConfig::script_user), otherwise the user
    /// that runs the agent.
    pub user: Option<ScriptUser>,
}

/// A user of the host, with the group in which a program runs. Displays as in a configuration: `NAME` or `NAME:GROUP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptUser {
    /// Name of the user.
    pub name: String,
    /// Name of the group. Default: the user's primary group.
    pub group: Option<String>,
}

impl ScriptUser {
    /// Parses `NAME` or `NAME:GROUP`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = |name: &str| !name.is_empty() && !name.contains([':', '\0']);
        let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        (valid(name) && group.is_none_or(valid))
            .then(|| Self { name: name.to_owned(), group: group.map(str::to_owned) })
    }
}

impl fmt::Display for ScriptUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

/// What is run. Displays as in a shell, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// A program: an absolute path, or a name that is looked up in `PATH`; then its arguments. Never empty.
    Words(Vec<String>),
    /// A command for `/bin/sh -c`.
    Shell(String),
}

impl CommandLine {
    /// Path of the shell.
    pub const SHELL: &'static str = "/bin/sh";

    /// Returns the words of what is executed, with these arguments after its own. A command for the shell gets them
    /// behind its text, as from keepalived.
    pub fn words(&self, appended: &[&str]) -> Vec<String> {
        match self {
            Self::Words(words) => {
                words.iter().map(String::as_str).chain(appended.iter().copied()).map(Into::into).collect()
            }
            Self::Shell(command) => {
                let appended = appended.iter().map(|word| quoted(word));
                let command = std::iter::once(command.clone()).chain(appended);
                vec![Self::SHELL.into(), "-c".into(), command.collect::<Vec<_>>().join(" ")]
            }
        }
    }

    /// Returns the program that it names: the first word of a list; or the first word of a command for the shell, if
    /// that is an absolute path without characters that the shell treats specially.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Words(words) => words.first().map(String::as_str),
            Self::Shell(command) => {
                command.split_whitespace().next().filter(|word| word.starts_with('/') && word.chars().all(is_plain))
            }
        }
    }

    /// Returns the paths of the programs and scripts that this runs, as far as its words show: the shell, the program,
    /// and what an interpreter or a program like timeout(1) is given to run.
    pub(crate) fn executed(&self) -> Vec<&str> {
        let words: Vec<&str> = match self {
            Self::Words(words) => words.iter().map(String::as_str).collect(),
            Self::Shell(command) => first_words(command).split_whitespace().collect(),
        };
        let mut all = if matches!(self, Self::Shell(_)) { vec![Self::SHELL] } else { Vec::new() };
        let mut option = "";
        for (index, mut word) in words.into_iter().enumerate() {
            let follows = std::mem::replace(&mut option, if word.starts_with('-') { word } else { "" });
            if follows.ends_with('c') {
                // The command that `sh -c` is given.
                word = word.split_whitespace().next().unwrap_or_default();
            }
            if word.starts_with('/') {
                all.push(word);
            }
            let is_program = index == 0 || word.starts_with('/') || follows.is_empty() && is_name(word);
            if is_program && !runs_arguments(word) {
                break;
            }
        }
        all
    }

    /// Returns the name of a program that is to be looked up in `PATH`.
    pub(crate) fn bare_name(&mut self) -> Option<&mut String> {
        match self {
            Self::Words(words) => words.first_mut().filter(|program| !program.contains('/')),
            Self::Shell(_) => None,
        }
    }
}

/// Interpreters, and programs that run another one with its arguments. A number at the end, as in `python3.13`, is
/// ignored.
const RUN_ARGUMENTS: &[&str] = &[
    "ash", "bash", "busybox", "chrt", "dash", "env", "ionice", "ksh", "lua", "mksh", "nice", "node", "nohup", "perl",
    "php", "python", "ruby", "setsid", "sh", "stdbuf", "sudo", "taskset", "tclsh", "timeout", "zsh",
];

/// Returns the words at the beginning of a command for the shell, up to the first that the shell treats specially.
fn first_words(command: &str) -> &str {
    let end = command.find(|c: char| !is_plain(c) && !matches!(c, ' ' | '\t')).unwrap_or(command.len());
    let (words, rest) = command.split_at(end);
    if rest.is_empty() || rest.starts_with([';', '&', '|', '<', '>', '\n']) {
        return words;
    }
    words.rfind([' ', '\t']).and_then(|end| words.get(..end)).unwrap_or_default()
}

/// Returns whether this argument may be a name of a program: not an option, a number or an assignment.
fn is_name(argument: &str) -> bool {
    argument.starts_with(|c: char| c.is_alphabetic()) && !argument.contains('=')
}

/// Returns whether a program runs what its arguments name.
fn runs_arguments(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    RUN_ARGUMENTS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

/// Returns whether the shell treats this character as itself.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@' | ',')
}

/// Returns a word in quotes for the shell, if it needs any.
fn quoted(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(&words.join(" ")),
            Self::Shell(command) => f.write_str(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interpreter_or_a_wrapper_is_given_to_run_is_executed_and_other_arguments_are_not() {
        let words = |line: &str| CommandLine::Words(line.split('|').map(str::to_owned).collect());
        for (line, expected) in [
            ("/opt/my check|/home/joe/data", &["/opt/my check"][..]),
            ("/bin/grep|-q|up|/home/joe/status", &["/bin/grep"]),
            ("/bin/sh|/home/joe/check.sh|/home/joe/data", &["/bin/sh", "/home/joe/check.sh"]),
            ("/bin/sh|-x|/home/joe/check.sh", &["/bin/sh", "/home/joe/check.sh"]),
            ("/bin/sh|/home/joe/my check.sh", &["/bin/sh", "/home/joe/my check.sh"]),
            ("/bin/bash|-ec|/home/joe/check.sh a || exit 1", &["/bin/bash", "/home/joe/check.sh"]),
            ("/bin/bash|-c|[[ -f /home/joe/down ]]", &["/bin/bash"]),
            ("/usr/bin/python3.13|/home/joe/check.py", &["/usr/bin/python3.13", "/home/joe/check.py"]),
            ("/usr/bin/env|A=1|perl|/home/joe/check.pl", &["/usr/bin/env", "/home/joe/check.pl"]),
            ("/usr/bin/env|A=1|grep|/home/joe/status", &["/usr/bin/env"]),
            ("/usr/bin/timeout|5|/bin/sh|/home/joe/a", &["/usr/bin/timeout", "/bin/sh", "/home/joe/a"]),
            ("/usr/bin/timeout|-s|KILL|5|/home/joe/a|/b", &["/usr/bin/timeout", "/home/joe/a"]),
        ] {
            assert_eq!(words(line).executed(), expected, "{line}");
        }
        for (line, expected) in [
            ("/home/joe/notify backup && true", &["/bin/sh", "/home/joe/notify"][..]),
            ("/bin/sh /home/joe/check.sh; exit 0", &["/bin/sh", "/bin/sh", "/home/joe/check.sh"]),
            ("/bin/sh /home/joe/check$1 /home/joe/other", &["/bin/sh", "/bin/sh"]),
            ("sh /home/joe/check.sh 2>&1", &["/bin/sh", "/home/joe/check.sh"]),
            ("exec /home/joe/check.sh", &["/bin/sh"]),
            ("</home/joe/status", &["/bin/sh"]),
        ] {
            assert_eq!(CommandLine::Shell(line.to_owned()).executed(), expected, "{line}");
        }
    }
}
