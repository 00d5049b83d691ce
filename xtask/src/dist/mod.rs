//! `cargo xtask dist`: makes a Debian package with nothing but dpkg-deb.

mod licences;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::process::{check, output, workspace};
use crate::setup::{self, Needs};

/// Directory for documentation.
const DOC: &str = "usr/share/doc/xvrrp";

/// Options of the command.
#[derive(clap::Args)]
pub struct DistOptions {
    /// Package this program instead of building an optimized one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Version of the package
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    package_version: String,
    /// Write the package to this directory [default: target/dist]
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

pub fn run(options: &DistOptions) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
        None => {
            setup::ensure(Needs::Build)?;
            build::run(Profile::Release, &["xvrrp"])?.join("xvrrp")
        }
    };
    let directory = options.output.clone().unwrap_or_else(|| workspace().join("target/dist"));
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))
        .context("dpkg, which makes the package, is not installed: run this on Debian")?;
    let package = directory.join(format!("xvrrp_{}_{architecture}.deb", options.package_version));

    let tree = Tree { root: directory.join(format!("tree-{}", std::process::id())) };
    tree.fill(&binary)?;
    tree.control(&options.package_version, &architecture)?;
    // The package must not depend on our umask.
    check(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&tree.root))?;
    let mut pack = Command::new("dpkg-deb");
    // A package of a given program is only for tests, so it is compressed fast.
    let compression: &[&str] = if options.binary.is_some() { &["-Zgzip", "-z1"] } else { &["-Zxz"] };
    pack.args(["--build", "--root-owner-group"]).args(compression).arg(&tree.root).arg(&package);
    // The same sources make the same package, because no file in it is younger than the last commit.
    let commit = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(workspace()));
    if let (None, Some(time)) = (std::env::var_os("SOURCE_DATE_EPOCH"), commit) {
        pack.env("SOURCE_DATE_EPOCH", time);
    }
    check(&mut pack)
}

/// Directory with the files of the package, at the paths that they will have on a host. It is removed when this is
/// dropped.
struct Tree {
    root: PathBuf,
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Tree {
    fn fill(&self, binary: &Path) -> Result<()> {
        let program = self.copy(binary, "usr/bin/xvrrp", 0o755)?;
        check(Command::new("strip").arg("--strip-unneeded").arg(&program))
            .context("cannot strip the program (strip is in the package binutils)")?;
        let workspace = workspace();
        self.copy(&workspace.join("scripts/xvrrp.service"), "lib/systemd/system/xvrrp.service", 0o644)?;
        fs::create_dir_all(self.root.join("etc/xvrrp"))?;

        self.write("usr/share/man/man5/xvrrp.toml.5", &configuration_page()?)?;
        let pages = self.root.join("usr/share/man/man8");
        fs::create_dir_all(&pages)?;
        check(Command::new(&program).arg("manual-pages").arg(&pages))?;
        for (shell, path) in [
            ("bash", "usr/share/bash-completion/completions/xvrrp"),
            ("zsh", "usr/share/zsh/vendor-completions/_xvrrp"),
            ("fish", "usr/share/fish/vendor_completions.d/xvrrp.fish"),
        ] {
            let script = output(Command::new(&program).args(["completions", shell]));
            self.write(path, &(script.with_context(|| format!("no completions for {shell}"))? + "\n"))?;
        }

        for (from, to) in [
            ("README.md", "README.md"),
            ("docs", "docs"),
            ("examples", "examples"),
            ("scripts/monitoring", "monitoring"),
            ("scripts/debian/copyright", "copyright"),
            ("LICENSE-MIT", "LICENSE-MIT"),
            ("LICENSE-APACHE", "LICENSE-APACHE"),
            ("LICENSE-GPL-2.0", "LICENSE-GPL-2.0"),
            ("CHANGELOG.md", "changelog"),
        ] {
            self.copy_all(&workspace.join(from), &format!("{DOC}/{to}"))?;
        }
        self.write(&format!("{DOC}/third-party-licences"), &licences::list()?)?;
        self.compress(&pages)?;
        self.compress(&self.root.join("usr/share/man/man5"))?;
        self.compress(&self.root.join(DOC).join("changelog"))?;
        self.compress(&self.root.join(DOC).join("third-party-licences"))
    }

    fn control(&self, version: &str, architecture: &str) -> Result<()> {
        let program = fs::read(self.root.join("usr/bin/xvrrp"))?;
        let libc =
            newest_glibc(&program).context("the program names no version of glibc; is it built for another system?")?;
        let size = output(Command::new("du").args(["-sk", "--apparent-size"]).arg(&self.root))
            .context("cannot run du to determine the installed size")?;
        let control = fs::read_to_string(workspace().join("scripts/debian/control"))?
            .replace("@VERSION@", version)
            .replace("@ARCHITECTURE@", architecture)
            .replace("@SIZE@", size.split_whitespace().next().unwrap_or("0"))
            .replace("@DEPENDS@", &format!("libc6 (>= 2.{libc}), libgcc-s1"));
        self.write("DEBIAN/control", &control)?;
        for script in ["postinst", "prerm", "postrm"] {
            self.copy(&workspace().join("scripts/debian").join(script), &format!("DEBIAN/{script}"), 0o755)?;
        }
        Ok(())
    }

    fn path(&self, to: &str) -> Result<PathBuf> {
        let path = self.root.join(to);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        Ok(path)
    }

    fn write(&self, to: &str, text: &str) -> Result<()> {
        let path = self.path(to)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<PathBuf> {
        let path = self.path(to)?;
        fs::copy(from, &path).with_context(|| format!("cannot copy {}", from.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// Copies a file, or a directory with everything in it.
    fn copy_all(&self, from: &Path, to: &str) -> Result<()> {
        if !from.is_dir() {
            return self.copy(from, to, 0o644).map(drop);
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            self.copy_all(&entry.path(), &format!("{to}/{}", entry.file_name().to_string_lossy()))?;
        }
        Ok(())
    }

    /// Compresses a file, or all files in a directory, as Debian demands for manual pages and long texts. The result
    /// contains neither name nor time.
    fn compress(&self, path: &Path) -> Result<()> {
        check(Command::new("gzip").args(["-9", "--no-name", "--recursive"]).arg(path))
    }
}

/// Returns the manual page xvrrp.toml(5), which contains the example with every key.
fn configuration_page() -> Result<String> {
    let keys = fs::read_to_string(workspace().join("examples/all-keys.toml"))?;
    // `\&` prevents roff from reading a line as a request.
    let keys: String =
        keys.lines().map(|line| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-"))).collect();
    let page = fs::read_to_string(workspace().join("scripts/debian/xvrrp.toml.5"))?;
    Ok(page.replace("@VERSION@", env!("CARGO_PKG_VERSION")).replace("@KEYS@\n", &keys))
}

/// Returns the N of the newest `GLIBC_2.N` that the program requires.
fn newest_glibc(program: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"GLIBC_2.";
    let places = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    places
        .filter_map(|(place, _)| {
            let digits = program[place + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            digits.map(|&digit| char::from(digit)).collect::<String>().parse().ok()
        })
        .max()
}
