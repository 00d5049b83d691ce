//! Converts `vrrp_script`, `vrrp_track_process`, `track_file` and the references to them.

use toml::Value as Toml;

use super::super::document::Table;
use super::super::location::{Located, Location};
use super::super::names::TakenNames;
use super::super::report::ImportReport;
use super::super::time::{duration, seconds};
use super::command::{self, Command};
use super::process::Processes;
use super::table::{
    self, Directives,
    Handling::{Note, Read},
};
use super::tree::Statement;

/// A reference: a line of `track_script`, `track_interface`, `track_process` or `track_file`.
#[derive(Clone, Debug)]
pub(super) struct TrackReference {
    /// Keyword of the block.
    directive: String,
    name: String,
    options: Vec<String>,
    location: Location,
    /// Why keepalived does not take the weight as it is.
    pub weightless: Option<Weightless>,
}

/// Where keepalived ignores weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weightless {
    /// In a member of a group without `sync_group_tracking_weight`.
    Member,
    /// In a group that has an owner as a member.
    GroupOfOwner,
    /// In an owner.
    Owner,
}

impl Weightless {
    fn place(self) -> &'static str {
        match self {
            Self::Member => "in a vrrp_sync_group without sync_group_tracking_weight",
            Self::GroupOfOwner => "in a vrrp_sync_group with a member of priority 255",
            Self::Owner => "at priority 255",
        }
    }

    /// Returns the weight that keepalived uses instead of this one; `None` if it ignores the check.
    fn apply(self, directive: &str, weight: i64) -> Option<i64> {
        match (self, directive) {
            (_, _) if weight == 0 => Some(0),
            (Self::GroupOfOwner, _) | (Self::Member, "track_interface") => Some(0),
            // 1 is the weight of a file that has none.
            (_, "track_file") if weight == 1 => Some(0),
            (Self::Member, "track_process") => Some(weight),
            (Self::Member | Self::Owner, _) => None,
        }
    }
}

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
pub(super) struct Check {
    /// Keyword of the blocks that refer to it: `track_script`.
    tracked_by: &'static str,
    original_name: String,
    /// Name in the result.
    name: String,
    location: Location,
    /// Key that says what is checked, and its value.
    subject: Option<(&'static str, Located<Toml>)>,
    /// Whether a line has been reported because of which keepalived ignores the check.
    ignored: bool,
    /// What a `vrrp_track_process` counts.
    processes: Processes,
    /// What a file holds from the start, and whether that overwrites it.
    initial_number: Option<Located<(i32, bool)>>,
    /// In microseconds.
    interval: Option<Located<u64>>,
    /// In microseconds.
    timeout: Option<Located<u64>>,
    rise: Option<Located<u32>>,
    fall: Option<Located<u32>>,
    user: Option<Located<String>>,
    weight: Option<Located<i64>>,
    /// Line that reverses the weight.
    reverse: Option<Location>,
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

pub(super) const SCRIPT: Directives<Check> = &[
    (
        "script",
        Read(|check, it, report| {
            let Some(Command { value, rest }) = command::read(it, report) else {
                check.ignored = true;
                return;
            };
            check.subject = Some(("script", Located::new(value, &it.location)));
            if !rest.is_empty() {
                report.note(
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
            if it.value(report).is_some() {
                check.user = command::user(&it.words).map(|user| Located::new(user, &it.location));
            }
        }),
    ),
    ("init_fail", Note("once a script is tracked, keepalived waits for its first result all the same, as xvrrp does")),
];

pub(super) const PROCESS: Directives<Check> = &[
    ("process", Read(|check, it, report| check.processes.set_process(it, report))),
    ("weight", Read(set_weight)),
    ("quorum", Read(|check, it, report| check.processes.set_quorum(it, report))),
    ("quorum_max", Read(|check, it, report| check.processes.set_quorum_max(it, report))),
    ("delay", Read(|check, it, report| check.processes.set_delay(it, report))),
    ("fork_delay", Read(|check, it, report| check.processes.set_fork_delay(it, report))),
    ("terminate_delay", Read(|check, it, report| check.processes.set_terminate_delay(it, report))),
    ("full_command", Read(|check, _, _| check.processes.set_full_command())),
    ("param_match", Read(|check, it, report| check.processes.set_matching(it, report))),
];

pub(super) const FILE: Directives<Check> = &[
    (
        "file",
        Read(|check, it, report| {
            let path = it.value(report).map(|path| Toml::String(path.to_owned()));
            check.subject = path.map(|path| ("file", Located::new(path, &it.location)));
        }),
    ),
    ("weight", Read(set_weight)),
    ("init_file", Read(set_initial_number)),
];

/// Reads `init_file`: a number, 0 if there is none, and whether it overwrites an existing file.
fn set_initial_number(check: &mut Check, it: &Statement, report: &mut ImportReport) {
    let (mut value, mut overwrite) = (0, false);
    for word in &it.words {
        if word == "overwrite" {
            overwrite = true;
        } else if let Ok(number) = word.parse::<i32>() {
            value = number;
        } else {
            let advice =
                format!("{word:?} is neither a number nor \"overwrite\", so keepalived ignores it; correct it");
            report.note(&it.location, "init_file", advice);
        }
    }
    check.initial_number = Some(Located::new((value, overwrite), &it.location));
}

/// Reads seconds, with a fraction as in later versions of keepalived. 0 means 1 s. Returns microseconds.
fn period(it: &Statement, report: &mut ImportReport) -> Option<Located<u64>> {
    let text = it.value(report)?;
    let micros = seconds(text).map(|micros| if micros == 0 { 1_000_000 } else { micros });
    if micros.is_none() {
        let advice = format!("{text:?} is not a number of seconds, so keepalived ignores it; correct it");
        report.note(&it.location, &it.keyword, advice);
    }
    micros.map(|micros| Located::new(micros, &it.location))
}

fn count(it: &Statement, report: &mut ImportReport) -> Option<Located<u32>> {
    it.number(1..=u32::from(u16::MAX), report).map(|count| Located::new(count, &it.location))
}

fn set_weight(check: &mut Check, it: &Statement, report: &mut ImportReport) {
    check.weight =
        it.value(report).and_then(|text| weight(text, &it.location, report)).map(|w| Located::new(w, &it.location));
    check.reverse = (it.word(1) == Some("reverse")).then(|| it.location.clone());
    if let Some(other) = it.word(1).filter(|word| *word != "reverse") {
        let advice = format!("keepalived has no option {other:?} of a weight, so it ignores that; correct it");
        report.note(&it.location, "weight", advice);
    }
}

/// Parses a weight from -253 to 253, or reports it. keepalived treats 254 as 253.
fn weight(text: &str, location: &Location, report: &mut ImportReport) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(weight) if (-254..=254).contains(&weight) => Some(weight.clamp(-253, 253)),
        _ => {
            report.note(
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
        if let Some(processes) = check.processes.subject() {
            check.subject = Some(("process", processes));
        }
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
            ignored: false,
            processes: Processes::default(),
            initial_number: None,
            interval: None,
            timeout: None,
            rise: None,
            fall: None,
            user: None,
            weight: None,
            reverse: None,
            named: false,
            used: false,
        }
    }

    /// Returns whether a check runs a script.
    pub fn have_scripts(&self) -> bool {
        self.checks.iter().any(|check| check.tracked_by == "track_script")
    }

    /// Adds `track` of a virtual router or a group.
    pub fn write(&mut self, tracked: &[TrackReference], table: &mut Table, report: &mut ImportReport) {
        let references = tracked.iter().filter_map(|tracked| self.refer(tracked, report)).collect();
        table.set_list("track", references);
    }

    /// Converts a reference, or reports it.
    fn refer(&mut self, tracked: &TrackReference, report: &mut ImportReport) -> Option<Located<Toml>> {
        let TrackReference { directive, name, options, location, weightless } = tracked;
        let Some(index) = self.find(tracked) else {
            let advice = format!("{name:?} is not defined, so keepalived ignores it; define it, or remove this");
            report.changed(location, directive, advice);
            return None;
        };
        let check = self.checks.get_mut(index)?;
        check.named = true;
        // keepalived does not know such a check. Its definition is reported.
        check.subject.as_ref()?;
        let own_weight = match options.first().map(String::as_str) {
            None => None,
            Some("weight") if options.len() > 1 => options.get(1).and_then(|text| weight(text, location, report)),
            Some("weight") => {
                let advice = "the weight has no value, so keepalived ignores the line; correct it";
                report.changed(location, directive, advice);
                return None;
            }
            Some(other) => {
                let advice = format!("keepalived has no option {other:?}, so it ignores the line; correct it");
                report.changed(location, directive, advice);
                return None;
            }
        };
        let reverse = match options.get(2).map(String::as_str) {
            Some("reverse") => Some(true),
            Some("noreverse") => Some(false),
            Some(other) => {
                let advice = format!("keepalived has no option {other:?} of a weight, so it ignores that; correct it");
                report.note(location, directive, advice);
                None
            }
            None => None,
        };
        let configured = own_weight.unwrap_or(check.default_weight());
        let own_weight = match weightless.map(|why| (why, why.apply(directive, configured))) {
            Some((why, None)) => {
                let advice = format!("keepalived ignores a check with a weight {}", why.place());
                report.note(location, directive, advice);
                return None;
            }
            Some((why, Some(weight))) if weight != configured => {
                let place = why.place();
                let advice =
                    format!("keepalived ignores the weight {place}; it becomes 0, so that a failure is a fault");
                report.note(location, directive, advice);
                Some(weight)
            }
            _ => own_weight,
        };
        check.used = true;
        let name = Toml::String(check.name.clone());
        let weight = own_weight.map(|weight| ("weight", Toml::Integer(weight)));
        let reverse = reverse.map(|reverse| ("reverse", Toml::Boolean(reverse)));
        let own: Vec<_> = weight.into_iter().chain(reverse).collect();
        let reference = if own.is_empty() {
            name
        } else {
            Toml::Table([("check", name)].into_iter().chain(own).map(|(key, value)| (key.to_owned(), value)).collect())
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
    pub fn tables(self, report: &mut ImportReport) -> Vec<Table> {
        let mut tables = Vec::new();
        for check in self.checks {
            if !check.named {
                report.note(
                    &check.location,
                    check.tracked_by,
                    format!("{:?} is not tracked, so keepalived does not use it either", check.original_name),
                );
            } else if check.subject.is_none() && check.ignored {
                // That line has been reported.
            } else if check.subject.is_none() {
                let advice = format!(
                    "{:?} does not say what to check, so keepalived ignores it and the lines that track it; complete it",
                    check.original_name
                );
                report.changed(&check.location, check.tracked_by, advice);
            } else if !check.used {
                // The reference has been reported.
            } else {
                tables.push(check.table());
            }
        }
        tables
    }
}

impl Check {
    fn default_weight(&self) -> i64 {
        let default = i64::from(self.tracked_by == "track_file");
        self.weight.as_ref().map_or(default, |weight| weight.value)
    }

    fn table(self) -> Table {
        let mut table = Table::new("[[check]]", &self.location);
        table.set("name", self.name.as_str(), &self.location);
        let Some((key, subject)) = self.subject.clone() else { return table };
        table.set(key, subject.value, &subject.location);
        self.processes.write(&mut table);
        if let Some(Located { value: (value, overwrite), location }) = &self.initial_number {
            table.set("initial_value", i64::from(*value), location);
            if *overwrite {
                table.set("overwrite", true, location);
            }
        }
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
            if let Some(user) = &self.user {
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
        if let Some(location) = &self.reverse {
            table.set("reverse", true, location);
        }
        table
    }
}
