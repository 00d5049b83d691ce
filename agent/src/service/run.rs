//! Event loop of a running agent, with one short method for each kind of event.

use xvrrp_net::LinkNews;

use super::{Service, supervisor};
use crate::addresses::AddressRequest;
use crate::election::{ElectionRequest, Report};
use crate::process::signals::ReceivedSignal;
use crate::succession::departure::ExitRequest;

impl Service<'_> {
    /// Serves until the election has ended (`None`), or until the agent is asked to leave everything to a successor.
    pub async fn run(&mut self) -> Option<ExitRequest> {
        loop {
            tokio::select! {
                report = self.threads.report() => match report {
                    Some(report) => self.reported(&report),
                    None => return None,
                },
                news = self.links.next(), if self.links_are_watched => self.link_changed(news),
                () = self.interface_watch.due() => self.compare_interfaces().await,
                received = self.signals.next() => self.signalled(received),
                // This channel is never closed, because `departure` has a sender.
                Some(request) = self.exit_requests.recv() => return Some(request),
                verdicts = self.tracker.next() => self.threads.send_to_election(ElectionRequest::Track(verdicts)),
                Some(reply) = self.heartbeats.recv() => drop(reply.send(())),
                _ = self.discard_check.tick() => self.reporter.report_discards(),
                () = self.attachment_watch.tick() => self.check_attachments().await,
                _ = &mut self.farewell, if !self.farewell.is_terminated() => self.notifications.report_removed(),
            }
        }
    }

    /// Logs what the election reports, and sends notifications of a change of state.
    pub(super) fn reported(&mut self, report: &Report) {
        self.reporter.report(report);
        let place = |router| self.plans.get(router).map(|plan| plan.place);
        match report {
            Report::Transition { router, transition } => {
                if let Some(place) = place(*router) {
                    self.notifications.transition(place, transition);
                }
            }
            Report::LowerPriority { router, priority } => {
                if let Some(place) = place(*router) {
                    self.notifications.lower_priority(place, priority.get());
                }
            }
            Report::Priority { router, is_active, priority } => {
                if let Some(place) = place(*router) {
                    self.notifications.priority(place, *is_active, priority.get());
                }
            }
            Report::Problem { .. } | Report::Conflict { .. } | Report::NotRealtime { .. } => {}
        }
    }

    fn link_changed(&mut self, news: Option<LinkNews>) {
        let Some(news) = news else {
            self.links_are_watched = false;
            tracing::error!("the kernel's link notifications have ended: this agent no longer notices a lost carrier");
            return;
        };
        self.interface_watch.note(&news);
        match news {
            LinkNews::Change(_) => self.extend_fence(),
            LinkNews::Missed => {
                self.links_were_missed = true;
                self.extend_fence();
            }
            LinkNews::Addresses => {}
        }
    }

    /// Puts the fence on interfaces that lack it.
    fn extend_fence(&self) {
        if let Some(fence) = &self.fence {
            fence.note();
        }
    }

    /// Restarts the agent if an interface is no longer what the agent was started with.
    async fn compare_interfaces(&mut self) {
        let Ok(now) = self.netlink.interfaces().await else {
            self.interface_watch.look_again();
            return;
        };
        match self.interface_watch.difference(self.config, &now) {
            Some(reason) => drop(tokio::spawn(self.departure.clone().restart(reason, self.config.text.clone()))),
            None if self.interface_watch.are_settled() => self.threads.request(AddressRequest::Restore),
            None => {}
        }
    }

    fn signalled(&mut self, received: ReceivedSignal) {
        if received.stop {
            tracing::info!("{}: giving up every role", received.signal);
            supervisor::notify_stopping();
            self.threads.send_to_election(ElectionRequest::Stop);
        } else {
            tokio::spawn(self.departure.clone().reload_on_signal());
        }
    }

    async fn check_attachments(&mut self) {
        if let Some(attachments) = self.attachments {
            self.links_were_missed |= !self.attachment_watch.check(attachments, self.netlink).await;
            if self.attachment_watch.check_pins(attachments) {
                self.extend_fence();
            }
        }
        if self.links_were_missed {
            let ours = self.plans.ifindices();
            self.links_were_missed = !self.links.reports().look(&ours, self.netlink).await;
        }
    }
}
