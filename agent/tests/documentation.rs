//! Checks that counters and command lines in the documentation exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;
use xvrrp::commands::Cli;
use xvrrp_common::abi::Counter;

/// Returns everything in backquotes.
fn code(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn troubleshooting_names_only_counters_that_exist_and_every_reason_to_discard_an_advert() {
    let named = code(include_str!("../../docs/troubleshooting.md"));
    let counters: BTreeSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    let families = ["advert_", "arp_", "virtual_mac_", "egress_", "not_accepted", "event_lost"];
    let keys = ["advert_interval", "virtual_mac"];
    for word in named.iter().filter(|word| families.iter().any(|family| word.starts_with(family))) {
        assert!(counters.contains(word) || keys.contains(word), "there is no counter {word}");
    }
    // Counted, but not a reason to discard an advert.
    let harmless = ["advert_release"];
    for counter in counters.iter().filter(|counter| counter.starts_with("advert_") && !harmless.contains(counter)) {
        assert!(named.contains(counter), "{counter} is not explained");
    }
}

#[test]
fn every_command_line_in_the_documentation_is_valid() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_dir(workspace.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut found = 0;
    for page in pages.chain(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| workspace.join(name))) {
        let text = fs::read_to_string(&page).unwrap();
        let (prose, blocks): (Vec<_>, Vec<_>) =
            text.split("```").enumerate().partition(|(number, _)| number.is_multiple_of(2));
        let named = prose.into_iter().flat_map(|(_, prose)| code(prose));
        let shown = blocks.into_iter().flat_map(|(_, block)| block.lines().map(str::trim));
        for command in named.chain(shown).filter(|words| words.starts_with("xvrrp ")) {
            let own = command.split(['#', '|', '>', '&']).next().unwrap_or_default();
            match Cli::try_parse_from(own.split_whitespace()) {
                Ok(_) => found += 1,
                // The text names a command without its arguments, or asks for help.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                    ) => {}
                Err(error) => panic!("{}: `{command}`: {error}", page.display()),
            }
        }
    }
    assert!(found > 40, "{found}");
}
