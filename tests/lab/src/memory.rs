//! The memory of a process, and which part of it the kernel may not take away.

use std::fs;

use anyhow::{Context, Result};

/// A mapping of a process, from /proc/PID/smaps.
#[derive(Debug)]
pub struct Mapping {
    /// First address.
    pub start: usize,
    /// Length in bytes.
    pub length: usize,
    /// Bytes that are in memory.
    pub resident: usize,
    /// Whether the process has locked it: what is resident then stays so.
    pub locked: bool,
    /// Such as `r-xp`.
    pub permissions: String,
    /// What is mapped: a path, a name in brackets, or nothing.
    pub file: String,
}

/// All mappings of a process.
pub fn mappings(pid: u32) -> Result<Vec<Mapping>> {
    parse(&fs::read_to_string(format!("/proc/{pid}/smaps"))?)
}

fn parse(smaps: &str) -> Result<Vec<Mapping>> {
    let mut mappings = Vec::<Mapping>::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [range, permissions, _, _, _, ref file @ ..] if !range.ends_with(':') => {
                let (start, end) = range.split_once('-').with_context(|| format!("no range: {line}"))?;
                let (start, end) = (usize::from_str_radix(start, 16)?, usize::from_str_radix(end, 16)?);
                mappings.push(Mapping {
                    start,
                    length: end - start,
                    resident: 0,
                    locked: false,
                    permissions: permissions.to_owned(),
                    file: file.join(" "),
                });
            }
            ["Rss:", kilobytes, "kB"] => last(&mut mappings)?.resident = kilobytes.parse::<usize>()? * 1024,
            ["VmFlags:", ref flags @ ..] => last(&mut mappings)?.locked = flags.contains(&"lo"),
            _ => {}
        }
    }
    Ok(mappings)
}

fn last(mappings: &mut [Mapping]) -> Result<&mut Mapping> {
    mappings.last_mut().context("smaps begins without a mapping")
}

/// Resident and locked bytes of some mappings. Pages that processes share count in full for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Bytes that are in memory.
    pub resident: usize,
    /// Bytes that are in memory and locked.
    pub locked: usize,
}

/// The memory of a process by what it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Code and constants of the program.
    pub program: Share,
    /// Code and constants of shared libraries, the loader among them.
    pub libraries: Share,
    /// Heap, stacks and variables.
    pub data: Share,
    /// BPF maps that the process reads and writes without a system call: memory of the kernel, which it never swaps
    /// out.
    pub maps: Share,
}

impl Memory {
    /// Reads the memory of the process with this id.
    pub fn of(pid: u32) -> Result<Self> {
        let program = fs::read_link(format!("/proc/{pid}/exe"))?;
        let mut memory = Self::default();
        for mapping in mappings(pid)? {
            let share = if mapping.file.contains("bpf-map") {
                &mut memory.maps
            } else if mapping.permissions.contains('w') || !mapping.file.starts_with('/') {
                &mut memory.data
            } else if program.to_str() == Some(&mapping.file) {
                &mut memory.program
            } else {
                &mut memory.libraries
            };
            share.resident += mapping.resident;
            share.locked += if mapping.locked { mapping.resident } else { 0 };
        }
        Ok(memory)
    }

    /// Returns the resident bytes of all parts together.
    pub fn resident(&self) -> usize {
        [self.program, self.libraries, self.data, self.maps].iter().map(|share| share.resident).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_a_process_locks_is_reported_as_locked() {
        let before = Memory::of(std::process::id()).expect("this process has memory");
        assert!(before.program.resident > 0 && before.libraries.resident > 0 && before.data.resident > 0, "{before:?}");
        let page = vec![1_u8; 1 << 20];
        // SAFETY: the range is the vector's.
        let locked = unsafe { libc::mlock(page.as_ptr().cast(), page.len()) };
        assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
        let after = Memory::of(std::process::id()).expect("this process has memory");
        assert!(after.data.locked >= before.data.locked + page.len(), "{before:?} {after:?}");
    }

    #[test]
    fn a_mapping_has_its_own_size_and_flags() {
        let smaps = "55e0-55f0 r-xp 00001000 fe:00 77 /usr/bin/a program\nSize: 64 kB\nRss: 8 kB\nVmFlags: rd ex lo lf\n\
                     7f00-7f10 rw-p 00000000 00:00 0\nRss: 4 kB\nVmFlags: rd wr\n";
        let [code, data] = &parse(smaps).expect("it is smaps")[..] else { panic!("two mappings") };
        assert_eq!((code.start, code.length, code.resident, code.locked), (0x55e0, 16, 8192, true));
        assert_eq!((&*code.file, &*code.permissions), ("/usr/bin/a program", "r-xp"));
        assert_eq!((&*data.file, data.resident, data.locked), ("", 4096, false));
    }
}
