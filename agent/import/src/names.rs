//! Names that the configuration takes: 1 to 64 characters out of `A-Z a-z 0-9 . _ -`, no two the same.

use std::collections::HashSet;

const MAX_LENGTH: usize = 64;

/// Those given so far.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The name itself if it is valid and free, otherwise one that resembles it.
    pub fn claim(&mut self, name: &str) -> String {
        let valid = valid(name);
        let mut candidate = valid.clone();
        let mut number = 2;
        while !self.0.insert(candidate.clone()) {
            let suffix = format!("-{number}");
            // ASCII: every byte is a character.
            candidate =
                format!("{}{suffix}", valid.get(..valid.len().min(MAX_LENGTH - suffix.len())).unwrap_or_default());
            number += 1;
        }
        candidate
    }
}

/// With `-` for what is not allowed.
pub(super) fn valid(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().take(MAX_LENGTH).map(|c| if allowed(c) { c } else { '-' }).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_as_they_are_where_they_can() {
        let mut names = Names::default();
        assert_eq!(names.claim("VI_1"), "VI_1");
        assert_eq!(names.claim("VI 1"), "VI-1");
        assert_eq!(names.claim("VI/1"), "VI-1-2");
        assert_eq!(names.claim(""), "unnamed");
        let long = "x".repeat(70);
        assert_eq!(names.claim(&long).len(), 64);
        assert_eq!(names.claim(&long), format!("{}-2", "x".repeat(62)));
    }
}
