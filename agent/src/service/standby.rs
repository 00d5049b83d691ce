//! Where the agent lets operators have their way: it leaves a role to another host, or takes part again.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use xvrrp_config::VirtualRouterConfig;

use crate::control::Answer;
use crate::election::Command;
use crate::identity::RouterIndex;
use crate::plan::Plan;

/// Where the agent lets operators have their way.
#[derive(Debug)]
pub struct Switch {
    routers: BTreeMap<String, Switched>,
    election: mpsc::UnboundedSender<Command>,
}

/// A virtual router with all of its families.
#[derive(Debug)]
struct Switched {
    /// Their numbers in the election.
    numbers: Vec<RouterIndex>,
    owner: bool,
    preempt: bool,
}

impl Switch {
    pub fn new(plans: &[Plan<'_>], election: mpsc::UnboundedSender<Command>) -> Self {
        let mut routers = BTreeMap::new();
        for Plan { index, config, .. } in plans {
            let VirtualRouterConfig { name, priority, preempt, .. } = config;
            let switched = || Switched { numbers: Vec::new(), owner: priority.is_owner(), preempt: *preempt };
            routers.entry(name.clone()).or_insert_with(switched).numbers.push(*index);
        }
        Self { routers, election }
    }

    /// Answers [`Request::StandBy`](crate::control::Request::StandBy).
    pub fn set(&self, name: &str, on: bool) -> Answer {
        let Some(router) = self.routers.get(name) else {
            return Answer::Refused { error: format!("no virtual router \"{name}\" takes part in an election") };
        };
        if router.owner {
            let error =
                format!("this host owns the addresses of \"{name}\" (priority 255), and so is Active while it can");
            return Answer::Refused { error };
        }
        // Once the election has ended, there is no role left.
        let _ = self.election.send(Command::StandBy { routers: router.numbers.clone(), on });
        Answer::StandingBy { standing_by: on, preempts: !on && router.preempt }
    }
}
