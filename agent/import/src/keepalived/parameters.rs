//! Parameters: `$NAME=value` defines one, and `$NAME` or `${NAME}` stands for its value.

use std::collections::HashMap;
use std::rc::Rc;

/// White space that keepalived accepts around the parts of a definition.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// What a parameter stands for.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    Text(String),
    /// A definition of several lines. It has at least one.
    Lines(Rc<[String]>),
    /// Directory of the current file.
    Directory,
    /// Id that conditions are compared with.
    ConfigId,
    /// A random number.
    Random,
    /// A variable of the environment.
    Environment,
}

/// All parameters that are defined so far.
#[derive(Debug)]
pub(super) struct Parameters(HashMap<String, Meaning>);

/// A reference to a parameter, without its `$`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub name: &'a str,
    /// Words between the name and the closing brace.
    pub arguments: Vec<&'a str>,
    /// What follows the reference.
    pub rest: &'a str,
}

impl Parameters {
    /// Returns the parameters that keepalived defines itself. A definition can override them.
    pub fn predefined() -> Self {
        let defined = [
            ("_PWD", Meaning::Directory),
            ("_INSTANCE", Meaning::ConfigId),
            ("_RANDOM", Meaning::Random),
            ("_ENV", Meaning::Environment),
            ("_HASH", Meaning::Text("#".to_owned())),
            ("_BANG", Meaning::Text("!".to_owned())),
        ];
        Self(defined.into_iter().map(|(name, meaning)| (name.to_owned(), meaning)).collect())
    }

    /// Defines a parameter, or gives it another meaning.
    pub fn define(&mut self, name: &str, meaning: Meaning) {
        self.0.insert(name.to_owned(), meaning);
    }

    /// Returns the meaning of a reference, unless keepalived would leave the reference as it is.
    pub fn find(&self, reference: &Reference) -> Option<&Meaning> {
        let Reference { name, arguments, rest } = reference;
        let meaning = self.0.get(*name)?;
        let numeric = || arguments.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        let fits = match meaning {
            // Only at the end of a line.
            Meaning::Lines(_) => arguments.is_empty() && rest.is_empty(),
            Meaning::Random => arguments.len() <= 2 && numeric(),
            Meaning::Environment => arguments.len() == 1,
            Meaning::Text(_) | Meaning::Directory | Meaning::ConfigId => arguments.is_empty(),
        };
        fits.then_some(meaning)
    }
}

/// Parses what follows a `$`: a name before a blank, a comma, a parenthesis or the end of the line, or a name in braces
/// with words after it.
pub(super) fn reference(after: &str) -> Option<Reference<'_>> {
    match after.strip_prefix('{') {
        Some(braced) => {
            let (name, braced) = split_name(braced)?;
            let (arguments, rest) = braced.split_once('}')?;
            let plain = |c: char| BLANKS.contains(&c) || c == '_' || c.is_ascii_alphanumeric();
            let arguments_end = arguments.trim_end_matches(BLANKS);
            if !arguments.chars().all(plain) || (!arguments_end.is_empty() && arguments_end != arguments) {
                return None;
            }
            Some(Reference { name, arguments: arguments.split_ascii_whitespace().collect(), rest })
        }
        None => {
            let (name, rest) = split_name(after)?;
            let ends = rest.is_empty() || rest.starts_with([' ', '\t', ',', ')']);
            ends.then_some(Reference { name, arguments: Vec::new(), rest })
        }
    }
}

/// Splits a name from the text that it begins.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

/// Parses a definition: `$NAME=value`, without a blank before the `=`.
pub(super) fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = split_name(line.strip_prefix('$')?)?;
    Some((name, rest.strip_prefix('=')?.trim_start_matches(BLANKS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_has_no_blank_before_the_equals_sign() {
        assert_eq!(definition("$IF=eth0"), Some(("IF", "eth0")));
        assert_eq!(definition("$IF=  eth0 up"), Some(("IF", "eth0 up")));
        assert_eq!(definition("$IF="), Some(("IF", "")));
        for other in ["$IF = eth0", "$1F=eth0", "$IF eth0", "$=x", "IF=eth0"] {
            assert_eq!(definition(other), None, "{other}");
        }
    }

    #[test]
    fn a_reference_ends_where_keepalived_ends_it() {
        let found = |text| reference(text).map(|found| (found.name, found.arguments.join("+"), found.rest));
        let plain = |name, rest| Some((name, String::new(), rest));
        assert_eq!(found("IF up"), plain("IF", " up"));
        assert_eq!(found("IF"), plain("IF", ""));
        assert_eq!(found("IF,x)"), plain("IF", ",x)"));
        assert_eq!(found("{IF}.1"), plain("IF", ".1"));
        assert_eq!(found("{IF }"), plain("IF", ""));
        assert_eq!(found("{_RANDOM 1 9}x"), Some(("_RANDOM", "1+9".to_owned(), "x")));
        for other in ["IF.1", "IF\"", "{IF", "{IF.1}", "{_RANDOM 1 }", "1", "", "{}"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn a_parameter_of_several_lines_is_replaced_only_at_the_end_of_a_line() {
        let mut parameters = Parameters::predefined();
        parameters.define("V", Meaning::Lines(Rc::from(["a".to_owned(), "b".to_owned()])));
        let found = |text| reference(text).is_some_and(|reference| parameters.find(&reference).is_some());
        assert!(found("V") && found("{V}"));
        assert!(!found("V x") && !found("{V}x") && !found("W"));
        assert!(found("{_RANDOM}") && found("{_RANDOM 5 9}") && !found("{_RANDOM a}") && !found("{_RANDOM 1 2 3}"));
        assert!(found("{_ENV HOME}") && !found("{_ENV}") && !found("{_PWD x}"));
    }
}
