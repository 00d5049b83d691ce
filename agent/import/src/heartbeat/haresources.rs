//! Reads haresources, which has a preferred node and its resources on each line.

use std::path::Path;

use super::super::error::ImportError;
use super::super::input::read_text;
use super::super::location::{Located, Location};
use super::ha_cf::Cluster;

/// A line, with the lines that continue it.
#[derive(Debug)]
pub(super) struct ResourceGroup {
    pub node: Located<String>,
    pub resources: Vec<Located<String>>,
}

pub(super) fn read(path: &Path, cluster: &Cluster) -> Result<Vec<ResourceGroup>, ImportError> {
    let text = match (read_text(path), &cluster.manager) {
        (Err(_), Some(manager)) => {
            return Err(ImportError::at(
                manager,
                "with a resource manager, the resources are not in haresources; write their addresses by hand",
            ));
        }
        (text, _) => text?,
    };
    let first = Location::new(path, 1);
    let mut groups: Vec<ResourceGroup> = Vec::new();
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        let location = first.at(index + 1);
        let line = line.split('#').next().unwrap_or_default().trim_end();
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        let mut words = line.split_whitespace().map(|word| Located::new(word.to_owned(), &location));
        if !continued {
            let Some(node) = words.next() else { continue };
            if !cluster.has_node(&node.value) {
                let message = format_args!("{:?} is not a node of ha.cf; begin the line with a node", node.value);
                return Err(ImportError::at(&location, message));
            }
            groups.push(ResourceGroup { node, resources: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            group.resources.extend(words);
        }
        continued = continues;
    }
    Ok(groups)
}
