//! `cargo xtask golden`: records the golden traces of elections in agent/vrrp/tests/golden again.

use anyhow::Result;

use crate::process::{cargo, check};

pub fn record() -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--package", "xvrrp-vrrp", "--test", "protocol", "golden::"])
        .env("XVRRP_GOLDEN_RECORD", "1");
    check(&mut test)
}
