//! Passes the operator's request to leave a role to another host, or to take part again, to the election, unless this
//! host owns the addresses.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use xvrrp_config::VirtualRouterConfig;

use crate::control::Answer;
use crate::election::ElectionRequest;
use crate::identity::RouterIndex;
use crate::plan::Plan;

/// Puts virtual routers into standby and takes them out of it. Whether a router stands by is decided in its state
/// machine, `vrrp/src/router/handover.rs`.
#[derive(Debug)]
pub struct Handovers {
    routers: BTreeMap<String, Candidate>,
    election: mpsc::UnboundedSender<ElectionRequest>,
}

/// A virtual router with all of its families.
#[derive(Debug)]
struct Candidate {
    /// Numbers of the families in the election.
    numbers: Vec<RouterIndex>,
    owner: bool,
    /// Whether it preempts, and all members of its sync group do.
    preempt: bool,
}

impl Handovers {
    /// Accepts requests for these virtual routers.
    pub fn new(plans: &[Plan<'_>], election: mpsc::UnboundedSender<ElectionRequest>) -> Self {
        let mut routers = BTreeMap::new();
        let members = plans.iter().filter(|plan| !plan.config.preempt);
        let unwilling: BTreeSet<_> = members.filter_map(|plan| plan.config.sync_group).collect();
        for Plan { index, config, .. } in plans {
            let VirtualRouterConfig { name, priority, preempt, sync_group, .. } = config;
            let preempt = *preempt && sync_group.is_none_or(|group| !unwilling.contains(&group));
            let candidate = || Candidate { numbers: Vec::new(), owner: priority.is_owner(), preempt };
            routers.entry(name.clone()).or_insert_with(candidate).numbers.push(*index);
        }
        Self { routers, election }
    }

    /// Carries out a [`Request::StandBy`](crate::control::Request::StandBy) and returns the answer.
    pub fn set(&self, name: &str, on: bool) -> Answer {
        let Some(router) = self.routers.get(name) else {
            return Answer::Refused { error: format!("no virtual router \"{name}\" takes part in an election") };
        };
        if router.owner {
            let error = format!(
                "this host owns the addresses of \"{name}\" (priority 255), so it is Active whenever it can be"
            );
            return Answer::Refused { error };
        }
        // If the election has ended, there is no role left to give up.
        let _ = self.election.send(ElectionRequest::StandBy { routers: router.numbers.clone(), on });
        Answer::StandingBy { standing_by: on, preempts: !on && router.preempt }
    }
}
