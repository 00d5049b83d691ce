//! What can go wrong with the kernel half.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

/// How many lines of the verifier's log an error shows: the refusal stands at the end.
const VERIFIER_LINES: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    #[error("cannot load the BPF object: {}", chain(.0))]
    Load(#[from] EbpfError),
    #[error("the BPF object lacks {0}, or it is in use already")]
    Missing(&'static str),
    #[error("{}", program(.0))]
    Program(#[from] ProgramError),
    #[error("cannot use a BPF map: {}", chain(.0))]
    Map(#[from] MapError),
    #[error("cannot read the kernel half's log: {}", chain(.0))]
    Log(#[from] aya_log::Error),
    #[error("cannot map a BPF array into memory: {0}")]
    MapMemory(#[source] io::Error),
    #[error("cannot count the CPUs: {0}")]
    Cpus(#[source] io::Error),
    #[error("this kernel cannot show frames: that takes Linux 5.18")]
    CannotShow,
    #[error("cannot use a pinned link: {}", chain(.0))]
    Link(#[from] LinkError),
    #[error(
        "cannot use {path} for pins: {source}; agent.bpffs must be in a BPF file system that the agent may write to"
    )]
    Pins { path: PathBuf, source: io::Error },
    #[error(
        "{path} is in no BPF file system, and not empty, so that none can be mounted there; give another agent.bpffs, such as \
         /sys/fs/bpf/xvrrp"
    )]
    NoBpfFileSystem { path: PathBuf },
    #[error(
        "there is no BPF file system at {path}, and none can be mounted: {source}; mount one (`mount -t bpf bpf {path}`), \
         or run with CAP_SYS_ADMIN"
    )]
    Mount { path: PathBuf, source: io::Error },
    #[error("cannot attach to {interface}, in generic mode neither: {}", chain(.source))]
    Attach { interface: String, source: ProgramError },
    #[error("cannot attach to the egress side of {interface}: {reason}")]
    AttachEgress { interface: String, reason: String },
    #[error("cannot attach to the ingress side of {interface}: {reason}")]
    AttachFence { interface: String, reason: String },
    #[error(
        "the XDP hook of {interface} is taken by {holder}; detach that program \
         (`ip link set dev {interface} xdp off`, or stop what attached it) or use another interface"
    )]
    HookTaken { interface: String, holder: String },
}

fn program(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(VERIFIER_LINES)..).unwrap_or_default();
            format!("the kernel refuses a BPF program: {io_error}; end of the verifier's log:\n{}", end.join("\n"))
        }
        other => format!("cannot use a BPF program: {}", chain(other)),
    }
}

/// The error with its causes: aya's own texts often leave the system's reason to the source.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
