//! Whatever the text, the reader does not panic, and every error message has the documented form.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use xvrrp_config::keys;

const VALID: &str = include_str!("../../../../examples/all-keys.toml");

/// Pieces of text that replace parts of a valid configuration.
const FRAGMENTS: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{1b}[2J",
    "-",
    "+",
    "0",
    "255",
    "256",
    "4294967296",
    "1e999",
    "nan",
    "0x",
    "1979-05-27T07:32:00Z",
    "true",
    "/",
    "::",
    "ms",
    "ü",
];

/// Generates a value of any type, valid or not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0..400_u16).prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        any::<String>().prop_map(|text| format!("{text:?}")),
        "[0-9.]{1,12}(ms|s|m|h)?".prop_map(|text| format!("{text:?}")),
        "[0-9.:/]{1,20}".prop_map(|text| format!("[{text:?}, {text:?}]")),
        select(vec!["[]", "{}", "[[]]", "[1, \"x\", {}]", "\"auto\"", "\"2001:db8::1/64\"", "07:32:00"])
            .prop_map(str::to_owned),
    ]
}

fn key() -> impl Strategy<Value = &'static str> {
    let all = keys::TOP_LEVEL.iter().chain(keys::AGENT_KEYS).chain(keys::VIRTUAL_ROUTER_KEYS);
    select(all.map(|key| key.name).collect::<Vec<_>>())
}

/// Parses the text, and checks the form of the error messages.
fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = xvrrp_config::parse(Path::new("FILE"), text) else {
        return Ok(());
    };
    prop_assert!(!error.problems().is_empty());
    let lines = text.lines().count() + 1;
    let mut last = 0;
    for line in error.to_string().split('\n') {
        let rest = line.strip_prefix("FILE:").ok_or_else(|| TestCaseError::fail(format!("{line:?}")))?;
        let (number, message) = rest.split_once(": ").ok_or_else(|| TestCaseError::fail(format!("{line:?}")))?;
        let number = if number.is_empty() { last } else { number.parse().unwrap_or(usize::MAX) };
        prop_assert!((last..=lines).contains(&number), "{line:?} after line {last} of {lines}");
        prop_assert!(!message.chars().any(char::is_control), "{line:?}");
        prop_assert!(message.len() < 1000, "{line:?}");
        last = number;
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn mutated_text_is_read_without_panic(
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), select(FRAGMENTS)), 1..8)
    ) {
        let mut text: Vec<char> = VALID.chars().collect();
        for (from, length, fragment) in edits {
            let from = from.index(text.len() + 1);
            // The cuts are short, because a text without its first table tests little.
            let length = length.index(16).min(text.len() - from);
            text.splice(from..from + length, fragment.chars());
        }
        check(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn values_of_any_type_are_read_without_panic(
        agent in prop::collection::vec((key(), value()), 0..3),
        routers in prop::collection::vec(prop::collection::vec((key(), value()), 0..8), 0..4)
    ) {
        let table = |header: &str, entries: &[(&str, String)]| {
            let mut lines = vec![header.to_owned()];
            let mut seen = Vec::new();
            for (key, value) in entries {
                if !seen.contains(key) {
                    lines.push(format!("{key} = {value}"));
                    seen.push(*key);
                }
            }
            lines.join("\n") + "\n"
        };
        let routers: String = routers.iter().map(|router| table("[[virtual_router]]", router)).collect();
        check(&(table("[agent]", &agent) + &routers))?;
    }

    #[test]
    fn deep_nesting_is_read_without_panic(depth in 1..20_000_usize, bracket in select(vec!["[", "{a=", "a."])) {
        check(&format!("x = {}", bracket.repeat(depth)))?;
        check(&bracket.repeat(depth))?;
    }
}
