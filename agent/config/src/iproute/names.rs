//! Names that the files of iproute2 give to numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::files;
use crate::model::{Named, Names};

use super::number::number;

/// Directories of these files. A later one takes precedence.
const DIRECTORIES: &[&str] = &["/usr/lib/iproute2", "/usr/share/iproute2", "/etc/iproute2"];

/// Longest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The names of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames(BTreeMap<(Names, String), u32>);

impl HostNames {
    /// Reads the names of this host. Files that cannot be read are left out, as ip(8) does.
    pub fn read() -> Self {
        let mut names = Self::default();
        for kind in [Names::Tables, Names::Realms, Names::DsField, Names::Groups] {
            for directory in DIRECTORIES {
                let file = Path::new(directory).join(kind.file());
                let mut more: Vec<PathBuf> = fs::read_dir(file.with_extension("d"))
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
                    .collect();
                more.sort();
                for path in [file].iter().chain(&more) {
                    let text = files::read(path, MAX_FILE).unwrap_or_default();
                    names.add(kind, &String::from_utf8_lossy(&text));
                }
            }
        }
        names
    }

    /// Adds the names of a file: lines of a number and a name. `#` begins a comment.
    pub fn add(&mut self, kind: Names, text: &str) {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            if let (Some(value), Some(name)) = (words.next().and_then(number), words.next()) {
                self.0.insert((kind, name.to_owned()), value);
            }
        }
    }

    /// Returns the number of a name.
    pub fn get(&self, kind: Names, name: &str) -> Option<u32> {
        self.0.get(&(kind, name.to_owned())).copied()
    }

    /// Replaces a name by its number.
    ///
    /// # Errors
    /// This host does not have the name, which the error is.
    pub fn resolve(&self, named: &mut Named) -> Result<(), (Names, String)> {
        if let Named::Name(kind, name) = named {
            let number = self.get(*kind, name).ok_or_else(|| (*kind, name.clone()))?;
            *named = Named::Number(number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_iproute2_writes_them() {
        let mut names = HostNames::default();
        names.add(Names::Tables, "#\n# reserved values\n255\tlocal\n\n0x64 isp1 # the first\n7\nx isp2\n");
        assert_eq!(names.get(Names::Tables, "local"), Some(255));
        assert_eq!(names.get(Names::Tables, "isp1"), Some(100));
        assert_eq!(names.get(Names::Tables, "isp2"), None);
        assert_eq!(names.get(Names::Realms, "isp1"), None);
        names.add(Names::Tables, "101 isp1\n");
        assert_eq!(names.get(Names::Tables, "isp1"), Some(101), "a later file takes precedence");
    }

    #[test]
    fn a_name_that_the_host_does_not_have_stays() {
        let mut names = HostNames::default();
        names.add(Names::Tables, "100 isp1\n");
        let mut known = Named::Name(Names::Tables, "isp1".to_owned());
        assert_eq!(names.resolve(&mut known), Ok(()));
        assert_eq!(known, Named::Number(100));
        let mut unknown = Named::Name(Names::Tables, "isp2".to_owned());
        assert_eq!(names.resolve(&mut unknown), Err((Names::Tables, "isp2".to_owned())));
    }
}
