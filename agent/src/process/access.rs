//! Finds out whether a user may run programs, by a process of that user.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use tokio::process::Command;
use xvrrp_config::files::Asking;
use xvrrp_config::{CommandLine, Obstacle};

use crate::process::program::UserAccount;

/// Prints a line for each argument: what this user may not do with the file.
const ASK: &str =
    r#"for path; do if ! test -x "$path"; then echo x; elif ! test -r "$path"; then echo r; else echo; fi; done"#;

/// Returns what keeps a user, or this process's user, from running each of these programs. The user has the
/// capabilities of a program that this process runs. Returns `None` if that cannot be found out.
///
/// This waits for the file systems of the programs.
pub fn obstacles(account: Option<UserAccount>, programs: &[&str]) -> Option<Vec<Option<Obstacle>>> {
    let _asking = Asking::begin();
    let mut command = Command::new(CommandLine::SHELL);
    command.args(["-c", ASK, "sh"]).args(programs);
    if let Some(account) = account {
        account.apply(&mut command);
    }
    let output = command.as_std_mut().stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let answers = String::from_utf8(output.stdout).ok()?;
    let obstacle = |(program, answer): (&&str, &str)| match answer {
        "x" => Some(Obstacle::Execute),
        "r" if may_be_script(program) => Some(Obstacle::Read),
        _ => None,
    };
    (answers.lines().count() == programs.len()).then(|| programs.iter().zip(answers.lines()).map(obstacle).collect())
}

/// Returns whether a program is a script, which its user has to read, or cannot be examined.
fn may_be_script(program: &str) -> bool {
    let mut beginning = [0; 2];
    let read = File::open(program).and_then(|mut file| file.read_exact(&mut beginning));
    read.is_err() || beginning == *b"#!"
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use nix::unistd::Uid;
    use xvrrp_config::ScriptUser;

    use super::*;

    #[test]
    fn what_keeps_a_user_from_running_a_program_is_found_with_the_rights_of_that_user() {
        if !Uid::effective().is_root() {
            return;
        }
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let private = directory.path().join("private");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
        let file = |name: &str, text: &[u8], mode| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let programs = [
            file("all can run it", b"#!/bin/sh\n", 0o755),
            file("only root can run it", b"#!/bin/sh\n", 0o744),
            file("a script that only root can read", b"#!/bin/sh\n", 0o711),
            file("a program that only root can read", b"\x7fELF", 0o711),
            file("private/script", b"#!/bin/sh\n", 0o755),
            file("missing", b"", 0o755) + "-",
        ];
        let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
        let (execute, read) = (Some(Obstacle::Execute), Some(Obstacle::Read));
        let nobody = || UserAccount::of(&ScriptUser { name: "nobody".to_owned(), group: None }).unwrap();
        let expected = [None, execute, read, None, execute, execute];
        assert_eq!(obstacles(nobody(), &programs), Some(expected.to_vec()));
        assert_eq!(obstacles(None, &programs[..5]), Some(vec![None; 5]));
        chown(&private, Some(nobody().unwrap().ids().0.as_raw()), None).unwrap();
        assert_eq!(obstacles(nobody(), &programs[4..5]), Some(vec![None]));
    }
}
