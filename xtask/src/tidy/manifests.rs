//! Which crates may depend on what.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Complaint;

/// A member and the dependencies that it may have; a `?` after the name demands that it is optional.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    (
        "common/Cargo.toml",
        &["zerocopy", "aya?"],
        "common is shared with the kernel: no I/O, and aya only for the agent's `user` feature",
    ),
    (
        "ebpf/Cargo.toml",
        &["xvrrp-common", "aya-ebpf", "aya-log-ebpf"],
        "the kernel half shares code with user space through common only",
    ),
];

pub fn check(path: &str, text: &str) -> Result<Vec<Complaint>> {
    let Some((_, allowed, reason)) = ALLOWED.iter().find(|(member, ..)| *member == path) else {
        return Ok(Vec::new());
    };
    let manifest: Table = text.parse().with_context(|| format!("{path} is no TOML"))?;
    let mut complaints = Vec::new();
    for (name, value) in table(&manifest, "dependencies") {
        let is_optional = value.get("optional").and_then(Value::as_bool) == Some(true);
        if allowed.contains(&name.as_str()) || (is_optional && allowed.contains(&format!("{name}?").as_str())) {
            continue;
        }
        let is_entry = |line: &str| line.split(['=', '.']).next().is_some_and(|key| key.trim() == name);
        complaints.push(Complaint {
            path: path.to_owned(),
            line: text.lines().position(is_entry).map_or(1, |index| index + 1),
            what: format!("`{name}` may not be a dependency: {reason}"),
        });
    }
    Ok(complaints)
}

/// The names that a path in the source can start with to lead out of its crate.
pub fn crates(workspace_manifest: &str) -> Result<Vec<String>> {
    let manifest: Table = workspace_manifest.parse().context("the workspace's Cargo.toml is no TOML")?;
    let workspace = manifest.get("workspace").and_then(Value::as_table).context("there is no [workspace]")?;
    let dependencies = table(workspace, "dependencies").map(|(name, _)| name.replace('-', "_"));
    Ok(dependencies.chain(["alloc", "core", "std"].map(str::to_owned)).collect())
}

fn table<'a>(of: &'a Table, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    of.get(key).and_then(Value::as_table).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_is_not_allowed_is_complained_of() {
        for (path, text, line) in [
            ("common/Cargo.toml", "[dependencies]\nzerocopy = \"0.8\"\ntokio = { workspace = true }\n", 3),
            ("common/Cargo.toml", "[dependencies]\naya = { workspace = true }\n", 2),
            ("ebpf/Cargo.toml", "[dependencies]\nxvrrp.workspace = true\n", 2),
        ] {
            let complaints = check(path, text).expect("the snippet is TOML");
            assert_eq!(complaints.iter().map(|complaint| complaint.line).collect::<Vec<_>>(), [line], "{text}");
        }
    }

    #[test]
    fn an_allowed_dependency_is_left_alone() {
        for (path, text) in [
            ("common/Cargo.toml", "[dependencies]\naya = { version = \"1\", optional = true }\nzerocopy = \"0.8\""),
            ("common/Cargo.toml", "[dev-dependencies]\nproptest = \"1\""),
            ("ebpf/Cargo.toml", "[dependencies]\naya-ebpf = \"0.2\""),
            ("agent/Cargo.toml", "[dependencies]\ntokio = \"1\""),
        ] {
            assert_eq!(check(path, text).expect("the snippet is TOML"), Vec::new(), "{text}");
        }
    }

    #[test]
    fn crates_are_named_as_in_the_source() {
        let manifest = "[workspace.dependencies]\nxvrrp-common = { path = \"common\" }";
        assert_eq!(crates(manifest).expect("the snippet is TOML"), ["xvrrp_common", "alloc", "core", "std"]);
    }
}
