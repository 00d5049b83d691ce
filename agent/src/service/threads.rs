//! The two threads that serve: the election thread, and the address thread, which installs and keeps the addresses.

use anyhow::Context;
use tokio::sync::oneshot;
use xvrrp_dataplane::Tables;

use crate::addresses;
use crate::addresses::{AddressRequest, AddressThread, Placement, Statics};
use crate::election::{self, ElectionRequest, ElectionThread, Ending, Instance, Report};
use crate::identity::PerRouter;

/// The election thread and the address thread, which start together and end together.
#[derive(Debug)]
pub struct Threads {
    pub election: ElectionThread,
    pub addresses: AddressThread,
}

impl Threads {
    /// Starts both threads, and returns once the virtual routers that resume a role have advertised.
    ///
    /// # Errors
    /// One of the threads cannot be started.
    pub async fn start(
        tables: Tables,
        instances: PerRouter<Instance>,
        placements: PerRouter<Placement>,
        statics: Statics,
        realtime_priority: u8,
    ) -> anyhow::Result<Self> {
        let (addresses, standings) =
            addresses::spawn(placements, statics, realtime_priority).context("cannot start the address thread")?;
        let channels = (addresses.requests.clone(), standings);
        let election = match election::spawn(tables, instances, channels, realtime_priority) {
            Ok(election) => election,
            Err(error) => {
                let _ = addresses.requests.send(AddressRequest::Leave);
                return Err(error).context("cannot start the election thread");
            }
        };
        let (reply, started) = oneshot::channel();
        let _ = election.requests.send(ElectionRequest::Answer(reply));
        let _ = started.await;
        Ok(Self { election, addresses })
    }

    /// Sends a request to the election. Does nothing if the election has ended.
    pub fn send_to_election(&self, request: ElectionRequest) {
        let _ = self.election.requests.send(request);
    }

    /// Sends a request to the address thread.
    pub fn request(&self, request: AddressRequest) {
        let _ = self.addresses.requests.send(request);
    }

    /// Ends both threads because the start has failed. With `leaves`, the predecessor still waits, and roles and
    /// addresses are left to it.
    pub fn give_up(self, leaves: bool) {
        self.send_to_election(if leaves { ElectionRequest::Succession } else { ElectionRequest::Stop });
        let _ = self.election.join();
        self.addresses.join();
    }

    /// Waits for the next report of the election. Returns `None` once the election has ended, for whatever reason.
    pub async fn report(&mut self) -> Option<Report> {
        self.election.reports.recv().await
    }

    /// Waits for both threads to end and returns how the election ended. Awaits `before_addresses` after the end of the
    /// election thread and before that of the address thread.
    ///
    /// # Errors
    /// The election has ended with this error.
    pub async fn join(self, before_addresses: impl Future<Output = ()>) -> Result<Ending, election::ElectionError> {
        // The election thread returns the maps, which are therefore closed last.
        let (_tables, outcome) = self.election.join();
        before_addresses.await;
        self.addresses.join();
        outcome
    }
}
