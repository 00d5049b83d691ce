//! Sends the messages in the queue to the mail server by SMTP, and tries again after a failure.

use std::collections::BTreeSet;
use std::time::Duration;
use std::{mem, slice};

use lettre::address::{Address, Envelope};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use xvrrp_config::files;
use xvrrp_config::{Encryption, Login, MailConfig};

use super::error::MailError;
use super::queue::{MailQueue, QueuedMessage};

/// The pause after the first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Maximum size of a password file in bytes. The password is the first line; comments may follow.
const MAX_PASSWORD_FILE: u64 = 64 << 10;
/// Maximum size of a certificate file in bytes: several times the certificates that a host trusts.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// A request to [`Delivery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryRequest {
    /// Send the new message in the queue.
    Message,
    /// Try once more and end: no more messages follow.
    Last,
}

/// Sends the messages in the queue.
#[derive(Debug)]
pub(super) struct Delivery {
    pub config: MailConfig,
    /// The name for HELO, if the configuration has none.
    pub helo: String,
    pub queue: MailQueue,
}

impl Delivery {
    /// Runs until [`DeliveryRequest::Last`], or until the sender of requests is gone.
    pub async fn run(self, mut requests: mpsc::UnboundedReceiver<DeliveryRequest>) {
        let mut logged = None;
        let mut pause = FIRST_PAUSE;
        let mut last = false;
        // The first pass sends what a previous agent has left in the queue.
        loop {
            // One pass sends everything that is in the queue by then.
            while let Ok(request) = requests.try_recv() {
                last |= request == DeliveryRequest::Last;
            }
            let outcome = self.deliver().await;
            self.log(&outcome, &mut logged);
            match outcome {
                _ if last => return,
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    last = requests.recv().await != Some(DeliveryRequest::Message);
                }
                Err(_) => {
                    last = wait(pause, &mut requests).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Logs each failure once, and the success after it. `logged` is the failure that was logged last.
    fn log(&self, outcome: &Result<(), MailError>, logged: &mut Option<String>) {
        match outcome {
            Ok(()) if logged.take().is_some() => tracing::info!("mail: {} accepts mail again", self.server()),
            Ok(()) => {}
            Err(error) => {
                let error = error.to_string();
                if logged.as_ref() != Some(&error) {
                    tracing::warn!("mail: not sent by {}: {error}; kept, to be tried again", self.server());
                    *logged = Some(error);
                }
            }
        }
    }

    fn server(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// Sends everything in the queue over one connection, which is opened only if there is something to send.
    async fn deliver(&self) -> Result<(), MailError> {
        let mut connection = None;
        let outcome = self.deliver_over(&mut connection).await;
        if let Some(mut connection) = connection {
            // The server is responsible for what it has accepted, however the connection ends.
            let _ = self.within(async { Ok(connection.quit().await?) }).await;
        }
        outcome
    }

    async fn deliver_over(&self, connection: &mut Option<AsyncSmtpConnection>) -> Result<(), MailError> {
        let mut deferral = Ok(());
        // The recipients for whom the server has deferred a message: they do not hold up the others.
        let mut deferred = BTreeSet::new();
        for path in self.queue.messages()? {
            // The queue may have dropped it in the meantime.
            let Some(mut message) = self.queue.read(&path)? else { continue };
            let (later, now) = mem::take(&mut message.to).into_iter().partition(|to| deferred.contains(to));
            message.to = now;
            if message.to.is_empty() {
                continue;
            }
            let outcome = self.offer(connection, &mut message).await;
            let refused = matches!(outcome, Err(MailError::Refused(_)));
            if refused {
                deferred.extend(message.to.iter().cloned());
            }
            message.to.extend::<Vec<String>>(later);
            self.queue.settle(&path, &message)?;
            match outcome {
                Err(error) if refused => deferral = Err(error),
                outcome => outcome?,
            }
        }
        deferral
    }

    /// Sends a message. Removes the recipients for whom the server has accepted it or permanently refused it.
    async fn offer(
        &self,
        connection: &mut Option<AsyncSmtpConnection>,
        message: &mut QueuedMessage,
    ) -> Result<(), MailError> {
        if message.to.len() > 1 {
            match self.send(connection, &message.to, &message.text).await {
                // The server refuses one of the recipients: each gets a message of its own, below.
                Err(MailError::Refused(_)) => {}
                outcome => {
                    outcome?;
                    message.to.clear();
                }
            }
        }
        let mut deferral = Ok(());
        let mut recipients = mem::take(&mut message.to).into_iter();
        while let Some(to) = recipients.next() {
            match self.send(connection, slice::from_ref(&to), &message.text).await {
                Ok(()) => {}
                Err(MailError::Refused(error)) if error.is_permanent() => {
                    tracing::error!("mail: {} permanently refuses mail to {to}: {error}", self.server());
                }
                Err(error) => {
                    message.to.push(to);
                    if !matches!(error, MailError::Refused(_)) {
                        message.to.extend(recipients);
                        return Err(error);
                    }
                    deferral = Err(error);
                }
            }
        }
        deferral
    }

    async fn send(
        &self,
        connection: &mut Option<AsyncSmtpConnection>,
        to: &[String],
        text: &[u8],
    ) -> Result<(), MailError> {
        let to = to.iter().map(|to| to.parse()).collect::<Result<Vec<Address>, _>>()?;
        let envelope = Envelope::new(Some(self.config.from.parse()?), to)?;
        // An error drops the connection, which closes it.
        let mut server = match connection.take() {
            Some(server) => server,
            None => self.within(self.connect()).await?,
        };
        self.within(async {
            server.send(&envelope, text).await.map(drop).map_err(|error| {
                if error.is_permanent() || error.is_transient() { MailError::Refused(error) } else { error.into() }
            })
        })
        .await?;
        *connection = Some(server);
        Ok(())
    }

    async fn within<T>(&self, step: impl Future<Output = Result<T, MailError>>) -> Result<T, MailError> {
        timeout(self.config.timeout.into(), step).await.unwrap_or(Err(MailError::Timeout))
    }

    /// Connects, encrypts and logs in. Certificates and password are read each time, so that they occupy no memory
    /// between deliveries.
    async fn connect(&self) -> Result<AsyncSmtpConnection, MailError> {
        let MailConfig { host, port, tls, login, helo, timeout, .. } = &self.config;
        let helo = ClientId::Domain(helo.clone().unwrap_or_else(|| self.helo.clone()));
        let implicit = match tls {
            Encryption::Implicit => Some(self.tls_parameters()?),
            Encryption::StartTls | Encryption::None => None,
        };
        let server = (host.as_str(), *port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some((*timeout).into()), &helo, implicit, None).await?;
        if *tls == Encryption::StartTls {
            connection.starttls(self.tls_parameters()?, &helo).await?;
        }
        if let Some(Login { username, password_file, .. }) = login {
            let text = files::read_text(password_file, MAX_PASSWORD_FILE)?;
            let password = text.lines().next().unwrap_or_default().to_owned();
            let credentials = Credentials::new(username.clone(), password);
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
        }
        Ok(connection)
    }

    fn tls_parameters(&self) -> Result<TlsParameters, MailError> {
        let mut builder = TlsParameters::builder(self.config.host.clone());
        if let Some((path, _)) = &self.config.ca_file {
            let pem = files::read(path, MAX_CERTIFICATES)?;
            let certificate = Certificate::from_pem(&pem)?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        Ok(builder.build()?)
    }
}

/// Waits for `pause`, or for the last request, and returns whether that has come. More messages do not end the wait.
async fn wait(pause: Duration, requests: &mut mpsc::UnboundedReceiver<DeliveryRequest>) -> bool {
    let end = Instant::now() + pause;
    while let Ok(request) = timeout_at(end, requests.recv()).await {
        if request != Some(DeliveryRequest::Message) {
            return true;
        }
    }
    false
}
