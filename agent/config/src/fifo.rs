//! Reads `notify_fifo` of `[agent]`.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::error::{Reported, all};
use super::keys;
use super::model::{NotifyFifo, Program};
use super::program::{read_command, read_user};
use super::quote::quote;
use super::section::{Found, Section};
use super::values::MAX_PATH;

/// Maximum number of FIFOs of a configuration.
const MAX_FIFOS: usize = 8;

/// Reads all FIFOs: one, or a list of them.
pub(super) fn read_all(section: &mut Section) -> Result<Vec<NotifyFifo>, Reported> {
    let Some(found) = section.get(&keys::NOTIFY_FIFO) else { return Ok(Vec::new()) };
    let elements = match found.value {
        DeValue::Array(_) => section.list(&keys::NOTIFY_FIFO)?.unwrap_or_default().0,
        _ => vec![found],
    };
    if elements.len() > MAX_FIFOS {
        let wrong = format!("{} FIFOs are too many", elements.len());
        return Err(section.reject(&keys::NOTIFY_FIFO, found.line, wrong));
    }
    let fifos = all(elements.into_iter().map(|element| read(section, element)))?;
    for (index, fifo) in fifos.iter().enumerate() {
        if let Some(first) = fifos.iter().take(index).find(|first| first.path == fifo.path) {
            let path = quote(&fifo.path.to_string_lossy());
            let message = format!("{path} is already used on line {}; give another path", first.line);
            return Err(section.report(&keys::NOTIFY_FIFO, fifo.line, message));
        }
    }
    Ok(fifos)
}

fn read<'i>(section: &mut Section<'_, 'i>, Found { value, line }: Found<'_, 'i>) -> Result<NotifyFifo, Reported> {
    let table = match value {
        DeValue::Table(table) => table,
        DeValue::String(path) => {
            let path = checked(path).map_err(|wrong| section.reject(&keys::NOTIFY_FIFO, line, wrong))?;
            return Ok(NotifyFifo { path, owner: None, reader: None, states_on_reload: false, line });
        }
        _ => return Err(section.reject_type(&keys::NOTIFY_FIFO, Found { value, line })),
    };
    let mut below = section.below(format!("{}: {}", section.place, keys::NOTIFY_FIFO.name), table, line);
    let path = below.absolute_path(&keys::PATH, MAX_PATH).and_then(|path| below.required(&keys::PATH, path));
    let owner = read_user(&mut below, &keys::OWNER);
    let command = read_command(&mut below, &keys::RUN);
    let user = read_user(&mut below, &keys::USER);
    let states_on_reload = below.boolean(&keys::STATES_ON_RELOAD, false);
    below.report_unknown_keys(keys::FIFO_KEYS);
    if let (Ok(None), Ok(Some(_))) = (&command, &user) {
        let message = "has no effect without run; remove one of the two, or add run";
        below.report(&keys::USER, below.line_of(&keys::USER), message);
    }
    let user = user?;
    let reader = command?.map(|command| Program { command, user });
    Ok(NotifyFifo { path: path?, owner: owner?, reader, states_on_reload: states_on_reload?, line })
}

/// Returns the path, or what is wrong with it.
fn checked(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        Err(format!("{} is not absolute", quote(text)))
    } else if path.file_name().is_none() || text.contains('\0') || text.len() > MAX_PATH {
        Err(format!("{} does not name a file", quote(text)))
    } else {
        Ok(path.to_owned())
    }
}
