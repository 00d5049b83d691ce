//! Watches from which moment on a host has a route to an address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::service::Service;
use crate::{Namespace, eventually};

/// Time between two looks.
const PACE: Duration = Duration::from_micros(250);

/// Looks for a route to an address until it finds one, on a thread of its own.
#[derive(Debug)]
pub struct RouteProbe {
    _service: Service,
    found: Arc<Mutex<Option<Instant>>>,
}

impl RouteProbe {
    /// Starts to look for a route on this host to `address`, which the host has no default route to.
    pub fn start(host: &Namespace, address: Ipv4Addr) -> Result<Self> {
        let found = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&found);
        let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        let service = Service::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                // The kernel looks up the route, and sends nothing.
                if socket.connect(SocketAddr::from((address, 9))).is_ok() {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                    return;
                }
                thread::sleep(PACE);
            }
        });
        Ok(Self { _service: service, found })
    }

    /// Returns when the host was first found to have the route.
    pub fn wait(&self, within: Duration) -> Result<Instant> {
        eventually("the host has the route", within, || {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).context("no route")
        })
    }
}
