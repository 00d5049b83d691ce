//! Sends mail about changes of state, as keepalived's `smtp_alert` does.
//!
//! A thread of its own does this. It collects changes into batches if there are too many ([`batch`]), formats messages
//! ([`message`]), stores them in files ([`queue`]) and sends them to the mail server ([`delivery`]). Nothing waits for
//! this thread, except the end of the agent, for a limited time. The next agent sends what is in the queue by then.

mod batch;
mod delivery;
mod error;
mod message;
mod queue;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use std::{io, thread};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use xvrrp_config::{Config, MailConfig, Occasion};
use xvrrp_vrrp::RouterState;

use self::batch::{Batcher, Digest, Limits, TimedChange};
use self::delivery::{Delivery, DeliveryRequest};
use self::error::MailError;
use self::message::MessageTemplate;
use self::queue::{MailQueue, Memory, QueuedMessage};
use crate::identity::AudienceId;
use crate::notify::audience::{Audience, StateChange};

/// How long the end of the agent waits for the last messages to be sent.
const LAST: Duration = Duration::from_secs(5);
/// How long a reload waits until the collected changes are in the queue.
const FLUSH: Duration = Duration::from_secs(1);
/// How many requests to the mail thread may wait.
const WAITING: usize = 4096;

/// Sends mail about changes of state. Does nothing if the configuration has no `[mail]`.
#[derive(Debug)]
pub struct Mailer(Option<ThreadHandle>);

#[derive(Debug)]
struct ThreadHandle {
    requests: mpsc::Sender<MailRequest>,
    /// Resolves when all messages have been sent, or the last attempt has failed.
    done: oneshot::Receiver<()>,
}

#[derive(Debug)]
enum MailRequest {
    /// The virtual router or group has changed its state, if the flag is set. Otherwise it continues in that state.
    Report(AudienceId, TimedChange, bool),
    /// Store the collected changes in the queue.
    Flush(oneshot::Sender<()>),
}

impl Mailer {
    /// Starts the mail thread, which sends mail about the virtual routers and groups among the audiences.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub fn start(config: &Config, audiences: &BTreeMap<AudienceId, Audience>) -> io::Result<Self> {
        let Some(mail) = config.mail.clone() else { return Ok(Self(None)) };
        let queue = MailQueue::beside(&config.agent.control);
        let mut memories = queue.recall();
        let mut subjects = BTreeMap::new();
        for (id, Audience { name, .. }) in audiences {
            let routers = &config.virtual_routers;
            let (key, template, on) = match *id {
                AudienceId::Router(_) => {
                    let Some(router) = routers.iter().find(|router| router.name == *name) else { continue };
                    (name.clone(), MessageTemplate::of_router(config, router), router.mail.clone())
                }
                AudienceId::Group(index) => {
                    let Some(group) = index.of(&config.sync_groups) else { continue };
                    // A virtual router may have the same name.
                    let key = Audience::key_of(Audience::GROUP, name);
                    (key, MessageTemplate::of_group(config, group), group.mail.clone())
                }
                AudienceId::Removed(_) => continue,
            };
            let before = memories.remove(&key).unwrap_or_default();
            subjects.insert(*id, SubjectMail::new(&mail, key, template, on, before));
        }
        let delivery = Delivery { config: mail.clone(), helo: config.agent.router_id.clone(), queue: queue.clone() };
        let (requests, receiver) = mpsc::channel(WAITING);
        let (finished, done) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("mail".into()).spawn(move || {
            runtime.block_on(async {
                let (sender, delivery_requests) = mpsc::unbounded_channel();
                let delivery = tokio::spawn(delivery.run(delivery_requests));
                MailThread { config: mail, subjects, queue, delivery: sender, unsaved: false }.run(receiver).await;
                let _ = delivery.await;
                let _ = finished.send(());
            });
            // A DNS lookup may hang for longer than the end of the agent waits.
            runtime.shutdown_background();
        })?;
        Ok(Self(Some(ThreadHandle { requests, done })))
    }

    /// Reports that a virtual router or a group has changed its state. If `is_new` is false, it continues in a state
    /// that a previous agent knew, and mail is sent only if that agent reported another state last. Never waits.
    pub fn report(&self, subject: AudienceId, change: &StateChange, is_new: bool) {
        let Some(ThreadHandle { requests, .. }) = &self.0 else { return };
        let change = TimedChange { at: SystemTime::now(), from: None, change: change.clone() };
        if requests.try_send(MailRequest::Report(subject, change, is_new)).is_err() {
            tracing::warn!("mail: too many changes at once: one is not reported");
        }
    }

    /// Stores all collected changes in the queue, where the next agent finds them.
    pub async fn flush(&self) {
        let Some(ThreadHandle { requests, .. }) = &self.0 else { return };
        let (flushed, wait) = oneshot::channel();
        if requests.try_send(MailRequest::Flush(flushed)).is_err() || timeout(FLUSH, wait).await.is_err() {
            tracing::warn!("mail: the changes collected so far could not be stored within {FLUSH:?}");
        }
    }

    /// Waits, for a limited time, until all messages have been sent. The queue keeps the others.
    pub async fn finish(self) {
        let Some(ThreadHandle { requests, done }) = self.0 else { return };
        drop(requests);
        if timeout(LAST, done).await.is_err() {
            tracing::warn!("mail: not sent within {LAST:?}: kept for the next start");
        }
    }
}

/// The mail about one virtual router or group.
#[derive(Debug)]
struct SubjectMail {
    /// Name in the file of memories.
    key: String,
    template: MessageTemplate,
    on: Vec<Occasion>,
    batcher: Batcher,
    /// The current state.
    state: Option<RouterState>,
    /// The state that was reported last, or that needs no report.
    reported: Option<RouterState>,
    /// Whether `reported` comes from a previous agent, and this one has not added a change yet.
    inherited: bool,
}

impl SubjectMail {
    fn new(mail: &MailConfig, key: String, template: MessageTemplate, on: Vec<Occasion>, before: Memory) -> Self {
        let limits = Limits { messages: mail.limit.into(), gather: mail.gather.into() };
        let Memory { state, written } = before;
        Self {
            key,
            template,
            on,
            batcher: Batcher::new(limits, &written),
            inherited: state.is_some(),
            reported: state,
            state,
        }
    }

    fn add(&mut self, mut change: TimedChange, is_new: bool, now: Instant) {
        change.from = self.state.replace(change.change.state);
        // The first state after a start is either the one that the previous agent reported last, or one that it did not
        // report.
        let inherited = std::mem::take(&mut self.inherited);
        let known = if inherited { change.from == Some(change.change.state) } else { !is_new };
        if !known && self.on.contains(&change.change.on) {
            self.batcher.add(change, now);
        } else if self.batcher.due().is_none() {
            self.reported = self.state;
        }
    }

    fn memory(&self) -> Memory {
        Memory { state: self.reported, written: self.batcher.written() }
    }
}

/// What runs on the mail thread, beside the delivery.
#[derive(Debug)]
struct MailThread {
    config: MailConfig,
    /// Virtual routers and sync groups by what identifies them.
    subjects: BTreeMap<AudienceId, SubjectMail>,
    queue: MailQueue,
    delivery: mpsc::UnboundedSender<DeliveryRequest>,
    /// Whether messages were written that the stored memories do not include yet.
    unsaved: bool,
}

impl MailThread {
    /// Runs until the [`Mailer`] is gone.
    async fn run(mut self, mut requests: mpsc::Receiver<MailRequest>) {
        loop {
            let due = self.subjects.values().filter_map(|subject| subject.batcher.due()).min();
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.serve(request),
                    None => break,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let now = Instant::now();
                    self.write(|due| due <= now);
                }
            }
            // When thousands of virtual routers change at once, the memories are stored once, not after each of them.
            if self.unsaved && requests.is_empty() {
                self.remember();
            }
        }
        self.write(|_| true);
        self.remember();
        let _ = self.delivery.send(DeliveryRequest::Last);
    }

    fn serve(&mut self, request: MailRequest) {
        match request {
            MailRequest::Report(subject, change, is_new) => {
                if let Some(subject) = self.subjects.get_mut(&subject) {
                    subject.add(change, is_new, Instant::now());
                }
            }
            MailRequest::Flush(flushed) => {
                self.write(|_| true);
                self.remember();
                let _ = flushed.send(());
            }
        }
    }

    /// Puts into the queue the messages whose due time satisfies `wanted`.
    fn write(&mut self, wanted: impl Fn(Instant) -> bool) {
        for SubjectMail { template, batcher, state, reported, .. } in self.subjects.values_mut() {
            if !batcher.due().is_some_and(&wanted) {
                continue;
            }
            let Some(digest) = batcher.take(Instant::now()) else { continue };
            match enqueue(&self.config, &self.queue, template, &digest) {
                Ok(()) => {
                    reported.clone_from(state);
                    self.unsaved = true;
                    let _ = self.delivery.send(DeliveryRequest::Message);
                }
                Err(error) => tracing::error!("mail: a message is lost: {error}"),
            }
        }
    }

    fn remember(&mut self) {
        self.unsaved = false;
        let memories = self.subjects.values().map(|subject| (subject.key.clone(), subject.memory())).collect();
        if let Err(error) = self.queue.remember(&memories) {
            tracing::warn!("mail: cannot store what was reported, so the next agent may report it again: {error}");
        }
    }
}

fn enqueue(
    config: &MailConfig,
    queue: &MailQueue,
    template: &MessageTemplate,
    digest: &Digest,
) -> Result<(), MailError> {
    let message = QueuedMessage { to: config.to.clone(), text: template.message(config, digest)? };
    Ok(queue.put(&message)?)
}
