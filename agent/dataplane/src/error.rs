//! Errors of the kernel half.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;

/// Number of lines of the verifier's log that an error shows. The reason for a refusal is at the end of the log.
const VERIFIER_LINES: usize = 12;

/// A failure to load, attach, pin or read the kernel half.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The kernel or aya refuses the BPF object.
    #[error("cannot load the BPF object: {}", with_causes(.0))]
    Load(#[from] EbpfError),
    /// The BPF object has no such map or program, or it was taken before.
    #[error("the BPF object lacks {0}, or it is in use already")]
    Missing(&'static str),
    /// The kernel refuses a program.
    #[error("{}", program(.0))]
    Program(#[from] ProgramError),
    /// A map cannot be read or written.
    #[error("cannot use a BPF map: {}", with_causes(.0))]
    Map(#[from] MapError),
    /// The log of the programs cannot be read.
    #[error("cannot read the kernel half's log: {}", with_causes(.0))]
    Log(#[from] aya_log::Error),
    /// A map cannot be mapped into memory.
    #[error("cannot map a BPF array into memory: {0}")]
    MapMemory(#[source] io::Error),
    /// The number of CPUs is unknown.
    #[error("cannot count the CPUs: {0}")]
    Cpus(#[source] io::Error),
    /// The kernel is too old for [`Monitor`](super::Monitor).
    #[error("this kernel cannot show frames: Linux 5.18 or later is required")]
    CannotShow,
    /// A pinned link cannot be used.
    #[error("cannot use a pinned link: {}", with_causes(.0))]
    Link(#[from] LinkError),
    /// Nothing can be pinned at this path.
    #[error(
        "cannot use {path} for pins: {source}; agent.bpffs must be in a BPF file system that the agent may write to"
    )]
    Pins {
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is not in a BPF file system, and one cannot be mounted there.
    #[error(
        "{path} is not in a BPF file system, and one cannot be mounted there because the directory is not empty; give \
         another agent.bpffs, such as /sys/fs/bpf/xvrrp"
    )]
    NoBpfFileSystem {
        /// The directory or file.
        path: PathBuf,
    },
    /// A BPF file system cannot be mounted.
    #[error(
        "there is no BPF file system at {path}, and none can be mounted: {source}; mount one (`mount -t bpf bpf {path}`), \
         or run with CAP_SYS_ADMIN"
    )]
    Mount {
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The XDP program can be attached in neither mode.
    #[error("cannot attach to {interface}, not even in generic mode: {}", with_causes(.source))]
    Attach {
        /// The interface's name.
        interface: String,
        /// Why generic mode fails.
        source: ProgramError,
    },
    /// The TC program cannot be attached.
    #[error("cannot attach to the egress side of {interface}: {reason}")]
    AttachEgress {
        /// The interface's name.
        interface: String,
        /// The error with its causes.
        reason: String,
    },
    /// The fence cannot be attached.
    #[error("cannot attach to the ingress side of {interface}: {reason}")]
    AttachFence {
        /// The interface's name.
        interface: String,
        /// The error with its causes.
        reason: String,
    },
    /// Another XDP program is on the interface.
    #[error(
        "the XDP hook of {interface} is taken by {holder}; detach that program \
         (`ip link set dev {interface} xdp off`, or stop what attached it) or use another interface"
    )]
    HookTaken {
        /// The interface's name.
        interface: String,
        /// The program that is on it, as far as that is known.
        holder: String,
    },
}

fn program(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(VERIFIER_LINES)..).unwrap_or_default();
            format!("the kernel refuses a BPF program: {io_error}; end of the verifier's log:\n{}", end.join("\n"))
        }
        other => format!("cannot use a BPF program: {}", with_causes(other)),
    }
}

/// Returns the text of an error with its causes, each said once. Some errors, such as those of aya, leave the system's
/// reason to their source. Others repeat it in their own text.
pub fn with_causes(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {path}")]
    struct Silent {
        path: &'static str,
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no agent answers: {0}")]
    struct Repeating(#[source] Silent);

    #[test]
    fn each_cause_is_printed_once_even_if_an_error_repeats_it() {
        let error = Repeating(Silent { path: "/run/x", source: io::Error::other("no such file") });
        assert_eq!(with_causes(&error), "no agent answers: cannot open /run/x: no such file");
    }
}
