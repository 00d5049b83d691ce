//! Mails of changes of state, as keepalived's `smtp_alert` sends them.
//!
//! A thread of its own writes letters ([`letter`]), of changes that it gathers where there are too many ([`gather`]), puts
//! them into files ([`spool`]) and takes them to the mail server ([`post`]). Nobody waits for it, except for a while when the
//! agent ends. What is in the spool then is the next agent's.

mod gather;
mod letter;
mod post;
mod spool;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use std::{io, thread};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use xvrrp_config::files::FileError;
use xvrrp_config::{Config, MailConfig, Occasion, VirtualRouterConfig};
use xvrrp_vrrp::RouterState;

use self::gather::{Digest, Event, Gatherer, Limits};
use self::letter::Subject;
use self::post::{Post, Word};
use self::spool::{Letter, Memory, Spool};
use crate::notify::audience::Change;

/// How long the agent's end waits for the last mails.
const LAST: Duration = Duration::from_secs(5);
/// How long a reload waits until what is gathered is in the spool.
const FLUSH: Duration = Duration::from_secs(1);
/// How many changes wait at most until they are looked at.
const WAITING: usize = 4096;

#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("the server did not answer in time")]
    Timeout,
    #[error(transparent)]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// The server takes other letters, perhaps, or this one for others.
    #[error(transparent)]
    Refused(lettre::transport::smtp::Error),
    #[error(transparent)]
    Address(#[from] lettre::address::AddressError),
    #[error(transparent)]
    Message(#[from] lettre::error::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot keep mail: {0}")]
    Spool(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub struct Mailer(Option<Thread>);

#[derive(Debug)]
struct Thread {
    orders: mpsc::Sender<Order>,
    /// Told when all is sent, or has failed once more.
    done: oneshot::Receiver<()>,
}

#[derive(Debug)]
enum Order {
    /// The virtual router with this number has changed its state, if that is news.
    Tell(usize, Event, bool),
    /// What is gathered is to be put into the spool.
    Flush(oneshot::Sender<()>),
}

impl Mailer {
    /// `names` has the name of each virtual router that is told of, by its number. Does nothing without `[mail]`.
    pub fn start(config: &Config, names: impl IntoIterator<Item = Option<String>>) -> io::Result<Self> {
        let Some(mail) = config.mail.clone() else { return Ok(Self(None)) };
        let spool = Spool::beside(&config.agent.control);
        let mut memories = spool.recall();
        let mut desks = BTreeMap::new();
        for (number, name) in names.into_iter().enumerate() {
            let router = name.and_then(|name| config.virtual_routers.iter().find(|router| router.name == name));
            if let Some(router) = router {
                let memory = memories.remove(&router.name).unwrap_or_default();
                desks.insert(number, Desk::new(config, &mail, router, memory));
            }
        }
        let post = Post { config: mail.clone(), helo: config.agent.router_id.clone(), spool: spool.clone() };
        let (orders, receiver) = mpsc::channel(WAITING);
        let (finished, done) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("mail".into()).spawn(move || {
            runtime.block_on(async {
                let (words, heard) = mpsc::unbounded_channel();
                let post = tokio::spawn(post.serve(heard));
                Office { config: mail, desks, spool, words, unsaved: false }.serve(receiver).await;
                let _ = post.await;
                let _ = finished.send(());
            });
            // A look-up in the DNS may hang for longer than anybody waits.
            runtime.shutdown_background();
        })?;
        Ok(Self(Some(Thread { orders, done })))
    }

    /// The virtual router with this number has changed its state; or, where that is no `news`, it goes on in a state of which
    /// was told unless another one was told last. Never waits.
    pub fn tell(&self, router: usize, change: &Change, news: bool) {
        let Some(Thread { orders, .. }) = &self.0 else { return };
        let event = Event { at: SystemTime::now(), from: None, change: change.clone() };
        if orders.try_send(Order::Tell(router, event, news)).is_err() {
            tracing::warn!("mail: too many changes at once: one is not told");
        }
    }

    /// Has everything that is gathered put where the next agent finds it.
    pub async fn flush(&self) {
        let Some(Thread { orders, .. }) = &self.0 else { return };
        let (flushed, wait) = oneshot::channel();
        if orders.try_send(Order::Flush(flushed)).is_err() || timeout(FLUSH, wait).await.is_err() {
            tracing::warn!("mail: what was gathered is not kept");
        }
    }

    /// Waits for a while until everything has been sent. What has not is kept.
    pub async fn finish(self) {
        let Some(Thread { orders, done }) = self.0 else { return };
        drop(orders);
        if timeout(LAST, done).await.is_err() {
            tracing::warn!("mail: not sent within {LAST:?}: kept for the next start");
        }
    }
}

/// What is written about one virtual router.
#[derive(Debug)]
struct Desk {
    name: String,
    subject: Subject,
    on: Vec<Occasion>,
    gatherer: Gatherer,
    /// Its state.
    state: Option<RouterState>,
    /// That of which was told last, or need not be.
    told: Option<RouterState>,
    /// Whether an agent before has told of that, and this one knows of nothing yet.
    inherited: bool,
}

impl Desk {
    fn new(config: &Config, mail: &MailConfig, router: &VirtualRouterConfig, memory: Memory) -> Self {
        let limits = Limits { letters: mail.limit.into(), gather: mail.gather.into() };
        let Memory { state, written } = memory;
        Self {
            name: router.name.clone(),
            subject: Subject::new(config, router),
            on: router.mail.clone(),
            gatherer: Gatherer::new(limits, &written),
            inherited: state.is_some(),
            told: state,
            state,
        }
    }

    fn add(&mut self, mut event: Event, news: bool, now: Instant) {
        event.from = self.state.replace(event.change.state);
        // An agent that starts anew comes to the state that it was in, or to one that the agent before did not tell.
        let inherited = std::mem::take(&mut self.inherited);
        let known = if inherited { event.from == Some(event.change.state) } else { !news };
        if !known && self.on.contains(&event.change.on) {
            self.gatherer.add(event, now);
        } else if self.gatherer.due().is_none() {
            self.told = self.state;
        }
    }

    fn memory(&self) -> Memory {
        Memory { state: self.told, written: self.gatherer.written() }
    }
}

/// Where letters are written.
#[derive(Debug)]
struct Office {
    config: MailConfig,
    desks: BTreeMap<usize, Desk>,
    spool: Spool,
    words: mpsc::UnboundedSender<Word>,
    /// Whether letters were written of which an agent after this one could not know.
    unsaved: bool,
}

impl Office {
    /// Until nobody can order anything any more.
    async fn serve(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let due = self.desks.values().filter_map(|desk| desk.gatherer.due()).min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Tell(number, event, news)) => if let Some(desk) = self.desks.get_mut(&number) {
                        desk.add(event, news, Instant::now());
                    },
                    Some(Order::Flush(flushed)) => {
                        self.write(|_| true);
                        self.remember();
                        let _ = flushed.send(());
                    }
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let now = Instant::now();
                    self.write(|due| due <= now);
                }
            }
            // Where thousands change at once, not after each of them.
            if self.unsaved && orders.is_empty() {
                self.remember();
            }
        }
        self.write(|_| true);
        self.remember();
        let _ = self.words.send(Word::Last);
    }

    /// Writes the letters whose time is as wanted.
    fn write(&mut self, wanted: impl Fn(Instant) -> bool) {
        for Desk { subject, gatherer, state, told, .. } in self.desks.values_mut() {
            if !gatherer.due().is_some_and(&wanted) {
                continue;
            }
            let Some(digest) = gatherer.take(Instant::now()) else { continue };
            match keep(&self.config, &self.spool, subject, &digest) {
                Ok(()) => {
                    told.clone_from(state);
                    self.unsaved = true;
                    let _ = self.words.send(Word::Letter);
                }
                Err(error) => tracing::error!("mail: one is lost: {error}"),
            }
        }
    }

    fn remember(&mut self) {
        self.unsaved = false;
        let memories = self.desks.values().map(|desk| (desk.name.clone(), desk.memory())).collect();
        if let Err(error) = self.spool.remember(&memories) {
            tracing::warn!("mail: an agent after this one will not know what was told: {error}");
        }
    }
}

fn keep(config: &MailConfig, spool: &Spool, subject: &Subject, digest: &Digest) -> Result<(), MailError> {
    let letter = Letter { to: config.to.clone(), text: subject.letter(config, digest)? };
    Ok(spool.put(&letter)?)
}
