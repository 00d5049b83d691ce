//! A small mail server (RFC 5321) in a namespace, which records the mail that it receives.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::Namespace;
use crate::PATIENCE;

/// Time between two looks for new connections.
const LOOK: Duration = Duration::from_millis(5);

/// A mail that was received.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// The argument of `AUTH PLAIN` as it was received, in base64.
    pub login: Option<String>,
    /// Sender of the envelope.
    pub from: String,
    /// Recipients of the envelope.
    pub to: Vec<String>,
    /// The headers by their names.
    pub headers: BTreeMap<String, String>,
    /// Text after the headers.
    pub body: String,
}

impl Mail {
    /// Returns the header `Subject`, or an empty text if there is none.
    pub fn subject(&self) -> &str {
        self.headers.get("Subject").map_or("", String::as_str)
    }
}

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Offers STARTTLS, and AUTH once the connection is encrypted.
    pub encrypts: bool,
    /// Refuses mail to this address permanently (550).
    pub refuses: Option<&'static str>,
    /// Refuses mail to this address for now (450).
    pub puts_off: Option<&'static str>,
}

/// The mail server. It stops accepting connections when this is dropped.
#[derive(Debug)]
pub struct MailServer {
    mails: Mutex<Receiver<Mail>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MailServer {
    /// Starts a server on this address in the namespace.
    pub fn start(namespace: &Namespace, address: SocketAddr, habits: Habits) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let tls = Arc::new(tls()?);
        let (sender, mails) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ending);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => {
                        let (tls, sender) = (Arc::clone(&tls), sender.clone());
                        // The thread ends when the client disconnects.
                        thread::spawn(move || {
                            let _ = serve(client, habits, tls, &sender);
                        });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
                    Err(_) => return,
                }
            }
        });
        Ok(Self { mails: Mutex::new(mails), ending, thread: Some(thread) })
    }

    /// Returns the path of the server's self-signed certificate.
    pub fn certificate() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hosts/mail_server/certificate.pem")
    }

    /// Waits for the next mail.
    pub fn next(&self) -> Result<Mail> {
        self.mails
            .lock()
            .expect("no thread panics while it holds the lock")
            .recv_timeout(PATIENCE)
            .with_context(|| format!("no mail has arrived within {PATIENCE:?}"))
    }

    /// Returns the mails that have arrived and were not returned yet, without waiting.
    pub fn more(&self) -> Vec<Mail> {
        self.mails.lock().expect("no thread panics while it holds the lock").try_iter().collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tls() -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(MailServer::certificate())?;
    let key = PrivateKeyDer::from_pem_file(MailServer::certificate().with_file_name("key.pem"))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(vec![certificate], key)?)
}

fn serve(client: TcpStream, habits: Habits, tls: Arc<ServerConfig>, mails: &Sender<Mail>) -> Result<()> {
    client.set_nonblocking(false)?;
    let mut client = BufReader::new(client);
    client.get_mut().write_all(b"220 lab ESMTP\r\n")?;
    let offer = if habits.encrypts { "STARTTLS" } else { "8BITMIME" };
    if converse(&mut client, offer, Mail::default(), habits, mails)? {
        let connection = ServerConnection::new(tls)?;
        let mut client = BufReader::new(StreamOwned::new(connection, client.into_inner()));
        converse(&mut client, "AUTH PLAIN", Mail { encrypted: true, ..Mail::default() }, habits, mails)?;
    }
    Ok(())
}

/// Talks to the client and records its mails. Returns `true` if the client asks for TLS, `false` when it disconnects.
fn converse<S: Read + Write>(
    client: &mut BufReader<S>,
    offer: &str,
    fresh: Mail,
    habits: Habits,
    mails: &Sender<Mail>,
) -> Result<bool> {
    let mut fresh = fresh;
    let mut mail = fresh.clone();
    loop {
        let Some(line) = line(client)? else { return Ok(false) };
        let path = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["HELO", ..] => "250 lab".to_owned(),
            ["EHLO", ..] => format!("250-lab\r\n250 {offer}"),
            ["STARTTLS"] if offer == "STARTTLS" => {
                client.get_mut().write_all(b"220 go on\r\n")?;
                return Ok(true);
            }
            ["AUTH", "PLAIN", login] => {
                fresh.login = Some((*login).to_owned());
                mail = fresh.clone();
                "235 ok".to_owned()
            }
            ["MAIL", ..] => {
                mail = Mail { from: path(), ..fresh.clone() };
                "250 ok".to_owned()
            }
            ["RCPT", ..] if habits.refuses.is_some_and(|refused| refused == path()) => "550 nobody here".to_owned(),
            ["RCPT", ..] if habits.puts_off.is_some_and(|later| later == path()) => "450 not now".to_owned(),
            ["RCPT", ..] => {
                mail.to.push(path());
                "250 ok".to_owned()
            }
            ["DATA"] => {
                client.get_mut().write_all(b"354 go on\r\n")?;
                read_text(client, &mut mail)?;
                mails.send(std::mem::replace(&mut mail, fresh.clone()))?;
                "250 ok".to_owned()
            }
            ["QUIT"] => {
                client.get_mut().write_all(b"221 bye\r\n")?;
                return Ok(false);
            }
            _ => "500 what".to_owned(),
        };
        client.get_mut().write_all(answer.as_bytes())?;
        client.get_mut().write_all(b"\r\n")?;
    }
}

fn read_text<S: Read>(client: &mut BufReader<S>, mail: &mut Mail) -> Result<()> {
    let mut last = String::new();
    while let Some(line) = line(client)?.filter(|line| !line.is_empty()) {
        if line.starts_with(' ') {
            *mail.headers.entry(last.clone()).or_default() += &line;
        } else if let Some((name, value)) = line.split_once(": ") {
            name.clone_into(&mut last);
            mail.headers.insert(name.to_owned(), value.to_owned());
        }
    }
    // This much of RFC 2045 6.7 is enough for ASCII.
    let quoted = mail.headers.get("Content-Transfer-Encoding").is_some_and(|encoding| encoding == "quoted-printable");
    while let Some(line) = line(client)?.filter(|line| line != ".") {
        match line.strip_suffix('=').filter(|_| quoted) {
            Some(part) => mail.body += part,
            None => mail.body += &format!("{line}\n"),
        }
    }
    if quoted {
        mail.body = mail.body.replace("=3D", "=");
    }
    Ok(())
}

fn line<S: Read>(client: &mut BufReader<S>) -> Result<Option<String>> {
    let mut line = String::new();
    let read = client.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}
