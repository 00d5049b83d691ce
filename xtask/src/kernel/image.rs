//! Downloads and unpacks Debian's kernels, and a busybox for the guest's first steps. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{check, output};

/// A kernel series of Debian.
#[derive(Debug)]
pub struct Series {
    /// Name for `--kernel`.
    name: &'static str,
    /// Archive and suite, as in apt's sources.
    source: &'static str,
}

// Below Linux 5.14 the agent does not start (SO_NETNS_COOKIE), and Debian has nothing between 5.10 and 6.1.
const ALL: &[Series] = &[
    Series { name: "6.1", source: "http://deb.debian.org/debian bookworm" },
    Series { name: "6.12", source: "http://deb.debian.org/debian trixie" },
    Series { name: "6.18", source: "http://deb.debian.org/debian trixie-backports" },
];

/// Archive and suite of the busybox for all kernels.
const TOOLS: &str = "http://deb.debian.org/debian bookworm";
const BUSYBOX: &str = "busybox-static";
/// Keys that the archives are signed with. Debian installs them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
#[derive(Debug)]
pub struct Image {
    /// Directory of this series, with the guest's files and the initial file system.
    pub directory: PathBuf,
    pub kernel: PathBuf,
    /// Directory `lib/modules/RELEASE`.
    pub modules: PathBuf,
    pub busybox: PathBuf,
}

impl Series {
    pub fn find(name: &str) -> Result<&'static Self> {
        let names: Vec<_> = ALL.iter().map(|series| series.name).collect();
        let found = ALL.iter().find(|series| series.name == name);
        found.with_context(|| format!("there is no kernel series {name:?}; the series are {}", names.join(", ")))
    }
}

/// Returns the kernel of the series that was downloaded before, or else downloads the newest one.
pub fn fetch(series: &Series) -> Result<Image> {
    let directory = super::directories::kernels().join(series.name);
    if let Ok(image) = find(&directory) {
        return Ok(image);
    }
    ensure!(
        Path::new("/usr/bin/apt-get").exists() && Path::new(KEYRING).exists(),
        "downloading Debian's kernels needs apt-get and {KEYRING}, and this machine lacks one of them"
    );
    let _ = fs::remove_dir_all(&directory);
    let apt = Apt::new(series, directory.join("apt"))?;
    let package = apt.newest_kernel(series)?;
    println!("xtask test: downloading {package}");
    let root = directory.join("root");
    for deb in apt.download(&[&package, BUSYBOX])? {
        check(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(&root))?;
    }
    fs::remove_dir_all(directory.join("apt"))?;
    find(&directory)
}

fn find(directory: &Path) -> Result<Image> {
    let root = directory.join("root");
    let only = |parent: PathBuf, prefix: &str| -> Result<PathBuf> {
        let entries = fs::read_dir(&parent).with_context(|| format!("cannot read {}", parent.display()))?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        let is_wanted =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        paths.find(is_wanted).with_context(|| format!("nothing like {prefix} in {}", parent.display()))
    };
    // Later releases of Debian have these directories below usr.
    let of_either = |below: &str, prefix: &str| {
        only(root.join(below), prefix).or_else(|_| only(root.join("usr").join(below), prefix))
    };
    Ok(Image {
        kernel: of_either("boot", "vmlinuz-")?,
        modules: of_either("lib/modules", "")?,
        busybox: of_either("bin", "busybox")?,
        directory: directory.to_owned(),
    })
}

/// apt with its own sources and lists. The host's are neither read nor changed.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(series: &Series, directory: PathBuf) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "download"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let mut sources = String::new();
        for source in [series.source, TOOLS] {
            let line = format!("deb [arch=amd64 signed-by={KEYRING}] {source} main\n");
            if !sources.contains(&line) {
                sources.push_str(&line);
            }
        }
        fs::write(directory.join("sources.list"), sources)?;
        let apt = Self { directory };
        check(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, path) in [
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "none"),
        ] {
            command.arg("-o").arg(format!("{key}={}", self.directory.join(path).display()));
        }
        // The user that apt normally downloads as cannot write to this directory. The index DEP-11 is not needed.
        command.args([
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ]);
        command
    }

    /// Returns the package of the newest ordinary kernel for PCs. Cloud kernels lack the 9p file system.
    fn newest_kernel(&self, series: &Series) -> Result<String> {
        let prefix = format!("linux-image-{}.", series.name);
        let names = output(self.command("apt-cache").args(["pkgnames", &prefix])).unwrap_or_default();
        let is_ordinary =
            |name: &&str| name.ends_with("-amd64") && !["-rt-", "-cloud-"].iter().any(|flavour| name.contains(flavour));
        let newest = names.lines().filter(is_ordinary).max_by_key(|name| numbers(name));
        newest.map(str::to_owned).with_context(|| format!("{} has no kernel {}", series.source, series.name))
    }

    fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let directory = self.directory.join("download");
        check(self.command("apt-get").current_dir(&directory).args(["-qq", "download"]).args(packages))?;
        let debs: Vec<_> = fs::read_dir(&directory)?.flatten().map(|entry| entry.path()).collect();
        if debs.len() != packages.len() {
            bail!("apt-get was asked to download {packages:?}, but has left {debs:?}");
        }
        Ok(debs)
    }
}

/// Returns the numbers by which names of packages are compared: 6.1.0-9 is older than 6.1.0-10.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("linux-image-6.1.0-9-amd64") < numbers("linux-image-6.1.0-10-amd64"));
        assert!(numbers("linux-image-6.12.94+deb13-amd64") < numbers("linux-image-6.12.107+deb13-amd64"));
    }

    #[test]
    fn the_refusal_of_an_unknown_series_names_the_known_ones() {
        let refusal = Series::find("5.15").expect_err("not in Debian").to_string();
        assert_eq!(refusal, "there is no kernel series \"5.15\"; the series are 6.1, 6.12, 6.18");
    }
}
