//! Finds out whether a user other than root could replace a program, by keepalived's rules for script security.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Gid, Group, Uid, User};
use xvrrp_config::files::Asking;

/// Maximum number of symbolic links that a path may contain, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns the first part of the path that a user other than root could replace, and why; `None` if there is none.
///
/// Every directory on the way, every symbolic link and the program itself must belong to root, and only root and its
/// group may write to them, also by access control lists, at which keepalived does not look. Everybody may write to a
/// directory with the sticky bit, because what it contains can be replaced only by its owner.
pub fn replaceable(program: &Path) -> Option<String> {
    let _asking = Asking::begin();
    let mut rest: VecDeque<OsString> = names(program);
    // Everything so far, without links.
    let mut here = PathBuf::from("/");
    let mut links = 0;
    let root = fs::symlink_metadata(&here).ok().and_then(|root| weakness(&here, &root));
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
            Ok(metadata) => weakness(&part, metadata),
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

/// Returns whether a program has root's user or group whoever runs it.
pub fn becomes_root(program: &Path) -> bool {
    let _asking = Asking::begin();
    let Ok(metadata) = fs::metadata(program) else { return false };
    let mode = Mode::from_bits_truncate(metadata.mode());
    metadata.uid() == 0 && mode.contains(Mode::S_ISUID | Mode::S_IXUSR)
        || metadata.gid() == 0 && mode.contains(Mode::S_ISGID | Mode::S_IXGRP)
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
fn weakness(path: &Path, metadata: &Metadata) -> Option<String> {
    if metadata.uid() != 0 {
        return Some(format!("belongs to {}", user(metadata.uid())));
    }
    let mode = Mode::from_bits_truncate(metadata.mode());
    let kind = SFlag::from_bits_truncate(metadata.mode()) & SFlag::S_IFMT;
    if kind == SFlag::S_IFLNK || kind == SFlag::S_IFDIR && mode.contains(Mode::S_ISVTX) {
        return None;
    }
    if mode.contains(Mode::S_IWOTH) {
        return Some("can be changed by every user".to_owned());
    }
    if !mode.contains(Mode::S_IWGRP) {
        return None;
    }
    if metadata.gid() != 0 {
        return Some(format!("can be changed by {}", group(metadata.gid())));
    }
    // With an access control list, the permissions of the group are the mask of the list.
    let acl = match access_control_list(path) {
        Ok(acl) => acl?,
        Err(error) => return Some(format!("has an access control list that cannot be read: {error}")),
    };
    let writer = match other_writer(&acl)? {
        Writer::User(uid) => user(uid),
        Writer::Group(gid) => group(gid),
    };
    Some(format!("can be changed by {writer}, by its access control list"))
}

fn user(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("user {uid}"), |user| user.name)
}

fn group(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    format!("the group {}", group.map_or_else(|| gid.to_string(), |group| group.name))
}

/// Name of the attribute that holds the access control list of a file.
const ACL: &CStr = c"system.posix_acl_access";
/// Maximum size of an attribute (`XATTR_SIZE_MAX`).
const MAX_ACL: usize = 65536;

/// Returns the access control list of a file or directory; `None` if it has none.
fn access_control_list(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut acl = vec![0; MAX_ACL];
    // SAFETY: both names end with a zero, and the kernel writes at most `acl.len()` bytes to `acl`.
    let length = unsafe { libc::lgetxattr(path.as_ptr(), ACL.as_ptr(), acl.as_mut_ptr().cast(), acl.len()) };
    match Errno::result(length) {
        Ok(length) => {
            acl.truncate(usize::try_from(length).unwrap_or_default());
            Ok(Some(acl))
        }
        // The second one: the file system has no access control lists.
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whom an access control list lets write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    User(u32),
    Group(u32),
}

/// Returns a user or a group other than root's that may write by an access control list, in the format of the kernel:
/// a version of four bytes, then for each entry a tag and permissions of two bytes each and an id of four.
///
/// The mask is not looked at, because it has the permissions of the file's group, among which is writing.
fn other_writer(acl: &[u8]) -> Option<Writer> {
    /// Named users and named groups.
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    const WRITE: u16 = 0x02;
    let (_, entries) = acl.split_at_checked(4)?;
    entries.chunks_exact(8).find_map(|entry| {
        let &[tag_low, tag_high, low, high, ref id @ ..] = entry else { return None };
        let id = u32::from_le_bytes(id.try_into().ok()?);
        let may_write = u16::from_le_bytes([low, high]) & WRITE != 0 && id != 0;
        match u16::from_le_bytes([tag_low, tag_high]) {
            USER if may_write => Some(Writer::User(id)),
            GROUP if may_write => Some(Writer::Group(id)),
            _ => None,
        }
    })
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

    /// An access control list of these tags, permissions and ids.
    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entry = |&(tag, permissions, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        2_u32.to_le_bytes().into_iter().chain(entries.iter().flat_map(entry)).collect()
    }

    const NO_ID: u32 = u32::MAX;
    const OWNER: (u16, u16, u32) = (0x01, 7, NO_ID);
    /// The file's group, the mask, and all others.
    const REST: [(u16, u16, u32); 3] = [(0x04, 5, NO_ID), (0x10, 7, NO_ID), (0x20, 5, NO_ID)];

    #[test]
    fn an_access_control_list_with_another_user_or_group_that_may_write_is_found() {
        let named = |tag, permissions, id| [&[OWNER, (tag, permissions, id)][..], &REST].concat();
        for (entries, expected) in [
            ([&[OWNER][..], &REST].concat(), None),
            (named(0x02, 7, 54321), Some(Writer::User(54321))),
            (named(0x08, 2, 54321), Some(Writer::Group(54321))),
            (named(0x02, 5, 54321), None),
            (named(0x02, 7, 0), None),
        ] {
            assert_eq!(other_writer(&acl(&entries)), expected, "{entries:?}");
        }
        assert_eq!(other_writer(&[2, 0]), None);
    }

    #[test]
    fn write_permission_of_roots_group_that_is_the_mask_of_an_access_control_list_does_not_hide_the_list() {
        let Some(directory) = directory() else { return };
        let program = directory.path().join("bin/program");
        fs::set_permissions(&program, Permissions::from_mode(0o775)).unwrap();
        assert_eq!(replaceable(&program), None, "only root is in root's group");
        let path = CString::new(program.as_os_str().as_bytes()).unwrap();
        let list = acl(&[&[OWNER, (0x02, 7, 54321)][..], &REST].concat());
        // SAFETY: both names end with a zero, and the kernel reads `list.len()` bytes of `list`.
        let set = unsafe { libc::lsetxattr(path.as_ptr(), ACL.as_ptr(), list.as_ptr().cast(), list.len(), 0) };
        Errno::result(set).unwrap();
        let why = format!("{} can be changed by user 54321, by its access control list", program.display());
        assert_eq!(replaceable(&program), Some(why));
    }

    #[test]
    fn only_a_program_with_roots_user_or_group_id_bit_becomes_root() {
        let Some(directory) = directory() else { return };
        let program = directory.path().join("bin/program");
        for (mode, uid, gid, expected) in [
            (0o755, 0, 0, false),
            (0o4755, 0, 0, true),
            (0o2755, 0, 0, true),
            (0o4755, 54321, 0, false),
            (0o2755, 0, 54321, false),
            (0o4644, 0, 0, false),
        ] {
            chown(&program, Some(uid), Some(gid)).unwrap();
            fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
            assert_eq!(becomes_root(&program), expected, "{mode:o} {uid} {gid}");
        }
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
