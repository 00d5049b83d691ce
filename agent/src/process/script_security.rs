//! Finds out whether a user other than root could replace a program, by keepalived's rules for script security.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Gid, Group, Uid, User};
use xvrrp_config::files::Asking;

/// Maximum number of symbolic links that a path may contain, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns the first part of the path that a user other than root could replace, and why; `None` if there is none.
///
/// Every directory on the way, every symbolic link and the program itself must belong to root, and only root and its
/// group may write to them. Everybody may write to a directory with the sticky bit, because what it contains can be
/// replaced only by its owner.
pub fn replaceable(program: &Path) -> Option<String> {
    let _asking = Asking::begin();
    let mut rest: VecDeque<OsString> = names(program);
    // Everything so far, without links.
    let mut here = PathBuf::from("/");
    let mut links = 0;
    let root = fs::symlink_metadata(&here).ok().and_then(|root| weakness(&root));
    if let Some(weakness) = root {
        return Some(format!("/ {weakness}"));
    }
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let part = here.join(name);
        let examined = fs::symlink_metadata(&part).map_err(|error| format!("cannot be examined: {error}"));
        let weakness = match &examined {
            Ok(metadata) => weakness(metadata),
            Err(error) => Some(error.clone()),
        };
        if let Some(weakness) = weakness {
            return Some(format!("{} {weakness}", part.display()));
        }
        match fs::read_link(&part) {
            Ok(_) if links == MAX_LINKS => return Some(format!("{} leads through too many links", program.display())),
            Ok(target) => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
            }
            // It is no link.
            Err(_) => here = part,
        }
    }
    None
}

/// Returns the names in a path, including `..`.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// Returns why a user other than root could replace a file, a link or a directory, or what is in the directory.
fn weakness(metadata: &Metadata) -> Option<String> {
    if metadata.uid() != 0 {
        let user = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten();
        return Some(format!(
            "belongs to {}",
            user.map_or_else(|| format!("user {}", metadata.uid()), |user| user.name)
        ));
    }
    let mode = Mode::from_bits_truncate(metadata.mode());
    let kind = SFlag::from_bits_truncate(metadata.mode()) & SFlag::S_IFMT;
    if kind == SFlag::S_IFLNK || kind == SFlag::S_IFDIR && mode.contains(Mode::S_ISVTX) {
        return None;
    }
    if mode.contains(Mode::S_IWOTH) {
        return Some("can be changed by every user".to_owned());
    }
    if mode.contains(Mode::S_IWGRP) && metadata.gid() != 0 {
        let group = Group::from_gid(Gid::from_raw(metadata.gid())).ok().flatten();
        let group = group.map_or_else(|| metadata.gid().to_string(), |group| group.name);
        return Some(format!("can be changed by the group {group}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// A directory of root below the sticky `/tmp`, with a program and a link to it in a directory of its own. Returns
    /// `None` if the test does not run as root.
    fn directory() -> Option<tempfile::TempDir> {
        if !Uid::effective().is_root() {
            return None;
        }
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let path = directory.path();
        fs::create_dir(path.join("bin")).unwrap();
        fs::create_dir(path.join("links")).unwrap();
        fs::write(path.join("bin/program"), "#!/bin/sh\n").unwrap();
        for part in ["", "bin", "links", "bin/program"] {
            fs::set_permissions(path.join(part), Permissions::from_mode(0o755)).unwrap();
        }
        symlink("../bin/program", path.join("links/program")).unwrap();
        Some(directory)
    }

    #[test]
    fn a_program_that_only_root_can_change_is_safe_below_a_sticky_directory_too() {
        let Some(directory) = directory() else { return };
        assert_eq!(replaceable(&directory.path().join("links/program")), None);
        assert_eq!(replaceable(Path::new("/bin/sh")), None);
    }

    #[test]
    fn each_part_of_the_path_and_of_the_links_in_it_is_examined() {
        let Some(directory) = directory() else { return };
        let path = directory.path();
        let program = path.join("links/program");
        let weak = |part: &str, weaken: &dyn Fn(&Path), mend: &dyn Fn(&Path), why: &str| {
            let part = path.join(part);
            weaken(&part);
            assert_eq!(replaceable(&program), Some(format!("{} {why}", part.display())));
            mend(&part);
            assert_eq!(replaceable(&program), None);
        };
        let mode = |mode: u32| move |part: &Path| fs::set_permissions(part, Permissions::from_mode(mode)).unwrap();
        let owner =
            |uid: u32, gid: u32| move |part: &Path| std::os::unix::fs::lchown(part, Some(uid), Some(gid)).unwrap();
        for part in ["bin", "links", "bin/program"] {
            weak(part, &mode(0o757), &mode(0o755), "can be changed by every user");
            weak(part, &owner(54321, 0), &owner(0, 0), "belongs to user 54321");
        }
        weak("links/program", &owner(54321, 0), &owner(0, 0), "belongs to user 54321");
        chown(path.join("bin"), Some(0), Some(54321)).unwrap();
        weak("bin", &mode(0o775), &mode(0o755), "can be changed by the group 54321");
    }

    #[test]
    fn links_that_lead_in_a_circle_are_not_followed_for_ever() {
        let Some(directory) = directory() else { return };
        let link = directory.path().join("links/circle");
        symlink("circle", &link).unwrap();
        let why = replaceable(&link).unwrap();
        assert!(why.ends_with("leads through too many links"), "{why}");
    }
}
