//! The frames for `xvrrp monitor`: adverts, ARP and Neighbor Discovery as the kernel half sees them.

use std::fmt;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, RingBuf};
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use xvrrp_common::abi::{CapturedFrame, Monitored, map};
use zerocopy::FromBytes;

use super::DataplaneError;

/// Maximum number of frames that are read at once, about as many as the buffer holds.
const MAX_READ: usize = 512;

/// Makes the kernel half copy the frames that it sees while a client monitors them. Its maps are not pinned: the
/// programs of a successor have maps of their own, and start without a client.
pub struct Monitor {
    buffer: MapData,
    /// The buffer, while somebody watches. It takes some hundred kilobytes of the agent's memory.
    shown: Option<RingBuf<MapData>>,
    monitored: Array<MapData, Monitored>,
    /// Number of lost frames that have been reported.
    reported: u64,
}

impl Monitor {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        let mut take = |name| ebpf.take_map(name).ok_or(DataplaneError::Missing(name));
        let Map::RingBuf(buffer) = take(map::MONITOR)? else { return Err(DataplaneError::Missing(map::MONITOR)) };
        Ok(Self { buffer, shown: None, monitored: take(map::MONITORED)?.try_into()?, reported: 0 })
    }

    /// Starts copying frames.
    ///
    /// # Errors
    /// The kernel is too old, or its ring buffer cannot be mapped.
    pub fn begin(&mut self) -> Result<(), DataplaneError> {
        if !can_show() {
            return Err(DataplaneError::CannotShow);
        }
        let buffer = self.buffer.fd().as_fd().try_clone_to_owned().map_err(MapError::from)?;
        let mut shown = RingBuf::try_from(Map::from_map_data(MapData::from_fd(buffer)?)?)?;
        // Discards frames that arrived after the previous client had left.
        for _ in 0..MAX_READ {
            if shown.next().is_none() {
                break;
            }
        }
        self.shown = Some(shown);
        self.reported = 0;
        Ok(self.monitored.set(0, Monitored { wanted: 1, ..Monitored::default() }, 0)?)
    }

    /// Stops copying frames.
    pub fn end(&mut self) {
        // If this fails, the buffer fills up, which does no harm.
        let _ = self.monitored.set(0, Monitored::default(), 0);
        self.shown = None;
    }

    /// Returns the frames since the last call, and how many more there was no room for.
    pub fn read(&mut self) -> (Vec<CapturedFrame>, u64) {
        let mut seen = Vec::new();
        // In a flood, frames arrive as fast as they are read.
        for _ in 0..MAX_READ {
            let Some(item) = self.shown.as_mut().and_then(RingBuf::next) else { break };
            seen.extend(CapturedFrame::read_from_bytes(&item));
        }
        let lost = self.monitored.get(&0, 0).map_or(self.reported, |monitored| monitored.lost);
        let news = lost.saturating_sub(self.reported);
        self.reported = lost;
        (seen, news)
    }
}

/// Returns whether the kernel has the function that copies a frame.
pub(super) fn can_show() -> bool {
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes).unwrap_or(false)
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}
