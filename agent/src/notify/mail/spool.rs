//! Letters that are not sent yet: a file each, so that they outlive the agent.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xvrrp_config::files;
use xvrrp_vrrp::RouterState;

/// More letters than this are not kept: the oldest go.
const MOST: usize = 1000;
/// Older letters are sent no more.
const OLDEST: Duration = Duration::from_secs(4 * 3600);

/// Many times as long as a letter, or what is remembered, can be.
const LONGEST: u64 = 16 << 20;

const SUFFIX: &str = "eml";
/// The file of [`Spool::remember`].
const MEMORY: &str = "memory.json";

/// A letter that waits. In its file the first line says to whom it has to go, and the rest goes over the wire.
#[derive(Debug, PartialEq)]
pub(super) struct Letter {
    /// Mail addresses.
    pub to: Vec<String>,
    pub text: Vec<u8>,
}

/// What the next agent goes on with, of one virtual router.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The last one that was told of.
    pub state: Option<RouterState>,
    /// When letters were written lately.
    pub written: Vec<SystemTime>,
}

/// By the names of virtual routers.
pub(super) type Memories = BTreeMap<String, Memory>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// Beside the control socket, named after it.
    pub fn beside(control: &Path) -> Self {
        Self { directory: control.with_extension("mail") }
    }

    /// Keeps a letter.
    pub fn put(&self, letter: &Letter) -> io::Result<()> {
        self.write(&letter.bytes(), &self.free_name(SystemTime::now()))?;
        let letters = self.all()?;
        for path in letters.iter().take(letters.len().saturating_sub(MOST)) {
            tracing::warn!("mail: more than {MOST} wait: the oldest is thrown away");
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// For an agent that starts soon: one that does so again and again is no flood of mail either.
    pub fn remember(&self, memories: &Memories) -> io::Result<()> {
        self.write(&serde_json::to_vec(memories)?, &self.directory.join(MEMORY))
    }

    /// What was remembered last; nothing, if that cannot be read.
    pub fn recall(&self) -> Memories {
        let text = files::read(&self.directory.join(MEMORY), LONGEST).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The file is there whole or not at all.
    fn write(&self, bytes: &[u8], path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let unfinished = self.directory.join("unfinished");
        let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        fs::rename(&unfinished, path)
    }

    /// Sorts by time, and is no other letter's.
    fn free_name(&self, now: SystemTime) -> PathBuf {
        let mut nanoseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        loop {
            let path = self.directory.join(format!("{nanoseconds:020}.{SUFFIX}"));
            if !path.exists() {
                return path;
            }
            nanoseconds += 1;
        }
    }

    /// From the oldest on, after those are thrown away that are too old.
    pub fn letters(&self) -> io::Result<Vec<PathBuf>> {
        let mut letters = self.all()?;
        while let Some(path) = letters.first() {
            let nanoseconds = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or_default();
            let written = UNIX_EPOCH + Duration::from_nanos(nanoseconds);
            // A clock that was set back makes no letter old.
            if SystemTime::now().duration_since(written).unwrap_or_default() <= OLDEST {
                break;
            }
            tracing::warn!("mail: one could not be sent for {} hours: thrown away", OLDEST.as_secs() / 3600);
            fs::remove_file(letters.remove(0))?;
        }
        Ok(letters)
    }

    /// A letter, if it is there.
    pub fn read(&self, path: &Path) -> io::Result<Option<Letter>> {
        match files::read(path, LONGEST) {
            Err(error) if error.fault.is_not_found() => Ok(None),
            bytes => Ok(Some(Letter::of(&bytes?))),
        }
    }

    /// Keeps the letter for those who have not got it; throws it away if there are none.
    pub fn settle(&self, path: &Path, letter: &Letter) -> io::Result<()> {
        if !letter.to.is_empty() {
            return self.write(&letter.bytes(), path);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// From the oldest on.
    fn all(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut letters = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX) {
                letters.push(path);
            }
        }
        letters.sort_unstable();
        Ok(letters)
    }
}

impl Letter {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.to.join(" ").into_bytes();
        bytes.push(b'\n');
        bytes.extend(&self.text);
        bytes
    }

    fn of(bytes: &[u8]) -> Self {
        let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
        let to = String::from_utf8_lossy(lines.next().unwrap_or_default());
        Self {
            to: to.split_whitespace().map(str::to_owned).collect(),
            text: lines.next().unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::beside(&directory.path().join("xvrrp.sock"));
        (directory, spool)
    }

    fn letter(text: &str) -> Letter {
        Letter { to: vec!["ops@example.net".into(), "noc@example.net".into()], text: text.into() }
    }

    fn texts(spool: &Spool) -> Vec<String> {
        let paths = spool.letters().unwrap();
        let read = |path: &PathBuf| String::from_utf8(spool.read(path).unwrap().unwrap().text).unwrap();
        paths.iter().map(read).collect()
    }

    #[test]
    fn letters_come_out_as_they_went_in_in_their_order() {
        let (_directory, spool) = spool();
        assert!(spool.letters().unwrap().is_empty());
        for text in ["one\r\n\r\nend\r\n", "two", "three"] {
            spool.put(&letter(text)).unwrap();
        }
        assert_eq!(texts(&spool), ["one\r\n\r\nend\r\n", "two", "three"]);
    }

    #[test]
    fn a_letter_stays_for_those_who_have_not_got_it() {
        let (_directory, spool) = spool();
        spool.put(&letter("one")).unwrap();
        let path = spool.letters().unwrap().remove(0);
        let mut left = letter("one");
        left.to.remove(0);
        spool.settle(&path, &left).unwrap();
        assert_eq!(spool.read(&path).unwrap().unwrap(), left);
        left.to.clear();
        spool.settle(&path, &left).unwrap();
        assert_eq!(spool.read(&path).unwrap(), None);
        spool.settle(&path, &left).unwrap();
    }

    #[test]
    fn of_too_many_letters_the_latest_are_kept() {
        let (_directory, spool) = spool();
        for number in 0..=MOST {
            spool.put(&letter(&number.to_string())).unwrap();
        }
        let texts = texts(&spool);
        assert_eq!(texts.len(), MOST);
        assert_eq!((texts[0].clone(), texts[MOST - 1].clone()), ("1".into(), MOST.to_string()));
    }

    #[test]
    fn a_letter_of_yesterday_is_sent_no_more() {
        let (_directory, spool) = spool();
        spool.put(&letter("today")).unwrap();
        let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
        fs::write(spool.free_name(yesterday), "ops@example.net\nyesterday").unwrap();
        assert_eq!(texts(&spool), ["today"]);
        assert_eq!(spool.all().unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_read_of_an_agent_before_is_nothing() {
        let (_directory, spool) = spool();
        assert_eq!(spool.recall(), Memories::new());
        let memory = Memory { state: Some(RouterState::Backup), written: vec![SystemTime::now()] };
        let memories = Memories::from([("lan".into(), memory)]);
        spool.remember(&memories).unwrap();
        assert_eq!(spool.recall(), memories);
        fs::write(spool.directory.join(MEMORY), "[]").unwrap();
        assert_eq!(spool.recall(), Memories::new());
    }
}
