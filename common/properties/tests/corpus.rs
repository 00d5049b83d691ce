//! Checks the properties of the decoders without a fuzzer: over the corpus that fuzzing has found, and over mutations
//! of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xvrrp_properties::{TARGETS, Target};

/// Number of mutations of each file in the corpus.
const MUTATIONS: usize = 300;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| {
            panic!("no corpus in {} ({error}): `cargo xtask fuzz --keep` creates one", directory.display())
        })
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    // libFuzzer always tries the empty input, and keeps no file for it.
    [Vec::new()].into_iter().chain(paths.into_iter().map(|path| fs::read(path).unwrap())).collect()
}

#[test]
fn the_properties_hold_over_the_corpus_which_brings_about_every_outcome() {
    for target in TARGETS {
        let mut seen = BTreeSet::new();
        for bytes in corpus(target) {
            (target.check)(&bytes, &mut |outcome| {
                seen.insert(outcome);
            });
        }
        assert_eq!(seen, target.outcomes.iter().copied().collect(), "{}", target.name);
    }
}

#[test]
fn the_properties_hold_wherever_the_corpus_is_cut() {
    for target in TARGETS {
        for bytes in corpus(target) {
            for end in 0..bytes.len() {
                (target.check)(&bytes[..end], &mut |_| {});
            }
        }
    }
}

#[test]
fn the_properties_hold_over_mutations_of_the_corpus() {
    // Knuth's MMIX generator makes the same mutations each time.
    let mut state: u64 = 1;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for target in TARGETS {
        for bytes in corpus(target).iter().filter(|bytes| !bytes.is_empty()) {
            for _ in 0..MUTATIONS {
                let mut changed = bytes.clone();
                for _ in 0..=random(3) {
                    let at = random(changed.len());
                    match random(3) {
                        0 => changed[at] ^= 1 << random(8),
                        1 => changed[at] = random(256).to_le_bytes()[0],
                        _ => changed.insert(at, random(256).to_le_bytes()[0]),
                    }
                }
                (target.check)(&changed, &mut |_| {});
            }
        }
    }
}
