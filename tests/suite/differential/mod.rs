//! The XDP program against the decoders in user space: generated frames, each of which must come to the same verdict in
//! both, for the same reason.
//!
//! Both halves share `common::wire`, but read it in different ways: the program behind the verifier's bounds checks, with the
//! kernel's own sum, compiled for another machine. [`Network::judge`] says in user space what must become of a frame;
//! [`Generator`] makes frames that are valid, almost valid, mutated and cut.

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
/// Repeats a run: the seed that it has printed.
const SEED: &str = "XVRRP_DIFFERENTIAL_SEED";

/// What no frame can bring about here, or the program that looks at what leaves.
const OTHERS: [Counter; 6] = [
    Counter::EventLost,
    Counter::MissingSlot,
    Counter::EgressArpRewritten,
    Counter::EgressArpDropped,
    Counter::EgressNdRewritten,
    Counter::EgressNdDropped,
];

#[test]
fn kernel_and_user_space_judge_100_000_frames_alike() -> Result<()> {
    // conformance 16
    // It takes a processor for seconds.
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
    // Each reason was really tried.
    for counter in Counter::ALL.iter().filter(|counter| !OTHERS.contains(counter)) {
        let times = seen.get(counter).copied().unwrap_or_default();
        ensure!(times >= 20, "{} was counted {times} times with seed {seed}", counter.name());
    }
    Ok(())
}

fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed} is no number")),
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
