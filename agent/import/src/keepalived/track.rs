//! `vrrp_script`, `vrrp_track_process`, `track_file`, and where virtual routers refer to them.

use toml::Value as Toml;

use super::super::document::Table;
use super::super::names::Names;
use super::super::place::{Located, SourceLine};
use super::super::report::Report;
use super::super::time::{duration, seconds};
use super::global::Global;
use super::table::{self, Directives, Handling::*};
use super::tree::{Statement, command_words};

const REVERSE: &str = "has no counterpart: turn the check's result, or the weight, round; the reference is left out";

/// A line of `track_script`, `track_interface`, `track_process` or `track_file`.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    /// The block.
    directive: String,
    name: String,
    options: Vec<String>,
    place: SourceLine,
    /// Why keepalived would not heed a weight.
    pub weightless: Option<&'static str>,
}

/// See [`Tracked::weightless`].
pub(super) const IN_GROUP: &str = "in a vrrp_sync_group without sync_group_tracking_weight";
pub(super) const AS_OWNER: &str = "at priority 255";

impl Tracked {
    pub fn read(block: &Statement) -> Vec<Self> {
        let line = |line: &Statement| Self {
            directive: block.keyword.clone(),
            name: line.keyword.clone(),
            options: line.words.clone(),
            place: line.place.clone(),
            weightless: None,
        };
        block.statements().iter().map(line).collect()
    }
}

/// What is tracked.
#[derive(Debug)]
struct Check {
    /// The block that refers to it: `track_script`.
    tracked_by: &'static str,
    original_name: String,
    /// In the result.
    name: String,
    place: SourceLine,
    /// The key that says what is looked at, and its value.
    subject: Option<(&'static str, Located<Toml>)>,
    interval: Option<Located<u64>>,
    timeout: Option<Located<u64>>,
    rise: Option<Located<u32>>,
    fall: Option<Located<u32>>,
    user: Option<Located<String>>,
    weight: Option<Located<i64>>,
    /// A result that counts the other way round.
    reverse: bool,
    /// Whether some virtual router names it, and whether the result refers to it.
    named: bool,
    used: bool,
}

/// All that are defined.
#[derive(Debug, Default)]
pub(super) struct Checks {
    checks: Vec<Check>,
    names: Names,
}

const SCRIPT: Directives<Check> = &[
    (
        "script",
        Take(|check, it, report| {
            let words = command_words(&it.text).unwrap_or_default();
            let command = words.get(1).and_then(|command| command_words(command)).filter(|words| !words.is_empty());
            match command {
                Some(command) => {
                    let command = Toml::Array(command.into_iter().map(Toml::String).collect());
                    check.subject = Some(("script", Located::new(command, &it.place)));
                }
                None => {
                    report.left(&it.place, "script", "has no program, or a quote without its counterpart; correct it")
                }
            }
            if words.len() > 2 {
                report.left(
                    &it.place,
                    "script",
                    "keepalived takes one word, and ignores what follows; put all of it in quotes",
                );
            }
        }),
    ),
    ("interval", Take(|check, it, report| check.interval = period(it, report))),
    ("timeout", Take(|check, it, report| check.timeout = period(it, report))),
    ("rise", Take(|check, it, report| check.rise = count(it, report))),
    ("fall", Take(|check, it, report| check.fall = count(it, report))),
    ("weight", Take(set_weight)),
    (
        "user",
        Take(|check, it, report| {
            check.user = it.value(report).map(|user| Located::new(user.to_owned(), &it.place));
            if let Some(group) = it.word(1) {
                report.left(
                    &it.place,
                    "user",
                    format!("the group is that of the user, not {group}; use sg(1) in the script"),
                );
            }
        }),
    ),
    // A check without a result yet keeps a virtual router out of the election.
    ("init_fail", Nothing),
];

const PROCESS: Directives<Check> = &[
    (
        "process",
        Take(|check, it, report| {
            let name = it.value(report).map(|name| Toml::String(name.to_owned()));
            check.subject = name.map(|name| ("process", Located::new(name, &it.place)));
            if it.words.len() > 1 {
                report.left(
                    &it.place,
                    "process",
                    "a process is found by its name only; use a pid_file, or a script with pgrep -f",
                );
            }
        }),
    ),
    ("weight", Take(set_weight)),
    (
        "quorum",
        Take(|_, it, report| {
            if it.number(1..=65_535, report).is_some_and(|quorum| quorum > 1) {
                report.left(&it.place, "quorum", "one process is enough; use a script with pgrep -c");
            }
        }),
    ),
    ("quorum_max", Left("any number of processes is right; use a script with pgrep -c")),
    ("delay", Left("has no counterpart; use rise and fall")),
    ("fork_delay", Left("has no counterpart; use rise")),
    ("terminate_delay", Left("has no counterpart; use fall")),
    ("full_command", Left("a process is found by its name only; use a pid_file, or a script with pgrep -f")),
    ("param_match", Left("a process is found by its name only; use a pid_file, or a script with pgrep -f")),
];

const FILE: Directives<Check> = &[
    (
        "file",
        Take(|check, it, report| {
            let path = it.value(report).map(|path| Toml::String(path.to_owned()));
            check.subject = path.map(|path| ("file", Located::new(path, &it.place)));
        }),
    ),
    ("weight", Take(set_weight)),
    ("init_file", Left("the file is not made: let the service write it, or systemd-tmpfiles")),
];

/// Later versions of keepalived take milliseconds. 0 is 1 s.
fn period(it: &Statement, report: &mut Report) -> Option<Located<u64>> {
    let text = it.value(report)?;
    let micros = seconds(text).map(|micros| if micros == 0 { 1_000_000 } else { micros });
    if micros.is_none() {
        let advice = format!("{text:?} is no number of seconds, and keepalived ignores it; correct it");
        report.left(&it.place, &it.keyword, advice);
    }
    micros.map(|micros| Located::new(micros, &it.place))
}

fn count(it: &Statement, report: &mut Report) -> Option<Located<u32>> {
    it.number(1..=u32::from(u16::MAX), report).map(|count| Located::new(count, &it.place))
}

fn set_weight(check: &mut Check, it: &Statement, report: &mut Report) {
    check.weight =
        it.value(report).and_then(|text| weight(text, &it.place, report)).map(|w| Located::new(w, &it.place));
    check.reverse = it.word(1) == Some("reverse");
}

/// -253 to 253; keepalived takes 254 for 253.
fn weight(text: &str, place: &SourceLine, report: &mut Report) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(weight) if (-254..=254).contains(&weight) => Some(weight.clamp(-253, 253)),
        _ => {
            report.left(
                place,
                "weight",
                format!("{text:?} is no number from -253 to 253, and keepalived ignores it; correct it"),
            );
            None
        }
    }
}

impl Checks {
    /// A block that defines one.
    pub fn define(&mut self, statement: &Statement, report: &mut Report) {
        let (tracked_by, directives) = match statement.keyword.as_str() {
            "vrrp_script" => ("track_script", SCRIPT),
            "vrrp_track_process" => ("track_process", PROCESS),
            _ => ("track_file", FILE),
        };
        let Some(name) = statement.value(report) else { return };
        let mut check = self.make(tracked_by, name, &statement.place);
        table::apply(directives, &mut check, statement, report);
        self.checks.push(check);
    }

    fn make(&mut self, tracked_by: &'static str, name: &str, place: &SourceLine) -> Check {
        Check {
            tracked_by,
            original_name: name.to_owned(),
            name: self.names.claim(name),
            place: place.clone(),
            subject: None,
            interval: None,
            timeout: None,
            rise: None,
            fall: None,
            user: None,
            weight: None,
            reverse: false,
            named: false,
            used: false,
        }
    }

    /// `track` of a virtual router.
    pub fn write(&mut self, tracked: &[Tracked], table: &mut Table, report: &mut Report) {
        let references = tracked.iter().filter_map(|tracked| self.refer(tracked, report)).collect();
        table.set_list("track", references);
    }

    fn refer(&mut self, tracked: &Tracked, report: &mut Report) -> Option<Located<Toml>> {
        let Tracked { directive, name, options, place, weightless } = tracked;
        let found = self.checks.iter().position(|check| check.tracked_by == directive && check.original_name == *name);
        let index = match found {
            Some(index) => index,
            None if directive == "track_interface" => {
                let mut check = self.make("track_interface", &format!("interface-{name}"), place);
                check.original_name.clone_from(name);
                check.subject = Some(("interface", Located::new(Toml::String(name.clone()), place)));
                self.checks.push(check);
                self.checks.len() - 1
            }
            None => {
                report.left(
                    place,
                    directive,
                    format!("{name:?} is not defined, and keepalived ignores it; define it, or remove this"),
                );
                return None;
            }
        };
        let check = self.checks.get_mut(index)?;
        check.named = true;
        let own_weight = match options.first().map(String::as_str) {
            None => None,
            Some("weight") => options.get(1).and_then(|text| weight(text, place, report)),
            Some(other) => {
                report.left(
                    place,
                    directive,
                    format!("keepalived has no option {other:?}, and ignores the line; correct it"),
                );
                return None;
            }
        };
        let reverse = match options.get(2).map(String::as_str) {
            Some("reverse") => true,
            Some("noreverse" | "no_reverse") => false,
            _ => check.reverse,
        };
        if reverse {
            report.left(place, directive, REVERSE);
            return None;
        }
        let own_weight = match weightless {
            Some(why) if own_weight.unwrap_or(check.default_weight()) != 0 => {
                // An interface goes on to be tracked, as a fault, but not by an owner.
                if directive != "track_interface" || *why == AS_OWNER {
                    report.left(place, directive, format!("keepalived ignores what has a weight {why}; left out"));
                    return None;
                }
                report.left(place, directive, format!("keepalived ignores the weight {why}; 0 here, which is a fault"));
                Some(0)
            }
            _ => own_weight,
        };
        check.used = true;
        let name = Toml::String(check.name.clone());
        let reference = match own_weight {
            None => name,
            Some(weight) => Toml::Table(
                [("check".to_owned(), name), ("weight".to_owned(), Toml::Integer(weight))].into_iter().collect(),
            ),
        };
        Some(Located::new(reference, place))
    }

    /// `[[check]]`, of each that is used: keepalived runs no others.
    pub fn tables(self, global: &Global, report: &mut Report) -> Vec<Table> {
        let mut tables = Vec::new();
        for check in self.checks {
            if !check.named {
                report.left(
                    &check.place,
                    check.tracked_by,
                    format!("nobody tracks {:?}; remove it", check.original_name),
                );
            } else if !check.used {
                // Who names it has been told why not.
            } else if check.subject.is_none() {
                let advice = format!("{:?} has nothing to look at; complete it", check.original_name);
                report.left(&check.place, check.tracked_by, advice);
            } else {
                tables.push(check.table(global));
            }
        }
        tables
    }
}

impl Check {
    fn default_weight(&self) -> i64 {
        let default = i64::from(matches!(self.tracked_by, "track_process" | "track_file"));
        self.weight.as_ref().map_or(default, |weight| weight.value)
    }

    fn table(self, global: &Global) -> Table {
        let mut table = Table::new("[[check]]", &self.place);
        table.set("name", self.name.as_str(), &self.place);
        let Some((key, subject)) = self.subject.clone() else { return table };
        table.set(key, subject.value, &subject.place);
        if self.tracked_by == "track_script" {
            let interval = self.interval.as_ref().map_or(1_000_000, |interval| interval.value);
            match &self.interval {
                Some(it) => table.set("interval", duration(it.value), &it.place),
                None => table.choose("interval", "1s", "keepalived: no interval, so its default"),
            }
            match &self.timeout {
                Some(it) => table.set("timeout", duration(it.value), &it.place),
                None => table.choose("timeout", duration(interval), "keepalived: no timeout, so the interval"),
            }
            match &self.rise {
                Some(it) => table.set("rise", it.value, &it.place),
                None => table.choose("rise", 1, "keepalived: no rise, so its default"),
            }
            match &self.fall {
                Some(it) => table.set("fall", it.value, &it.place),
                None => table.choose("fall", 1, "keepalived: no fall, so its default"),
            }
            if let Some(user) = self.user.as_ref().or(global.script_user.as_ref()) {
                table.set("user", user.value.as_str(), &user.place);
            }
        }
        match &self.weight {
            Some(it) => table.set("weight", it.value, &it.place),
            None if self.default_weight() != 0 => {
                table.choose("weight", self.default_weight(), "keepalived: no weight, so its default");
            }
            None => {}
        }
        table
    }
}
