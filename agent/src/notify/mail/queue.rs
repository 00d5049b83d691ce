//! The queue of messages that have not been sent yet. Each is a file, so that it outlives the agent.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xvrrp_config::files;
use xvrrp_vrrp::RouterState;

/// Maximum number of messages in the queue. If there are more, the oldest are dropped.
const MAX_MESSAGES: usize = 1000;
/// Maximum age of a message. Older ones are dropped.
const MAX_AGE: Duration = Duration::from_hours(4);

/// Maximum size of a file in bytes, many times that of a message or of the memories.
const MAX_FILE: u64 = 16 << 20;

/// Extension of a message's file.
const SUFFIX: &str = "eml";
/// Name of the file of [`MailQueue::remember`].
const MEMORY: &str = "memory.json";

/// A message in the queue. The first line of its file lists the recipients; the rest is what is transmitted.
#[derive(Debug, PartialEq)]
pub(super) struct QueuedMessage {
    /// Mail addresses of the recipients that have not got it yet.
    pub to: Vec<String>,
    pub text: Vec<u8>,
}

/// What the next agent needs to know about the mail on one virtual router.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The state that was reported last.
    pub state: Option<RouterState>,
    /// Times at which the latest messages were written.
    pub written: Vec<SystemTime>,
}

/// Memories by the names of virtual routers.
pub(super) type Memories = BTreeMap<String, Memory>;

/// A directory of messages.
#[derive(Clone, Debug)]
pub(super) struct MailQueue {
    directory: PathBuf,
}

impl MailQueue {
    /// Returns the queue beside the control socket, named after it.
    pub fn beside(control: &Path) -> Self {
        Self { directory: control.with_extension("mail") }
    }

    /// Adds a message.
    pub fn put(&self, message: &QueuedMessage) -> io::Result<()> {
        self.write(&message.to_bytes(), &self.free_name(SystemTime::now()))?;
        let messages = self.all()?;
        for path in messages.iter().take(messages.len().saturating_sub(MAX_MESSAGES)) {
            tracing::warn!("mail: more than {MAX_MESSAGES} messages wait: the oldest is dropped");
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Stores the memories for the next agent, so that an agent that restarts again and again does not flood the
    /// recipients with mail.
    pub fn remember(&self, memories: &Memories) -> io::Result<()> {
        self.write(&serde_json::to_vec(memories)?, &self.directory.join(MEMORY))
    }

    /// Returns the stored memories, or none if they cannot be read.
    pub fn recall(&self) -> Memories {
        let text = files::read(&self.directory.join(MEMORY), MAX_FILE).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes a file atomically: it exists as a whole or not at all.
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

    /// Returns an unused file name. Names sort by time.
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

    /// Drops messages that are too old, and returns the files of the others, the oldest first.
    pub fn messages(&self) -> io::Result<Vec<PathBuf>> {
        let mut messages = self.all()?;
        while let Some(path) = messages.first() {
            let nanoseconds = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or_default();
            let written = UNIX_EPOCH + Duration::from_nanos(nanoseconds);
            // If the clock was set back, a message from the future is not old.
            if SystemTime::now().duration_since(written).unwrap_or_default() <= MAX_AGE {
                break;
            }
            tracing::warn!("mail: a message could not be sent for {} hours: dropped", MAX_AGE.as_secs() / 3600);
            fs::remove_file(messages.remove(0))?;
        }
        Ok(messages)
    }

    /// Reads a message; `None` if it is no longer in the queue.
    pub fn read(&self, path: &Path) -> io::Result<Option<QueuedMessage>> {
        match files::read(path, MAX_FILE) {
            Err(error) if error.fault.is_not_found() => Ok(None),
            bytes => Ok(Some(QueuedMessage::from_bytes(&bytes?))),
        }
    }

    /// Keeps the message for its remaining recipients, or removes it if there are none.
    pub fn settle(&self, path: &Path, message: &QueuedMessage) -> io::Result<()> {
        if !message.to.is_empty() {
            return self.write(&message.to_bytes(), path);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Returns the files of all messages, the oldest first.
    fn all(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut messages = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX) {
                messages.push(path);
            }
        }
        messages.sort_unstable();
        Ok(messages)
    }
}

impl QueuedMessage {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.to.join(" ").into_bytes();
        bytes.push(b'\n');
        bytes.extend(&self.text);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
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

    fn queue() -> (tempfile::TempDir, MailQueue) {
        let directory = tempfile::tempdir().unwrap();
        let queue = MailQueue::beside(&directory.path().join("xvrrp.sock"));
        (directory, queue)
    }

    fn message(text: &str) -> QueuedMessage {
        QueuedMessage { to: vec!["ops@example.net".into(), "noc@example.net".into()], text: text.into() }
    }

    fn texts(queue: &MailQueue) -> Vec<String> {
        let paths = queue.messages().unwrap();
        let read = |path: &PathBuf| String::from_utf8(queue.read(path).unwrap().unwrap().text).unwrap();
        paths.iter().map(read).collect()
    }

    #[test]
    fn messages_come_out_unchanged_and_in_order() {
        let (_directory, queue) = queue();
        assert!(queue.messages().unwrap().is_empty());
        for text in ["one\r\n\r\nend\r\n", "two", "three"] {
            queue.put(&message(text)).unwrap();
        }
        assert_eq!(texts(&queue), ["one\r\n\r\nend\r\n", "two", "three"]);
    }

    #[test]
    fn a_message_stays_in_the_queue_until_every_recipient_has_got_it() {
        let (_directory, queue) = queue();
        queue.put(&message("one")).unwrap();
        let path = queue.messages().unwrap().remove(0);
        let mut left = message("one");
        left.to.remove(0);
        queue.settle(&path, &left).unwrap();
        assert_eq!(queue.read(&path).unwrap().unwrap(), left);
        left.to.clear();
        queue.settle(&path, &left).unwrap();
        assert_eq!(queue.read(&path).unwrap(), None);
        queue.settle(&path, &left).unwrap();
    }

    #[test]
    fn a_full_queue_keeps_the_latest_messages() {
        let (_directory, queue) = queue();
        for number in 0..=MAX_MESSAGES {
            queue.put(&message(&number.to_string())).unwrap();
        }
        let texts = texts(&queue);
        assert_eq!(texts.len(), MAX_MESSAGES);
        assert_eq!((texts[0].clone(), texts[MAX_MESSAGES - 1].clone()), ("1".into(), MAX_MESSAGES.to_string()));
    }

    #[test]
    fn a_message_from_yesterday_is_dropped() {
        let (_directory, queue) = queue();
        queue.put(&message("today")).unwrap();
        let yesterday = SystemTime::now() - Duration::from_hours(24);
        fs::write(queue.free_name(yesterday), "ops@example.net\nyesterday").unwrap();
        assert_eq!(texts(&queue), ["today"]);
        assert_eq!(queue.all().unwrap().len(), 1);
    }

    #[test]
    fn memories_that_cannot_be_read_are_ignored() {
        let (_directory, queue) = queue();
        assert_eq!(queue.recall(), Memories::new());
        let memory = Memory { state: Some(RouterState::Backup), written: vec![SystemTime::now()] };
        let memories = Memories::from([("lan".into(), memory)]);
        queue.remember(&memories).unwrap();
        assert_eq!(queue.recall(), memories);
        fs::write(queue.directory.join(MEMORY), "[]").unwrap();
        assert_eq!(queue.recall(), Memories::new());
    }
}
