//! The file that `xvrrp run` and `xvrrp check` are given: one of xvrrp's own, or one of another program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xvrrp_config::files::{self, Asking};
use xvrrp_config::{Config, ConfigError, Text};

use super::error::ImportError;
use super::input::is_of_heartbeat;
use super::options::{Format, Options};
use super::recognize::recognize;
use super::{Import, import_for, ucarp};

/// How much of a file is read to recognize it, in bytes. Some files begin with a long comment.
const BEGINNING: u64 = 1 << 20;

/// A configuration file, with what the command line says about it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Path of the file. Its content says which program it is for.
    pub path: PathBuf,
    /// Host that a configuration of another program is for ([`Options::node`]).
    pub node: Option<String>,
    /// Keys of `[agent]` for a configuration of another program.
    pub agent: AgentKeys,
}

/// Keys of `[agent]` that the command line sets, because the files of other programs have no place for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentKeys {
    /// Path of the control socket.
    pub control: Option<String>,
    /// Address of the metrics.
    pub metrics: Option<String>,
    /// Directory of the pins.
    pub bpffs: Option<String>,
}

/// A configuration file cannot be used. Displays with the file, and the line if one line is the cause.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The configuration cannot be read, or is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The configuration of another program cannot be read, or is that of a program with another protocol.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Nothing of another program's configuration can be used.
    #[error("{}{}: has no virtual router that xvrrp can run{remedy}", lines(messages), path.display())]
    Nothing {
        /// Path of the file.
        path: PathBuf,
        /// What is left out and what differs.
        messages: Vec<String>,
        /// What to do, if the messages do not say that.
        remedy: &'static str,
    },
    /// The command line sets keys of a file that can set them itself.
    #[error(
        "{}: --{option} is for configurations of other programs; set {option} in [agent] of this file instead",
        path.display()
    )]
    OwnKeys {
        /// Path of the file.
        path: PathBuf,
        /// Name of the option, which is that of the key.
        option: &'static str,
    },
}

fn lines(messages: &[String]) -> String {
    messages.iter().map(|message| format!("{message}\n")).collect()
}

impl AgentKeys {
    /// Returns the keys that are set, each with its value.
    fn set(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("control", &self.control), ("metrics", &self.metrics), ("bpffs", &self.bpffs)];
        all.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    /// Adds the keys to the result of an import.
    fn add_to(&self, text: Text) -> Text {
        let Text { mut toml, original } = text;
        let mut original = original.map(Arc::unwrap_or_clone);
        let header = toml.lines().position(|line| line.starts_with("[agent]"));
        // Lines, each with its key.
        let mut lines: Vec<(String, Option<&str>)> = self
            .set()
            .map(|(key, value)| (format!("{key} = {}", toml::Value::String(value.to_owned())), Some(key)))
            .collect();
        // The first two lines are the header of an import.
        let at = header.map_or(2, |header| header + 1);
        if header.is_none() && !lines.is_empty() {
            lines.insert(0, ("[agent]".into(), None));
            lines.push((String::new(), None));
        }
        let offset = toml.split_inclusive('\n').take(at).map(str::len).sum();
        if let Some(original) = &mut original {
            let options: Vec<_> = lines.iter().map(|(_, key)| key.map(|key| (key, format!("--{key}")))).collect();
            original.insert(at + 1, options.iter().map(|it| it.as_ref().map(|(key, option)| (*key, option.as_str()))));
            original.name_table("agent", "");
        }
        toml.insert_str(offset, &lines.iter().map(|(line, _)| format!("{line}\n")).collect::<String>());
        Text { toml, original: original.map(Arc::new) }
    }
}

impl Source {
    /// Reads the file, and the files that it includes or that belong to it. Nothing else is read afterwards: the result
    /// holds all that the agent needs of them.
    ///
    /// # Errors
    /// A file cannot be read, or is not in the format. A file of xvrrp's own is not checked.
    pub fn read(&self) -> Result<Text, SourceError> {
        let _asking = Asking::begin();
        let path = || self.path.clone();
        let Some(format) = format_of(&self.path)? else {
            if let Some((option, _)) = self.agent.set().next() {
                return Err(SourceError::OwnKeys { path: path(), option });
            }
            return Ok(xvrrp_config::read_text(&self.path)?);
        };
        let options = Options { format: Some(format), node: self.node.clone() };
        let Import { configuration, notices } = import_for(&self.path, &options, true)?;
        let Some(text) = configuration else {
            let messages = notices.iter().filter(|notice| notice.kind != super::Kind::Note);
            let messages: Vec<_> = messages.map(ToString::to_string).collect();
            let remedy = if messages.is_empty() { "; add one, or give the path of another file" } else { "" };
            return Err(SourceError::Nothing { path: path(), messages, remedy });
        };
        Ok(self.agent.add_to(text))
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// The file cannot be read, or the configuration is wrong.
    pub fn load(&self) -> Result<Config, SourceError> {
        self.parse(&self.read()?)
    }

    /// Checks a text that was read from the file, now or by a previous agent.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn parse(&self, text: &Text) -> Result<Config, SourceError> {
        Ok(xvrrp_config::parse_text(&self.path, text)?)
    }
}

/// Recognizes another program's configuration by its content. Returns `None` for one of xvrrp's own, and for a file
/// that cannot be read, so that there is one message about such files.
fn format_of(path: &Path) -> Result<Option<Format>, ImportError> {
    if is_of_heartbeat(path) {
        return Ok(Some(Format::Heartbeat));
    }
    let Ok(bytes) = files::read_beginning(path, BEGINNING) else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim()).collect();
    let first = lines.iter().find(|line| !line.is_empty() && !line.starts_with('#'));
    if first.is_none_or(|line| begins_toml(line)) && !lines.iter().any(|line| ucarp::is_variable(line)) {
        return Ok(None);
    }
    match recognize(path) {
        Ok(format) => Ok(Some(format)),
        // A table of ours below a line that is wrong: the reader of TOML names that line.
        Err(_) if lines.iter().any(|line| begins_table(line)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether this can be the first line of a configuration in TOML.
fn begins_toml(line: &str) -> bool {
    let is_key = |key: &str| {
        let mut chars = key.chars().filter(|c| !matches!(c, '"' | '\''));
        !key.is_empty() && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| is_key(key.trim()))
}

/// Returns whether a table of ours begins at this line.
fn begins_table(line: &str) -> bool {
    ["[agent]", "[mail]", "[[virtual_router]]", "[[check]]", "[[sync_group]]"].iter().any(|it| line.starts_with(it))
}
