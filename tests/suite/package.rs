//! The Debian package is installed, upgraded without a failover, removed and purged. This happens on a host that has
//! this machine's files, and whose changes are discarded.

use anyhow::Result;
use xvrrp_lab::{Lab, Machine, make_package, run};

#[test]
fn the_package_is_installed_upgraded_without_a_failover_and_leaves_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let lab = Lab::new(1)?;
    let host = Machine::start(&lab.routers[0], "gw-a")?;
    for (version, name) in [("0.1.0", "old"), ("0.1.1", "new")] {
        host.copy(&make_package(version, directory.path())?, &format!("/tmp/{name}.deb"))?;
    }
    run(host.command(include_str!("package/life")).args(["life", env!("CARGO_PKG_VERSION")])).map(drop)
}
