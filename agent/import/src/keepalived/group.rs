//! `vrrp_sync_group`.

use super::super::document::Table;
use super::super::names::Names;
use super::super::place::Located;
use super::super::report::Report;
use super::global::Global;
use super::instance::Instance;
use super::program::Programs;
use super::table::{Directives, Handling::*, apply};
use super::track::{IN_GROUP, Tracked};
use super::tree::Statement;

/// What a block says.
#[derive(Debug)]
pub(super) struct Group {
    name: Located<String>,
    /// By keepalived's names.
    members: Vec<Located<String>>,
    tracked: Vec<Tracked>,
    /// Whether members keep the weights of what they track by themselves.
    weights: bool,
    programs: Programs,
    alert: Option<Located<bool>>,
}

const DIRECTIVES: Directives<Group> = &[
    (
        "group",
        Take(|group, it, _| {
            group.members.extend(it.listed().map(|(name, place)| Located::new(name.to_owned(), place)));
        }),
    ),
    ("track_interface", Take(|group, it, _| group.tracked.extend(Tracked::read(it)))),
    ("track_script", Take(|group, it, _| group.tracked.extend(Tracked::read(it)))),
    ("track_process", Take(|group, it, _| group.tracked.extend(Tracked::read(it)))),
    ("track_file", Take(|group, it, _| group.tracked.extend(Tracked::read(it)))),
    ("track_bfd", Left(super::advice::BFD)),
    ("notify", Take(|group, it, report| group.programs.add(it, report))),
    ("notify_master", Take(|group, it, report| group.programs.add(it, report))),
    ("notify_backup", Take(|group, it, report| group.programs.add(it, report))),
    ("notify_fault", Take(|group, it, report| group.programs.add(it, report))),
    ("notify_stop", Take(|group, it, report| group.programs.add(it, report))),
    ("notify_priority_changes", Left("there is no FIFO; `xvrrp status` shows the priority")),
    (
        "smtp_alert",
        Take(|group, it, report| {
            group.alert = it.switch(report).map(|alert| Located::new(alert, &it.place));
        }),
    ),
    ("global_tracking", Take(|group, _, _| group.weights = true)),
    ("sync_group_tracking_weight", Take(|group, _, _| group.weights = true)),
];

/// All of them; what they track, each of their members tracks.
pub(super) fn read(statements: &[&Statement], instances: &mut [Instance], report: &mut Report) -> Vec<Group> {
    let mut names = Names::default();
    let mut groups = Vec::new();
    for statement in statements {
        let name = statement.value(report).unwrap_or_default();
        let mut group = Group {
            name: Located::new(names.claim(name), &statement.place),
            members: Vec::new(),
            tracked: Vec::new(),
            weights: false,
            programs: Programs::default(),
            alert: None,
        };
        apply(DIRECTIVES, &mut group, statement, report);
        for Located { value, place } in &mut group.members {
            match instances.iter_mut().find(|instance| instance.original_name == *value) {
                Some(instance) => {
                    if !group.weights {
                        instance.tracked.iter_mut().for_each(|tracked| tracked.weightless = Some(IN_GROUP));
                    }
                    instance.tracked.extend(group.tracked.iter().cloned());
                    value.clone_from(&instance.name);
                }
                None => report.left(
                    place,
                    "group",
                    format!("there is no vrrp_instance {value:?}; keepalived ignores it; remove it"),
                ),
            }
        }
        group.members.retain(|member| instances.iter().any(|instance| instance.name == member.value));
        groups.push(group);
    }
    groups
}

impl Group {
    /// `[[sync_group]]`
    pub fn table(self, global: &Global, report: &mut Report) -> Table {
        let place = &self.name.place;
        let mut table = Table::new("[[sync_group]]", place);
        table.set("name", self.name.value.as_str(), place);
        table.set_list("members", self.members);
        self.programs.write(&mut table, global, report);
        if let Some(alert) = self.alert.filter(|alert| alert.value) {
            global.report_alert(&alert, report);
        }
        table
    }
}
