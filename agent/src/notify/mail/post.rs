//! Takes letters from the spool to the mail server, and tries again where that fails.

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

use super::MailError;
use super::spool::{Letter, Spool};

/// How long after a failure it is tried again, which doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A password is in the first line; a comment may follow.
const MAX_PASSWORD_FILE: u64 = 64 << 10;
/// Several times the certificates that a host trusts.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// What [`Post`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// There is a new letter.
    Letter,
    /// There will be no more: try once more, and end.
    Last,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Post {
    pub config: MailConfig,
    /// If the configuration does not say it.
    pub helo: String,
    pub spool: Spool,
}

impl Post {
    /// Until it is told that a letter was the last one, or nobody can tell it anything any more.
    pub async fn serve(self, mut words: mpsc::UnboundedReceiver<Word>) {
        let mut told = None;
        let mut pause = FIRST_PAUSE;
        let mut last = false;
        // At first for what an agent before us has left.
        loop {
            // One pass takes all that there is by then.
            while let Ok(word) = words.try_recv() {
                last |= word != Word::Letter;
            }
            let outcome = self.deliver().await;
            match outcome {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::info!("mail: {} takes it again", self.server());
                    }
                    pause = FIRST_PAUSE;
                    if last {
                        return;
                    }
                    last = !matches!(words.recv().await, Some(Word::Letter));
                }
                Err(error) => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        tracing::warn!("mail: not sent by {}, and kept: {error}; tried again", self.server());
                        told = Some(error);
                    }
                    if last {
                        return;
                    }
                    let next = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // More letters make it no better.
                    while let Ok(word) = timeout_at(next, words.recv()).await {
                        last = word != Some(Word::Letter);
                        if last {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn server(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// Sends all that there is, by one connection; none is made for nothing.
    async fn deliver(&self) -> Result<(), MailError> {
        let mut connection = None;
        let outcome = self.deliver_by(&mut connection).await;
        if let Some(mut connection) = connection {
            // What it has taken, it has: how this ends is no matter.
            let _ = self.within(async { Ok(connection.quit().await?) }).await;
        }
        outcome
    }

    async fn deliver_by(&self, connection: &mut Option<AsyncSmtpConnection>) -> Result<(), MailError> {
        let mut put_off = Ok(());
        // Those for whom the server takes nothing now: they keep nothing from the others.
        let mut late = BTreeSet::new();
        for path in self.spool.letters()? {
            // It may have been thrown away by now.
            let Some(mut letter) = self.spool.read(&path)? else { continue };
            let (waiting, now) = mem::take(&mut letter.to).into_iter().partition(|to| late.contains(to));
            letter.to = now;
            if letter.to.is_empty() {
                continue;
            }
            let outcome = self.offer(connection, &mut letter).await;
            let refused = matches!(outcome, Err(MailError::Refused(_)));
            if refused {
                late.extend(letter.to.iter().cloned());
            }
            letter.to.extend::<Vec<String>>(waiting);
            self.spool.settle(&path, &letter)?;
            match outcome {
                Err(error) if refused => put_off = Err(error),
                outcome => outcome?,
            }
        }
        put_off
    }

    /// Takes those from the letter to whom it has gone, or never will.
    async fn offer(&self, connection: &mut Option<AsyncSmtpConnection>, letter: &mut Letter) -> Result<(), MailError> {
        if letter.to.len() > 1 {
            match self.send(connection, &letter.to, &letter.text).await {
                // One who is refused keeps it from none of the others.
                Err(MailError::Refused(_)) => {}
                outcome => {
                    outcome?;
                    letter.to.clear();
                }
            }
        }
        let mut put_off = Ok(());
        let mut recipients = mem::take(&mut letter.to).into_iter();
        while let Some(to) = recipients.next() {
            match self.send(connection, slice::from_ref(&to), &letter.text).await {
                Ok(()) => {}
                Err(MailError::Refused(error)) if error.is_permanent() => {
                    tracing::error!("mail: {} refuses one to {to} for good: {error}", self.server());
                }
                Err(error) => {
                    letter.to.push(to);
                    if !matches!(error, MailError::Refused(_)) {
                        letter.to.extend(recipients);
                        return Err(error);
                    }
                    put_off = Err(error);
                }
            }
        }
        put_off
    }

    async fn send(
        &self,
        connection: &mut Option<AsyncSmtpConnection>,
        to: &[String],
        text: &[u8],
    ) -> Result<(), MailError> {
        let to = to.iter().map(|to| to.parse()).collect::<Result<Vec<Address>, _>>()?;
        let envelope = Envelope::new(Some(self.config.from.parse()?), to)?;
        // An error closes it.
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

    /// Up to where a letter can be sent. Certificates are read each time: they are in nobody's way in the meantime.
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
