//! Reads `vrrp_sync_group`.

use super::super::document::Table;
use super::super::location::Located;
use super::super::names::TakenNames;
use super::super::report::ImportReport;
use super::global::Global;
use super::instance::InstanceDirectives;
use super::program::Programs;
use super::table::{
    Directives,
    Handling::{Advise, Read},
    apply,
};
use super::track::{ImportedChecks, TrackReference, Weightless};
use super::tree::Statement;

/// Directives of a block.
#[derive(Debug)]
pub(super) struct GroupDirectives {
    name: Located<String>,
    /// Names of the members in keepalived's configuration.
    members: Vec<Located<String>>,
    tracked: Vec<TrackReference>,
    /// Whether members keep the weights of the checks that they track themselves.
    weights: bool,
    programs: Programs,
    /// For members that do not say themselves.
    priority_changes: Option<Located<bool>>,
    alert: Option<Located<bool>>,
}

/// Words in a block.
pub(super) const DIRECTIVES: Directives<GroupDirectives> = &[
    (
        "group",
        Read(|group, it, _| {
            group.members.extend(it.listed().map(|(name, location)| Located::new(name.to_owned(), location)));
        }),
    ),
    ("track_interface", Read(|group, it, _| group.tracked.extend(TrackReference::read(it)))),
    ("track_script", Read(|group, it, _| group.tracked.extend(TrackReference::read(it)))),
    ("track_process", Read(|group, it, _| group.tracked.extend(TrackReference::read(it)))),
    ("track_file", Read(|group, it, _| group.tracked.extend(TrackReference::read(it)))),
    ("track_bfd", Advise(super::advice::BFD)),
    ("notify", Read(|group, it, report| group.programs.add(it, report))),
    ("notify_master", Read(|group, it, report| group.programs.add(it, report))),
    ("notify_backup", Read(|group, it, report| group.programs.add(it, report))),
    ("notify_fault", Read(|group, it, report| group.programs.add(it, report))),
    ("notify_stop", Read(|group, it, report| group.programs.add(it, report))),
    (
        "notify_priority_changes",
        Read(|group, it, report| {
            group.priority_changes = it.switch(report).map(|on| Located::new(on, &it.location));
        }),
    ),
    (
        "smtp_alert",
        Read(|group, it, report| {
            group.alert = it.switch(report).map(|alert| Located::new(alert, &it.location));
        }),
    ),
    ("global_tracking", Read(|group, _, _| group.weights = true)),
    ("sync_group_tracking_weight", Read(|group, _, _| group.weights = true)),
];

/// Reads all groups, with what that means for their members.
pub(super) fn read(
    statements: &[&Statement],
    instances: &mut [InstanceDirectives],
    report: &mut ImportReport,
) -> Vec<GroupDirectives> {
    let mut names = TakenNames::default();
    let mut groups = Vec::new();
    for statement in statements {
        let name = statement.value(report).unwrap_or_default();
        let mut group = GroupDirectives {
            name: Located::new(names.claim(name), &statement.location),
            members: Vec::new(),
            tracked: Vec::new(),
            weights: false,
            programs: Programs::default(),
            priority_changes: None,
            alert: None,
        };
        apply(DIRECTIVES, &mut group, statement, report);
        for Located { value, location } in &mut group.members {
            match instances.iter_mut().find(|instance| instance.original_name == *value) {
                Some(instance) => {
                    if !group.weights {
                        for tracked in &mut instance.tracked {
                            tracked.weightless = Some(Weightless::Member);
                        }
                    }
                    if instance.is_owner() {
                        for tracked in &mut group.tracked {
                            tracked.weightless = Some(Weightless::GroupOfOwner);
                        }
                    }
                    if instance.priority_changes.is_none() {
                        instance.priority_changes.clone_from(&group.priority_changes);
                    }
                    value.clone_from(&instance.name);
                }
                None => report.changed(
                    location,
                    "group",
                    format!("there is no vrrp_instance {value:?}, so keepalived ignores it; remove it"),
                ),
            }
        }
        group.members.retain(|member| instances.iter().any(|instance| instance.name == member.value));
        if group.members.is_empty() {
            let advice = format!("{name:?} has no members, so keepalived ignores it; list them in group");
            report.changed(&statement.location, "vrrp_sync_group", advice);
            continue;
        }
        groups.push(group);
    }
    groups
}

impl GroupDirectives {
    /// Returns its notify scripts.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Returns its `smtp_alert`.
    pub fn alert(&self) -> Option<&Located<bool>> {
        self.alert.as_ref()
    }

    /// Makes the table `[[sync_group]]`. `has_mail` says whether the result has a `[mail]`.
    pub fn table(
        self,
        global: &Global,
        has_mail: bool,
        checks: &mut ImportedChecks,
        report: &mut ImportReport,
    ) -> Table {
        let location = &self.name.location;
        let mut table = Table::new("[[sync_group]]", location);
        table.set("name", self.name.value.as_str(), location);
        table.set_list("members", self.members);
        checks.write(&self.tracked, &mut table, report);
        self.programs.write(&mut table);
        if has_mail {
            global.write_group_alert(self.alert.as_ref(), &mut table);
        }
        table
    }
}
