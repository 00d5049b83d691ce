//! Reads `[mail]`, and `mail` of a virtual router.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::de::DeValue;
use xvrrp_common::units::Interval;

use super::error::{ConfigError, Problems, Reported};
use super::keys::{self, Key};
use super::model::{Config, Encryption, Login, MailConfig, Occasion};
use super::quote::quote;
use super::section::{Found, Section};
use super::values::MAX_PATH;

const TIMEOUTS: RangeInclusive<Interval> = Interval::from_seconds(1)..=Interval::from_seconds(255);
const GATHERS: RangeInclusive<Interval> = Interval::from_seconds(1)..=Interval::from_millis(3_600_000);
const MAX_RECIPIENTS: usize = 64;
/// Longest name that fits in a command line of SMTP when it is encoded, in bytes (RFC 4954 4).
const MAX_USERNAME: usize = 255;

/// Words of a configuration for the occasions of mail.
const OCCASIONS: [(&str, Occasion); 4] =
    [("active", Occasion::Active), ("backup", Occasion::Backup), ("fault", Occasion::Fault), ("stop", Occasion::Stop)];

/// Checks the files that `[mail]` names. `fault` returns what is wrong with a file, or `None`; it is called with the
/// path and with whether the file holds a secret.
///
/// # Errors
/// A file has a fault. The error lists all such files.
pub fn check_files(config: &Config, fault: impl Fn(&Path, bool) -> Option<String>) -> Result<(), ConfigError> {
    let mut problems = Problems::default();
    let mut outcome = Ok(());
    let Some(MailConfig { ca_file, login, .. }) = &config.mail else { return Ok(()) };
    let ca_file = ca_file.as_ref().map(|(path, line)| (keys::CA_FILE, path, *line, false));
    let password_file = login.as_ref().map(|login| (keys::PASSWORD_FILE, &login.password_file, login.line, true));
    for (key, path, line, secret) in ca_file.into_iter().chain(password_file) {
        if let Some(fault) = fault(path, secret) {
            let message = format!("mail: {}: {} {fault}", key.name, quote(&path.to_string_lossy()));
            outcome = Err(problems.report(line, message));
        }
    }
    problems.conclude_check(config, outcome)
}

/// Reads `[mail]`, if the file has this table.
pub(super) fn read(root: &mut Section) -> Result<Option<MailConfig>, Reported> {
    let Some(found) = root.get(&keys::MAIL) else { return Ok(None) };
    match found.value {
        DeValue::Table(table) => read_table(&mut root.below("mail".into(), table, found.line)).map(Some),
        _ => Err(root.reject_type(&keys::MAIL, found)),
    }
}

fn read_table(section: &mut Section) -> Result<MailConfig, Reported> {
    let server = read_server(section);
    let tls = read_tls(section);
    let ca_file = section.absolute_path(&keys::CA_FILE, MAX_PATH);
    let login = read_login(section, tls.ok());
    let from = read_from(section);
    let to = read_recipients(section);
    let helo = read_helo(section);
    let timeout = section.duration(&keys::MAIL_TIMEOUT, TIMEOUTS, MailConfig::DEFAULT_TIMEOUT);
    let limit = section.integer(&keys::LIMIT, 1..=60);
    let gather = section.duration(&keys::GATHER, GATHERS, MailConfig::DEFAULT_GATHER);
    section.report_unknown_keys(keys::MAIL_KEYS);
    if let (Ok(Encryption::None), Ok(Some(_))) = (tls, &ca_file) {
        let message = "has no effect with tls = \"none\"; remove one of the two";
        section.report(&keys::CA_FILE, section.line_of(&keys::CA_FILE), message);
    }
    let (host, port) = server?;
    let tls = tls?;
    Ok(MailConfig {
        host,
        port: port.unwrap_or(match tls {
            Encryption::None => 25,
            Encryption::StartTls => 587,
            Encryption::Implicit => 465,
        }),
        tls,
        ca_file: ca_file?.map(|file| (file, section.line_of(&keys::CA_FILE))),
        login: login?,
        from: from?,
        to: to?,
        helo: helo?,
        timeout: timeout?,
        limit: limit?.unwrap_or(MailConfig::DEFAULT_LIMIT),
        gather: gather?,
    })
}

/// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn read_server(section: &mut Section) -> Result<(String, Option<u16>), Reported> {
    let text = section.string(&keys::SERVER)?;
    let text = section.required(&keys::SERVER, text)?;
    let (host, port) = match text.rsplit_once(':') {
        // All colons belong to the address.
        _ if text.parse::<IpAddr>().is_ok() => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.map(|port| port.parse().ok().filter(|port: &u16| *port > 0));
    if port == Some(None) || !(host.parse::<IpAddr>().is_ok() || is_domain(host)) {
        let wrong = format!("{} does not name a server", quote(text));
        return Err(section.reject(&keys::SERVER, section.line_of(&keys::SERVER), wrong));
    }
    Ok((host.to_owned(), port.flatten()))
}

fn read_tls(section: &mut Section) -> Result<Encryption, Reported> {
    match section.string(&keys::TLS)? {
        None | Some("starttls") => Ok(Encryption::StartTls),
        Some("implicit") => Ok(Encryption::Implicit),
        Some("none") => Ok(Encryption::None),
        Some(other) => {
            let wrong = format!("{} is not a kind of encryption", quote(other));
            Err(section.reject(&keys::TLS, section.line_of(&keys::TLS), wrong))
        }
    }
}

/// Reads both keys of a login. There is no key for the password itself, because everybody may read a configuration.
fn read_login(section: &mut Section, tls: Option<Encryption>) -> Result<Option<Login>, Reported> {
    let username = section.string(&keys::USERNAME);
    let password_file = section.absolute_path(&keys::PASSWORD_FILE, MAX_PATH);
    let (username, password_file) = (username?, password_file?);
    let report = |section: &mut Section, key: &Key, message: &str| {
        let line = section.line_of(key);
        Err(section.report(key, line, message))
    };
    let (username, password_file) = match (username, password_file) {
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return report(section, &keys::USERNAME, "has no password; add password_file, or remove username");
        }
        (None, Some(_)) => {
            return report(section, &keys::PASSWORD_FILE, "has no user; add username, or remove password_file");
        }
        (Some(username), Some(password_file)) => (username, password_file),
    };
    if !(1..=MAX_USERNAME).contains(&username.len()) || username.contains(char::is_control) {
        let wrong = format!("{} is not a valid user name", quote(username));
        return Err(section.reject(&keys::USERNAME, section.line_of(&keys::USERNAME), wrong));
    }
    if tls == Some(Encryption::None) {
        let message = "the password would be sent unencrypted; set tls to \"starttls\" or \"implicit\"";
        return report(section, &keys::PASSWORD_FILE, message);
    }
    let line = section.line_of(&keys::PASSWORD_FILE);
    Ok(Some(Login { username: username.to_owned(), password_file, line }))
}

fn read_from(section: &mut Section) -> Result<String, Reported> {
    let from = section.string(&keys::FROM)?;
    let from = section.required(&keys::FROM, from)?;
    if let Some(from) = address(from) {
        return Ok(from);
    }
    Err(section.reject(
        &keys::FROM,
        section.line_of(&keys::FROM),
        format_args!("{} is not a mail address", quote(from)),
    ))
}

fn read_recipients(section: &mut Section) -> Result<Vec<String>, Reported> {
    let list = section.list(&keys::TO)?;
    let (elements, line) = section.required(&keys::TO, list)?;
    if elements.is_empty() || elements.len() > MAX_RECIPIENTS {
        return Err(section.reject(&keys::TO, line, format_args!("{} addresses are listed", elements.len())));
    }
    let recipient = |text: &str| {
        let wrong = || format!("{} is not a mail address; write it as in \"ops@example.net\" or \"root\"", quote(text));
        address(text).ok_or_else(wrong)
    };
    let recipients = section.each(&keys::TO, elements, recipient)?;
    Ok(recipients.into_iter().map(|(recipient, _)| recipient).collect())
}

fn read_helo(section: &mut Section) -> Result<Option<String>, Reported> {
    match section.string(&keys::HELO)? {
        None => Ok(None),
        Some(name) if is_domain(name) => Ok(Some(name.to_owned())),
        Some(name) => {
            let wrong = format!("{} is not a host name", quote(name));
            Err(section.reject(&keys::HELO, section.line_of(&keys::HELO), wrong))
        }
    }
}

/// Reads `mail` of a virtual router or a group. `has_mail` says whether the file has a `[mail]`, even one with errors,
/// and `default` whether mail is then sent without this key.
pub(super) fn read_occasions(section: &mut Section, has_mail: bool, default: bool) -> Result<Vec<Occasion>, Reported> {
    let all = || OCCASIONS.map(|(_, occasion)| occasion).to_vec();
    let Some(found) = section.get(&keys::MAIL_ON) else {
        return Ok(if has_mail && default { all() } else { Vec::new() });
    };
    let occasions = match found.value {
        DeValue::Boolean(true) => all(),
        DeValue::Boolean(false) => Vec::new(),
        DeValue::Array(_) => read_list(section)?,
        _ => return Err(section.reject_type(&keys::MAIL_ON, found)),
    };
    if !has_mail && !occasions.is_empty() {
        let message =
            "there is no [mail], which names the server, the sender and the recipients; add it, or remove mail";
        return Err(section.report(&keys::MAIL_ON, found.line, message));
    }
    Ok(occasions)
}

fn read_list(section: &mut Section) -> Result<Vec<Occasion>, Reported> {
    let (elements, _) = section.list(&keys::MAIL_ON)?.unwrap_or_default();
    let mut occasions = Vec::new();
    for Found { value, line } in elements {
        let known = value.as_str().and_then(|word| OCCASIONS.iter().find(|(name, _)| *name == word));
        match known {
            Some((_, occasion)) => occasions.push(*occasion),
            None => {
                let word = value.as_str().map_or("a value that is not a string".to_owned(), quote);
                return Err(section.reject(&keys::MAIL_ON, line, format_args!("{word} is not an occasion of mail")));
            }
        }
    }
    Ok(occasions)
}

/// Returns a mail address in the usual form: RFC 5321 4.1.2 without quoted strings and comments. A name alone is a user
/// of the server, as it is for keepalived.
fn address(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, "localhost"));
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
    let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(allowed);
    let valid = local.len() <= 64 && local.split('.').all(atom) && is_domain(domain);
    valid.then(|| format!("{local}@{domain}"))
}

/// Returns whether this is a domain name (RFC 5321 4.1.2, 4.5.3.1.2).
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
