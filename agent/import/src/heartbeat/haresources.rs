//! haresources: a preferred node and its resources on each line.

use std::path::Path;

use super::super::place::{Located, SourceLine};
use super::super::{ImportError, read_text};
use super::ha_cf::Cluster;

/// A line, with those that continue it.
#[derive(Debug)]
pub(super) struct Group {
    pub node: Located<String>,
    pub resources: Vec<Located<String>>,
}

pub(super) fn read(path: &Path, cluster: &Cluster) -> Result<Vec<Group>, ImportError> {
    let text = match (read_text(path, None), &cluster.manager) {
        (Err(_), Some(manager)) => {
            return Err(ImportError::at(
                manager,
                "with a resource manager the resources are not in haresources; write their addresses by hand",
            ));
        }
        (text, _) => text?,
    };
    let first = SourceLine::new(path, 1);
    let mut groups: Vec<Group> = Vec::new();
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        let place = first.at(index + 1);
        let line = line.split('#').next().unwrap_or_default().trim_end();
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        let mut words = line.split_whitespace().map(|word| Located::new(word.to_owned(), &place));
        if !continued {
            let Some(node) = words.next() else { continue };
            if !cluster.has_node(&node.value) {
                let message = format_args!("{:?} is no node of ha.cf; a line begins with one", node.value);
                return Err(ImportError::at(&place, message));
            }
            groups.push(Group { node, resources: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            group.resources.extend(words);
        }
        continued = continues;
    }
    Ok(groups)
}
