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

    /// Returns the name of a program that is to be looked up in `PATH`.
    pub(crate) fn bare_name(&mut self) -> Option<&mut String> {
        match self {
            Self::Words(words) => words.first_mut().filter(|program| !program.contains('/')),
            Self::Shell(_) => None,
        }
    }
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
