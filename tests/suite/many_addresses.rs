//! A router with many virtual addresses, spread over several virtual routers.

use anyhow::{Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually, wait_until_is};

const ROUTERS: usize = 3;
/// Number of addresses of each virtual router: more than the agent requests from the kernel at once.
const ON_EACH: usize = 200;
/// An address that the operator has added, in the subnet of the first virtual router's addresses.
const FOREIGN: &str = "10.0.1.250/24";

/// Virtual routers with many addresses. Those of the last one are all primary addresses. Those of each other one are in
/// one subnet, so all but the first are secondary addresses.
fn virtual_routers() -> Vec<VirtualRouter> {
    let router = |number: usize| {
        let prefix_length = if number == ROUTERS { 32 } else { 24 };
        let addresses: Vec<_> = (1..=ON_EACH).map(|host| format!("\"10.0.{number}.{host}/{prefix_length}\"")).collect();
        VirtualRouter::lan(200)
            .with("name", &format!("\"r{number}\""))
            .with("vrid", &number.to_string())
            .with("addresses", &format!("[{}]", addresses.join(", ")))
    };
    (1..=ROUTERS).map(router).collect()
}

fn addresses(lab: &Lab) -> Result<Vec<String>> {
    let shown = lab.routers[0].ip("-4 -o addr show dev eth0")?;
    Ok(shown.lines().filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned)).collect())
}

#[test]
fn every_virtual_address_is_installed_and_no_foreign_address_is_removed() -> Result<()> {
    let lab = Lab::new(1)?;
    let own = addresses(&lab)?.len();
    let mut agent = Xvrrp::start(&lab.routers[0], &virtual_routers())?;
    let all = ROUTERS * ON_EACH;
    wait_until_is("every address is installed", &(own + all), || Ok(addresses(&lab)?.len()))?;
    lab.routers[0].ip(&format!("addr add {FOREIGN} dev eth0"))?;
    agent.stop()?;
    eventually("only the foreign address is left beside the host's own", PATIENCE, || {
        let left = addresses(&lab)?;
        ensure!(left.len() == own + 1 && left.contains(&FOREIGN.to_owned()), "{left:?}");
        Ok(())
    })
}
