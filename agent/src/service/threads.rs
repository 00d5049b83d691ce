//! The two threads that serve: the election, and the one that installs and keeps the addresses.

use anyhow::Context;
use tokio::sync::oneshot;
use xvrrp_dataplane::Tables;

use crate::addresses;
use crate::addresses::Placement;
use crate::election::{self, Command, Ending, Instance, Report};
use crate::identity::PerRouter;

/// Both threads, which start together and end together.
#[derive(Debug)]
pub struct Threads {
    pub election: election::Handle,
    pub addresses: addresses::Handle,
}

impl Threads {
    /// Starts both, and returns once the virtual routers that resume a role have advertised.
    pub async fn start(
        tables: Tables,
        instances: PerRouter<Instance>,
        placements: PerRouter<Placement>,
        realtime_priority: u8,
    ) -> anyhow::Result<Self> {
        let (addresses, standings) =
            addresses::spawn(placements, realtime_priority).context("cannot start the address thread")?;
        let hands = (addresses.requests.clone(), standings);
        let election = match election::spawn(tables, instances, hands, realtime_priority) {
            Ok(election) => election,
            Err(error) => {
                let _ = addresses.requests.send(addresses::Request::Leave);
                return Err(error).context("cannot start the election thread");
            }
        };
        let (reply, started) = oneshot::channel();
        let _ = election.commands.send(Command::Answer(reply));
        let _ = started.await;
        Ok(Self { election, addresses })
    }

    /// Sends a command to the election. One that has ended needs none.
    pub fn command(&self, command: Command) {
        let _ = self.election.commands.send(command);
    }

    /// Sends a request to the address thread.
    pub fn request(&self, request: addresses::Request) {
        let _ = self.addresses.requests.send(request);
    }

    /// Ends both where the agent cannot start after all. With `leaves`, the predecessor still waits: roles and addresses are
    /// left to it.
    pub fn give_up(self, leaves: bool) {
        self.command(if leaves { Command::HandOver } else { Command::Stop });
        let _ = self.election.join();
        self.addresses.join();
    }

    /// The next report of the election; `None` once it has ended, whether it was asked to or not.
    pub async fn report(&mut self) -> Option<Report> {
        self.election.reports.recv().await
    }

    /// Waits for both to end, and returns how the election did. `before_addresses` is carried out between the two.
    pub async fn join(self, before_addresses: impl Future<Output = ()>) -> Result<Ending, election::ElectionError> {
        // The maps are closed last: the election's thread hands them back.
        let (_tables, outcome) = self.election.join();
        before_addresses.await;
        self.addresses.join();
        outcome
    }
}
