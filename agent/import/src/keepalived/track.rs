//! Converts `vrrp_script`, `vrrp_track_process`, `track_file` and the references to them.

use toml::Value as Toml;

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::names::TakenNames;
use super::super::report::ImportReport;
use super::super::time::{duration, seconds};
use super::global::Global;
use super::table::{
    self, Directives,
    Handling::{Advise, Ignore, Read},
};
use super::tree::{Statement, command_words};

const REVERSE: &str = "is left out: reverse has no counterpart; invert the result of the check, or the weight";

/// A reference: a line of `track_script`, `track_interface`, `track_process` or `track_file`.
#[derive(Clone, Debug)]
pub(super) struct TrackReference {
    /// Keyword of the block.
    directive: String,
    name: String,
    options: Vec<String>,
    location: Location,
    /// Where keepalived ignores a weight: [`IN_GROUP`] or [`AS_OWNER`].
    pub weightless: Option<&'static str>,
}

/// keepalived ignores the weights that members of such a group track.
pub(super) const IN_GROUP: &str = "in a vrrp_sync_group without sync_group_tracking_weight";
/// keepalived ignores the weights that an owner tracks.
pub(super) const AS_OWNER: &str = "at priority 255";

impl TrackReference {
    /// Reads the lines of a block.
    pub fn read(block: &Statement) -> Vec<Self> {
        let line = |line: &Statement| Self {
            directive: block.keyword.clone(),
            name: line.keyword.clone(),
            options: line.words.clone(),
            location: line.location.clone(),
            weightless: None,
        };
        block.statements().iter().map(line).collect()
    }
}

/// A check.
#[derive(Debug)]
struct Check {
    /// Keyword of the blocks that refer to it: `track_script`.
    tracked_by: &'static str,
    original_name: String,
    /// Name in the result.
    name: String,
    location: Location,
    /// Key that says what is checked, and its value.
    subject: Option<(&'static str, Located<Toml>)>,
    /// In microseconds.
    interval: Option<Located<u64>>,
    /// In microseconds.
    timeout: Option<Located<u64>>,
    rise: Option<Located<u32>>,
    fall: Option<Located<u32>>,
    user: Option<Located<String>>,
    weight: Option<Located<i64>>,
    /// Whether the result is inverted.
    reverse: bool,
    /// Whether the original refers to it.
    named: bool,
    /// Whether the result refers to it.
    used: bool,
}

/// All checks: those that the original defines, and those of tracked interfaces.
#[derive(Debug, Default)]
pub(super) struct ImportedChecks {
    checks: Vec<Check>,
    names: TakenNames,
}

const SCRIPT: Directives<Check> = &[
    (
        "script",
        Read(|check, it, report| {
            let words = command_words(&it.text).unwrap_or_default();
            let command = words.get(1).and_then(|command| command_words(command)).filter(|words| !words.is_empty());
            match command {
                Some(command) => {
                    let command = Toml::Array(command.into_iter().map(Toml::String).collect());
                    check.subject = Some(("script", Located::new(command, &it.location)));
                }
                None => report.add(&it.location, "script", "has no program, or an unpaired quote; correct it"),
            }
            if words.len() > 2 {
                report.add(
                    &it.location,
                    "script",
                    "keepalived uses one word, and ignores what follows; put the whole command in quotes",
                );
            }
        }),
    ),
    ("interval", Read(|check, it, report| check.interval = period(it, report))),
    ("timeout", Read(|check, it, report| check.timeout = period(it, report))),
    ("rise", Read(|check, it, report| check.rise = count(it, report))),
    ("fall", Read(|check, it, report| check.fall = count(it, report))),
    ("weight", Read(set_weight)),
    (
        "user",
        Read(|check, it, report| {
            check.user = it.value(report).map(|user| Located::new(user.to_owned(), &it.location));
            if let Some(group) = it.word(1) {
                report.add(
                    &it.location,
                    "user",
                    format!("the script runs with the group of the user, not with {group}; use sg(1) in the script"),
                );
            }
        }),
    ),
    // A virtual router does not take part in elections before the first result of the check.
    ("init_fail", Ignore),
];

const PROCESS: Directives<Check> = &[
    (
        "process",
        Read(|check, it, report| {
            let name = it.value(report).map(|name| Toml::String(name.to_owned()));
            check.subject = name.map(|name| ("process", Located::new(name, &it.location)));
            if it.words.len() > 1 {
                report.add(
                    &it.location,
                    "process",
                    "a process is found only by its name; use a pid_file, or a script with pgrep -f",
                );
            }
        }),
    ),
    ("weight", Read(set_weight)),
    (
        "quorum",
        Read(|_, it, report| {
            if it.number(1..=65_535, report).is_some_and(|quorum| quorum > 1) {
                report.add(&it.location, "quorum", "one process is enough; use a script with pgrep -c");
            }
        }),
    ),
    ("quorum_max", Advise("any number of processes is accepted; use a script with pgrep -c")),
    ("delay", Advise("has no counterpart; use rise and fall")),
    ("fork_delay", Advise("has no counterpart; use rise")),
    ("terminate_delay", Advise("has no counterpart; use fall")),
    ("full_command", Advise("a process is found only by its name; use a pid_file, or a script with pgrep -f")),
    ("param_match", Advise("a process is found only by its name; use a pid_file, or a script with pgrep -f")),
];

const FILE: Directives<Check> = &[
    (
        "file",
        Read(|check, it, report| {
            let path = it.value(report).map(|path| Toml::String(path.to_owned()));
            check.subject = path.map(|path| ("file", Located::new(path, &it.location)));
        }),
    ),
    ("weight", Read(set_weight)),
    ("init_file", Advise("xvrrp does not create the file; let the service or systemd-tmpfiles write it")),
];

/// Reads seconds, with a fraction as in later versions of keepalived. 0 means 1 s. Returns microseconds.
fn period(it: &Statement, report: &mut ImportReport) -> Option<Located<u64>> {
    let text = it.value(report)?;
    let micros = seconds(text).map(|micros| if micros == 0 { 1_000_000 } else { micros });
    if micros.is_none() {
        let advice = format!("{text:?} is not a number of seconds, so keepalived ignores it; correct it");
        report.add(&it.location, &it.keyword, advice);
    }
    micros.map(|micros| Located::new(micros, &it.location))
}

fn count(it: &Statement, report: &mut ImportReport) -> Option<Located<u32>> {
    it.number(1..=u32::from(u16::MAX), report).map(|count| Located::new(count, &it.location))
}

fn set_weight(check: &mut Check, it: &Statement, report: &mut ImportReport) {
    check.weight =
        it.value(report).and_then(|text| weight(text, &it.location, report)).map(|w| Located::new(w, &it.location));
    check.reverse = it.word(1) == Some("reverse");
}

/// Parses a weight from -253 to 253, or reports it. keepalived treats 254 as 253.
fn weight(text: &str, location: &Location, report: &mut ImportReport) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(weight) if (-254..=254).contains(&weight) => Some(weight.clamp(-253, 253)),
        _ => {
            report.add(
                location,
                "weight",
                format!("{text:?} is not a number from -253 to 253, so keepalived ignores it; correct it"),
            );
            None
        }
    }
}

impl ImportedChecks {
    /// Reads a block that defines a check.
    pub fn define(&mut self, statement: &Statement, report: &mut ImportReport) {
        let (tracked_by, directives) = match statement.keyword.as_str() {
            "vrrp_script" => ("track_script", SCRIPT),
            "vrrp_track_process" => ("track_process", PROCESS),
            _ => ("track_file", FILE),
        };
        let Some(name) = statement.value(report) else { return };
        let mut check = self.make(tracked_by, name, &statement.location);
        table::apply(directives, &mut check, statement, report);
        self.checks.push(check);
    }

    /// Returns a check without directives, with a name that xvrrp accepts.
    fn make(&mut self, tracked_by: &'static str, name: &str, location: &Location) -> Check {
        Check {
            tracked_by,
            original_name: name.to_owned(),
            name: self.names.claim(name),
            location: location.clone(),
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

    /// Adds `track` of a virtual router.
    pub fn write(&mut self, tracked: &[TrackReference], table: &mut Table, report: &mut ImportReport) {
        let references = tracked.iter().filter_map(|tracked| self.refer(tracked, report)).collect();
        table.set_list("track", references);
    }

    /// Converts a reference, or reports it.
    fn refer(&mut self, tracked: &TrackReference, report: &mut ImportReport) -> Option<Located<Toml>> {
        let TrackReference { directive, name, options, location, weightless } = tracked;
        let Some(index) = self.find(tracked) else {
            let advice = format!("{name:?} is not defined, so keepalived ignores it; define it, or remove this");
            report.add(location, directive, advice);
            return None;
        };
        let check = self.checks.get_mut(index)?;
        check.named = true;
        let own_weight = match options.first().map(String::as_str) {
            None => None,
            Some("weight") => options.get(1).and_then(|text| weight(text, location, report)),
            Some(other) => {
                let advice = format!("keepalived has no option {other:?}, so it ignores the line; correct it");
                report.add(location, directive, advice);
                return None;
            }
        };
        let reverse = match options.get(2).map(String::as_str) {
            Some("reverse") => true,
            Some("noreverse" | "no_reverse") => false,
            _ => check.reverse,
        };
        if reverse {
            report.add(location, directive, REVERSE);
            return None;
        }
        let own_weight = match weightless {
            Some(why) if own_weight.unwrap_or(check.default_weight()) != 0 => {
                // keepalived still tracks an interface, whose failure is then a fault, but not for an owner.
                if directive != "track_interface" || *why == AS_OWNER {
                    let advice = format!("is left out: keepalived ignores a check with a weight {why}");
                    report.add(location, directive, advice);
                    return None;
                }
                let advice = format!("keepalived ignores the weight {why}; it becomes 0, so that a failure is a fault");
                report.add(location, directive, advice);
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
        Some(Located::new(reference, location))
    }

    /// Returns the position of the check that a reference names. Adds a check for an interface that is not tracked yet.
    fn find(&mut self, tracked: &TrackReference) -> Option<usize> {
        let TrackReference { directive, name, location, .. } = tracked;
        let found = self.checks.iter().position(|check| check.tracked_by == directive && check.original_name == *name);
        if found.is_some() || directive != "track_interface" {
            return found;
        }
        let mut check = self.make("track_interface", &format!("interface-{name}"), location);
        check.original_name.clone_from(name);
        check.subject = Some(("interface", Located::new(Toml::String(name.clone()), location)));
        self.checks.push(check);
        Some(self.checks.len() - 1)
    }

    /// Makes a `[[check]]` of each check that the result refers to. keepalived does not run others either.
    pub fn tables(self, global: &Global, report: &mut ImportReport) -> Vec<Table> {
        let mut tables = Vec::new();
        for check in self.checks {
            if !check.named {
                report.add(
                    &check.location,
                    check.tracked_by,
                    format!("{:?} is not tracked; remove it", check.original_name),
                );
            } else if !check.used {
                // The reference has been reported.
            } else if check.subject.is_none() {
                let advice = format!("{:?} does not say what to check; complete it", check.original_name);
                report.add(&check.location, check.tracked_by, advice);
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
        let mut table = Table::new("[[check]]", &self.location);
        table.set("name", self.name.as_str(), &self.location);
        let Some((key, subject)) = self.subject.clone() else { return table };
        table.set(key, subject.value, &subject.location);
        if self.tracked_by == "track_script" {
            let interval = self.interval.as_ref().map_or(1_000_000, |interval| interval.value);
            match &self.interval {
                Some(it) => table.set("interval", duration(it.value), &it.location),
                None => table.choose("interval", "1s", "keepalived: no interval, so its default"),
            }
            match &self.timeout {
                Some(it) => table.set("timeout", duration(it.value), &it.location),
                None => table.choose("timeout", duration(interval), "keepalived: no timeout, so the interval"),
            }
            match &self.rise {
                Some(it) => table.set("rise", it.value, &it.location),
                None => table.choose("rise", 1, "keepalived: no rise, so its default"),
            }
            match &self.fall {
                Some(it) => table.set("fall", it.value, &it.location),
                None => table.choose("fall", 1, "keepalived: no fall, so its default"),
            }
            if let Some(user) = self.user.as_ref().or(global.script_user.as_ref()) {
                table.set("user", user.value.as_str(), &user.location);
            }
        }
        match &self.weight {
            Some(it) => table.set("weight", it.value, &it.location),
            None if self.default_weight() != 0 => {
                table.choose("weight", self.default_weight(), "keepalived: no weight, so its default");
            }
            None => {}
        }
        table
    }
}
