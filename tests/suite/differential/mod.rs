//! Compares the XDP program with the decoders in user space: for each generated frame, both must come to the same
//! verdict for the same reason.
//!
//! Both halves share `common::wire`, but use it differently: the XDP program is compiled for another machine, contains
//! bounds checks for the verifier and uses the kernel's checksum function. [`Network::judge`] determines in user space
//! what must result from a frame. [`Generator`] makes frames that are valid, almost valid, mutated or cut off.

mod generator;
mod judge;
mod network;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use xvrrp_common::abi::{Counter, HeardAdvert};
use xvrrp_lab::alone;
use xvrrp_lab::kernel_half::KernelHalf;

use generator::Generator;
use judge::Judgement;
use network::Network;

const FRAMES: usize = 100_000;
/// Environment variable with the seed of a run, which repeats that run. Each run prints its seed.
const SEED: &str = "XVRRP_DIFFERENTIAL_SEED";

/// The counters of the program for egress, and those that no frame can increment here.
const OTHERS: [Counter; 6] = [
    Counter::EventLost,
    Counter::MissingSlot,
    Counter::EgressArpRewritten,
    Counter::EgressArpDropped,
    Counter::EgressNdRewritten,
    Counter::EgressNdDropped,
];

#[test]
fn kernel_and_user_space_come_to_the_same_verdict_on_100_000_frames() -> Result<()> {
    // conformance 16
    // This takes a whole processor for seconds.
    let _alone = alone();
    let seed = seed()?;
    println!("seed {seed} ({SEED}={seed} repeats it)");
    let network = Network::default();
    let mut kernel = network.load()?;
    let mut generator = Generator::new(seed);
    let mut seen: BTreeMap<Counter, u32> = BTreeMap::new();
    for number in 1..=FRAMES {
        let frame = generator.frame();
        let expected = network.judge(&frame);
        let actual =
            judged_by(&mut kernel, &frame, &expected).with_context(|| format!("frame {number}: {}", hex(&frame)))?;
        ensure!(
            actual == expected,
            "frame {number} of seed {seed}: {}\nXDP program: {}\nuser space:  {}",
            hex(&frame),
            describe(&actual),
            describe(&expected)
        );
        for (_, counter) in expected.counted {
            *seen.entry(counter).or_default() += 1;
        }
    }
    println!("{seen:?}");
    // The frames must have covered each reason.
    for counter in Counter::ALL.iter().filter(|counter| !OTHERS.contains(counter)) {
        let times = seen.get(counter).copied().unwrap_or_default();
        ensure!(times >= 20, "the frames of seed {seed} cover {} only {times} times", counter.name());
    }
    Ok(())
}

fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed} is not a number")),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}

fn judged_by(kernel: &mut KernelHalf, frame: &[u8], expected: &Judgement) -> Result<Judgement> {
    let outcome = kernel.receive(frame)?;
    let heard = expected.heard.map(|(slot, _)| (slot, HeardAdvert { received_at: 0, ..kernel.heard(slot).latest }));
    Ok(Judgement { verdict: outcome.verdict, frame: outcome.frame, counted: outcome.counted, heard })
}

fn describe(Judgement { verdict, frame, counted, heard }: &Judgement) -> String {
    format!("{verdict:?}, counted {counted:?}, heard {heard:?}, frame {}", hex(frame))
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}
