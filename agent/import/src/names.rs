//! Makes names valid and unique: xvrrp accepts 1 to 64 characters from `A-Z a-z 0-9 . _ -`.

use std::collections::HashSet;

const MAX_LENGTH: usize = 64;

/// Names that are taken.
#[derive(Debug, Default)]
pub(super) struct TakenNames(HashSet<String>);

impl TakenNames {
    /// Takes the name if it is valid and free, otherwise one that resembles it.
    pub fn claim(&mut self, name: &str) -> String {
        let valid = sanitize(name);
        let mut candidate = valid.clone();
        let mut number = 2;
        while !self.0.insert(candidate.clone()) {
            let suffix = format!("-{number}");
            // The name is ASCII, so every byte is a character.
            candidate =
                format!("{}{suffix}", valid.get(..valid.len().min(MAX_LENGTH - suffix.len())).unwrap_or_default());
            number += 1;
        }
        candidate
    }
}

/// Returns a valid name, with `-` in place of each character that is not allowed.
pub(super) fn sanitize(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().take(MAX_LENGTH).map(|c| if allowed(c) { c } else { '-' }).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_changes_only_if_it_is_invalid_or_taken() {
        let mut names = TakenNames::default();
        assert_eq!(names.claim("VI_1"), "VI_1");
        assert_eq!(names.claim("VI 1"), "VI-1");
        assert_eq!(names.claim("VI/1"), "VI-1-2");
        assert_eq!(names.claim(""), "unnamed");
        let long = "x".repeat(70);
        assert_eq!(names.claim(&long).len(), 64);
        assert_eq!(names.claim(&long), format!("{}-2", "x".repeat(62)));
    }
}
