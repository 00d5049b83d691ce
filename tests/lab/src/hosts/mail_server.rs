//! A small mail server (RFC 5321) in a namespace, which records what it is sent.

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

/// How often it looks whether somebody wants to talk to it.
const LOOK: Duration = Duration::from_millis(5);

/// A mail that has come in.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Over TLS.
    pub encrypted: bool,
    /// `AUTH PLAIN`, as it came, in base64.
    pub login: Option<String>,
    pub from: String,
    pub to: Vec<String>,
    /// By their names.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Mail {
    pub fn subject(&self) -> &str {
        self.headers.get("Subject").map_or("", String::as_str)
    }
}

/// What it does otherwise than it should.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// It offers STARTTLS, and AUTH behind that.
    pub encrypts: bool,
    /// It refuses mail to this address for good.
    pub refuses: Option<&'static str>,
    /// It refuses mail to this address for now.
    pub puts_off: Option<&'static str>,
}

/// See the module. Nobody listens any more after it is dropped.
#[derive(Debug)]
pub struct MailServer {
    mails: Mutex<Receiver<Mail>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MailServer {
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
                        // It ends with its client.
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

    /// The certificate that it has, which nobody has signed but itself.
    pub fn certificate() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hosts/mail_server/certificate.pem")
    }

    /// The next mail.
    pub fn next(&self) -> Result<Mail> {
        self.mails.lock().expect("nobody panics with it").recv_timeout(PATIENCE).context("no mail has come")
    }

    /// How many more mails have come.
    pub fn more(&self) -> Vec<Mail> {
        self.mails.lock().expect("nobody panics with it").try_iter().collect()
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

/// Whether the client wants to go on encrypted.
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
    // RFC 2045 6.7, of which ASCII needs this much.
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
