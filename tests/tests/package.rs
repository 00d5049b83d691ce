//! The Debian package: installed, upgraded without a failover, removed and purged, on a host whose files are this machine's
//! and whose changes go nowhere.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xvrrp_tests::lab::{Lab, Machine, agent_binary, run};

fn make(version: &str, directory: &Path) -> Result<()> {
    let mut dist = Command::new(env!("CARGO"));
    dist.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--package-version", version]);
    dist.arg("--binary").arg(agent_binary()?).arg("--output").arg(directory);
    run(dist.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))).map(drop)
}

#[test]
fn the_package_is_installed_upgraded_without_a_failover_and_leaves_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    make("0.1.0", directory.path())?;
    make("0.1.1", directory.path())?;
    let lab = Lab::new(1)?;
    let host = Machine::start(&lab.routers[0], "gw-a")?;
    for (version, name) in [("0.1.0", "old"), ("0.1.1", "new")] {
        let package = fs::read_dir(directory.path())?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().contains(&format!("xvrrp_{version}_")))
            .context("no package")?;
        run(host.command(&format!("cat > /tmp/{name}.deb")).stdin(File::open(package)?))?;
    }
    run(host.command(include_str!("package/life")).args(["life", env!("CARGO_PKG_VERSION")])).map(drop)
}
