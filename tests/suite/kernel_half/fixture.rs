//! A fixture: a frame, and what must result from it.

use anyhow::Result;
use xvrrp_common::abi::Counter;

use xvrrp_lab::kernel_half::{KernelHalf, Outcome, Verdict};

/// Index of the counters of the virtual router in slot 0.
pub const ROUTER: u32 = 1;
/// Index of the counters of frames that belong to no virtual router of ours.
pub const NO_ROUTER: u32 = 0;

#[derive(Debug)]
pub struct Fixture {
    pub description: &'static str,
    pub input: Vec<u8>,
    pub verdict: Verdict,
    /// The frame afterwards; `None` if it is unchanged.
    pub output: Option<Vec<u8>>,
    /// All counters that are incremented.
    pub counted: Vec<(u32, Counter)>,
}

/// Expects a frame to pass unchanged and uncounted.
pub fn passes(description: &'static str, input: Vec<u8>) -> Fixture {
    becomes(description, input, Verdict::Pass, &[])
}

/// Expects a frame to pass unchanged and counted.
pub fn passes_counted(description: &'static str, input: Vec<u8>, index: u32, counter: Counter) -> Fixture {
    becomes(description, input, Verdict::Pass, &[(index, counter)])
}

/// Expects a frame to be dropped and counted for the virtual router in slot 0.
pub fn dropped(description: &'static str, input: Vec<u8>, counter: Counter) -> Fixture {
    becomes(description, input, Verdict::Drop, &[(ROUTER, counter)])
}

/// Expects a frame to be changed and counted for the virtual router in slot 0.
pub fn changed(
    description: &'static str,
    input: Vec<u8>,
    verdict: Verdict,
    output: Vec<u8>,
    counter: Counter,
) -> Fixture {
    Fixture { output: Some(output), ..becomes(description, input, verdict, &[(ROUTER, counter)]) }
}

fn becomes(description: &'static str, input: Vec<u8>, verdict: Verdict, counted: &[(u32, Counter)]) -> Fixture {
    Fixture { description, input, verdict, output: None, counted: counted.to_vec() }
}

impl Fixture {
    /// Checks what the XDP program does with the frame.
    #[track_caller]
    pub fn check_ingress(self, kernel: &mut KernelHalf) {
        let outcome = kernel.receive(&self.input);
        self.check(outcome);
    }

    /// Checks what the program for egress does with the frame.
    #[track_caller]
    pub fn check_egress(self, kernel: &mut KernelHalf) {
        let outcome = kernel.send(&self.input);
        self.check(outcome);
    }

    #[track_caller]
    fn check(self, outcome: Result<Outcome>) {
        let Self { description, input, verdict, output, counted } = self;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => panic!("{description}: {error:#}"),
        };
        assert_eq!(outcome.verdict, verdict, "{description}: verdict; counted {:?}", outcome.counted);
        assert_eq!(outcome.counted, counted, "{description}: counters");
        assert_eq!(outcome.frame, output.unwrap_or(input), "{description}: frame");
        assert_eq!(outcome.events, [], "{description}: events");
    }
}
