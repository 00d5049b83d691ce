//! Reads what programs to run.

use toml::de::DeValue;

use super::error::Reported;
use super::keys::{self, Key};
use super::model::{CommandLine, Program, ScriptUser};
use super::quote::quote;
use super::section::{Found, Section};
use super::values::MAX_PATH;

/// Maximum number of words of a command: the program and its arguments.
const MAX_WORDS: usize = 64;
/// Longest command for the shell, in bytes. The kernel's limit for an argument is twice as high (`MAX_ARG_STRLEN`).
const MAX_COMMAND: usize = 64 << 10;

/// Reads a command: a list of words, or a string for the shell.
pub(super) fn read_command(section: &mut Section, key: &Key) -> Result<Option<CommandLine>, Reported> {
    let Some(Found { value, line }) = section.get(key) else { return Ok(None) };
    match value {
        DeValue::Array(_) => read_words(section, key).map(Some),
        DeValue::String(command) => {
            let wrong = match command {
                _ if command.trim().is_empty() => "the command is empty".to_owned(),
                _ if command.contains('\0') => "the command has a NUL character".to_owned(),
                _ if command.len() > MAX_COMMAND => format!("the command is {} bytes long", command.len()),
                _ => return Ok(Some(CommandLine::Shell(command.to_string()))),
            };
            Err(section.reject(key, line, wrong))
        }
        _ => Err(section.reject_type(key, Found { value, line })),
    }
}

fn read_words(section: &mut Section, key: &Key) -> Result<CommandLine, Reported> {
    let (elements, line) = section.list(key)?.unwrap_or_default();
    if elements.len() > MAX_WORDS {
        return Err(section.reject(key, line, format_args!("{} words are too many", elements.len())));
    }
    let mut words = Vec::with_capacity(elements.len());
    for element in elements {
        match element.value.as_str() {
            Some(word) if !word.contains('\0') => words.push(word.to_owned()),
            _ => return Err(section.reject_type(key, element)),
        }
    }
    let wrong = match words.first().map(String::as_str) {
        None => "the list is empty".to_owned(),
        Some("") => "the name of the program is empty".to_owned(),
        Some(program) if program.contains('/') && !program.starts_with('/') => {
            format!("{} is neither an absolute path nor a name in PATH", quote(program))
        }
        Some(program) if program.len() > MAX_PATH => format!("{} is {} bytes long", quote(program), program.len()),
        Some(_) => return Ok(CommandLine::Words(words)),
    };
    Err(section.reject(key, line, wrong))
}

/// Reads the program of a notify key: a command, or a table of a command and a user.
pub(super) fn read_program(section: &mut Section, key: &Key) -> Result<Option<Program>, Reported> {
    let Some(Found { value: DeValue::Table(table), line }) = section.get(key) else {
        return Ok(read_command(section, key)?.map(|command| Program { command, user: None }));
    };
    let place = format!("{}: {}", section.place, key.name);
    let mut below = section.below(place, table, line);
    let command = read_command(&mut below, &keys::RUN).and_then(|command| below.required(&keys::RUN, command));
    let user = read_user(&mut below, &keys::USER);
    below.report_unknown_keys(keys::PROGRAM_KEYS);
    Ok(Some(Program { command: command?, user: user? }))
}

/// Reads a user.
pub(super) fn read_user(section: &mut Section, key: &Key) -> Result<Option<ScriptUser>, Reported> {
    let Some(text) = section.string(key)? else { return Ok(None) };
    match ScriptUser::parse(text) {
        Some(user) => Ok(Some(user)),
        None => Err(section.reject(key, section.line_of(key), format_args!("{} does not name a user", quote(text)))),
    }
}
