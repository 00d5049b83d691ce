//! Attaches the programs to interfaces.

use std::os::fd::AsRawFd;
use std::ptr;

use aya::programs::tc::{
    self, NlOptions, SchedClassifier, SchedClassifierLinkId, TcAttachOptions, TcAttachType, TcError,
};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{LinkOrder, ProgramError, ProgramInfo, Xdp, XdpMode as AyaMode, loaded_programs};
use aya::sys::SyscallError;
use aya::util::KernelVersion;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use xvrrp_common::abi::program;
use xvrrp_common::units::IfIndex;
use xvrrp_common::xdp::{XdpMode, XdpProgram};

use super::error::{DataplaneError, with_causes};

/// Attaches the XDP program in driver mode if possible, otherwise in generic mode.
pub(super) fn ingress(
    program: &mut Xdp,
    interface: &str,
    ifindex: IfIndex,
    occupant: Option<XdpProgram>,
) -> Result<(XdpMode, XdpLinkId), DataplaneError> {
    if let Some(occupant) = occupant {
        return Err(DataplaneError::hook_taken(interface, occupant));
    }
    // In driver mode, a veth loses the frames that XDP sends unless its peer has a program too. It also drops frames
    // whose destination XDP has rewritten.
    if driver(interface).as_deref() != Some("veth") {
        match program.attach_to_if_index(ifindex.get(), AyaMode::Driver) {
            Ok(link) => return Ok((XdpMode::Driver, link)),
            Err(error) if is_taken(&error) => return Err(taken(interface, OTHER.to_owned())),
            // The driver does not support XDP, or not with this MTU or number of channels.
            Err(_) => {}
        }
    }
    match program.attach_to_if_index(ifindex.get(), AyaMode::Skb) {
        Ok(link) => Ok((XdpMode::Generic, link)),
        Err(error) if is_taken(&error) => Err(taken(interface, OTHER.to_owned())),
        Err(source) => Err(DataplaneError::Attach { interface: interface.to_owned(), source }),
    }
}

/// The first kernel that has links for TC programs. Such a link ends with the process.
const TCX: KernelVersion = KernelVersion::new(6, 6, 0);

/// Attaches the TC program behind all other programs for frames that this host sends.
pub(super) fn egress(
    classifier: &mut SchedClassifier,
    interface: &str,
) -> Result<SchedClassifierLinkId, DataplaneError> {
    let failed = |reason: String| DataplaneError::AttachEgress { interface: interface.to_owned(), reason };
    if !has_tcx() {
        make_room(interface, TcAttachType::Egress, program::EGRESS).map_err(|error| failed(with_causes(&error)))?;
    }
    classifier.attach(interface, TcAttachType::Egress).map_err(|error| failed(with_causes(&error)))
}

/// Attaches the fence before all other TC programs for arriving frames.
pub(super) fn fence(
    classifier: &mut SchedClassifier,
    interface: &str,
) -> Result<SchedClassifierLinkId, DataplaneError> {
    let failed = |reason: String| DataplaneError::AttachFence { interface: interface.to_owned(), reason };
    let options = if has_tcx() {
        TcAttachOptions::TcxOrder(LinkOrder::first())
    } else {
        make_room(interface, TcAttachType::Ingress, program::FENCE).map_err(|error| failed(with_causes(&error)))?;
        TcAttachOptions::Netlink(NlOptions::default())
    };
    let attached = classifier.attach_with_options(interface, TcAttachType::Ingress, options);
    attached.map_err(|error| failed(with_causes(&error)))
}

/// Creates the clsact qdisc, for kernels without TCX, and removes a predecessor's program from it.
fn make_room(interface: &str, direction: TcAttachType, program: &str) -> Result<(), TcError> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) => {}
        // The qdisc exists already. It stays when an agent ends.
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(error),
    }
    // Such a filter outlives the process that made it. It is not an error if there is no filter of ours.
    let _ = tc::qdisc_detach_program(interface, direction, program);
    Ok(())
}

pub(super) fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= TCX)
}

fn is_taken(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else {
        return false;
    };
    // EBUSY means a program in the same mode, EEXIST one in another mode.
    matches!(io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// Name in messages for a program that took the hook after it had been found free.
const OTHER: &str = "another program";

impl DataplaneError {
    /// Makes the error that this program is on the interface.
    pub fn hook_taken(interface: &str, occupant: XdpProgram) -> Self {
        taken(interface, describe(occupant))
    }
}

fn taken(interface: &str, holder: String) -> DataplaneError {
    DataplaneError::HookTaken { interface: interface.to_owned(), holder }
}

/// Describes a program by its name and number, or by its number alone without `CAP_SYS_ADMIN`, which is needed to read
/// the name.
fn describe(XdpProgram { id, mode }: XdpProgram) -> String {
    let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == id);
    match info.as_ref().and_then(ProgramInfo::name_as_str) {
        Some(name) if !name.is_empty() => format!("program \"{name}\" (id {id}, {mode} mode)"),
        _ => format!("program id {id} ({mode} mode)"),
    }
}

/// Returns the name of the interface's driver, as `ethtool -i` shows it, or `None` if the driver does not answer.
fn driver(interface: &str) -> Option<String> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    /// `struct ethtool_drvinfo` of linux/ethtool.h.
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }

    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: the structure is the one that this command reads and writes.
    unsafe { ethtool(interface, &mut info) }?;
    let name = info.driver.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Returns whether the card strips VLAN tags from arriving frames (`rx-vlan-offload` of `ethtool -k`). Returns false if
/// the driver does not answer.
pub fn strips_vlan_tags(interface: &str) -> bool {
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    /// `struct ethtool_value` of linux/ethtool.h.
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }

    let mut flags = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    // SAFETY: the structure is the one that this command reads and writes.
    let known = unsafe { ethtool(interface, &mut flags) };
    known.is_some() && flags.data & ETH_FLAG_RXVLAN != 0
}

/// Asks the interface's driver. Returns `None` if it does not answer.
///
/// # Safety
/// `command` begins with the number of a command of linux/ethtool.h, and has the structure that this one reads and
/// writes.
unsafe fn ethtool<T>(interface: &str, command: &mut T) -> Option<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: zeros are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = ptr::from_mut(command).cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    // SAFETY: the request points to `command`, which has the size that its number requires. Both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    (result >= 0).then_some(())
}
