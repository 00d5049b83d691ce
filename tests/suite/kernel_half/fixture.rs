//! A fixture of the kernel half: a frame, and what must come of it.

use anyhow::Result;
use xvrrp_common::abi::Counter;

use xvrrp_lab::kernel_half::{KernelHalf, Outcome, Verdict};

/// A frame of VRID 51's virtual router in slot 0 counts here.
pub const ROUTER: u32 = 1;
/// What belongs to no virtual router of ours counts here.
pub const NO_ROUTER: u32 = 0;

#[derive(Debug)]
pub struct Fixture {
    pub description: &'static str,
    pub input: Vec<u8>,
    pub verdict: Verdict,
    /// `None`: the frame as it came.
    pub output: Option<Vec<u8>>,
    /// Everything that is counted, and nothing else.
    pub counted: Vec<(u32, Counter)>,
}

/// Passes, untouched and uncounted.
pub fn passes(description: &'static str, input: Vec<u8>) -> Fixture {
    becomes(description, input, Verdict::Pass, &[])
}

/// Passes, untouched and counted.
pub fn passes_counted(description: &'static str, input: Vec<u8>, index: u32, counter: Counter) -> Fixture {
    becomes(description, input, Verdict::Pass, &[(index, counter)])
}

/// Is dropped and counted for the virtual router in slot 0.
pub fn dropped(description: &'static str, input: Vec<u8>, counter: Counter) -> Fixture {
    becomes(description, input, Verdict::Drop, &[(ROUTER, counter)])
}

/// Comes out changed and is counted for the virtual router in slot 0.
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
    /// Lets the frame arrive.
    #[track_caller]
    pub fn check_ingress(self, kernel: &mut KernelHalf) {
        let outcome = kernel.receive(&self.input);
        self.check(outcome);
    }

    /// Lets the frame leave.
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
