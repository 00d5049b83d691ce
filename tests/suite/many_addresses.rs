//! A router with many virtual addresses, spread over several virtual routers.

use anyhow::{Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, eventually};

const ROUTERS: usize = 3;
/// More than are asked of the kernel at once.
const ON_EACH: usize = 200;
/// The operator's, in the subnet of the first virtual router's.
const FOREIGN: &str = "10.0.1.250/24";

/// The last one's addresses are primary ones, the others' secondary ones of one subnet each.
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
fn every_address_is_installed_and_only_ours_are_removed() -> Result<()> {
    let lab = Lab::new(1)?;
    let own = addresses(&lab)?.len();
    let mut agent = Xvrrp::start(&lab.routers[0], &virtual_routers())?;
    let all = ROUTERS * ON_EACH;
    eventually("every address is there", PATIENCE, || {
        let there = addresses(&lab)?.len();
        ensure!(there == own + all, "there are {there}");
        Ok(())
    })?;
    lab.routers[0].ip(&format!("addr add {FOREIGN} dev eth0"))?;
    agent.stop()?;
    let left = addresses(&lab)?;
    assert_eq!(left.len(), own + 1, "{left:?}");
    assert!(left.contains(&FOREIGN.to_owned()), "{left:?}");
    Ok(())
}
