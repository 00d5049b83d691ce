//! Reads the lines of a keepalived.conf as keepalived's parser gets them: without comments, with the lines of included
//! files, with conditions evaluated and parameters replaced, and with each brace on a line of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::error::ImportError;
use super::super::input::read_text;
use super::super::location::Location;
use super::super::options::Options;
use super::super::report::ImportReport;

/// Deepest nesting of includes. Beyond it, files are assumed to include each other.
const MAX_DEPTH: usize = 32;
/// Maximum number of replacements in a line. Beyond it, parameters are assumed to refer to each other.
const MAX_REPLACEMENTS: usize = 100;

/// A line that is not empty, without a comment.
#[derive(Debug)]
pub(super) struct Line {
    pub text: String,
    pub location: Location,
}

/// Reads a file, with the files that it includes.
pub(super) fn read(path: &Path, options: &Options, report: &mut ImportReport) -> Result<Vec<Line>, ImportError> {
    let mut reader =
        Reader { lines: Vec::new(), parameters: HashMap::new(), files: 0, config_id: options.node()?, report };
    reader.file(path, None, 0)?;
    Ok(reader.lines)
}

struct Reader<'a> {
    lines: Vec<Line>,
    /// Parameters that lines such as `$NAME=value` have defined so far.
    parameters: HashMap<String, String>,
    /// Number of files that were opened so far.
    files: usize,
    /// Id that conditions such as `@ID` are compared with.
    config_id: String,
    report: &'a mut ImportReport,
}

impl Reader<'_> {
    /// Reads a file, which may be included at a line of another one.
    fn file(&mut self, path: &Path, included_at: Option<&Location>, depth: usize) -> Result<(), ImportError> {
        if let Some(location) = included_at.filter(|_| depth > MAX_DEPTH) {
            return Err(ImportError::at(location, "files include each other endlessly; break the cycle"));
        }
        let first = Location::new(path, self.files);
        self.files += 1;
        let text = read_text(path, included_at)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        for (index, line) in text.lines().enumerate() {
            let location = first.at(index + 1);
            let line = without_comment(line).map_err(|error| ImportError::at(&location, error))?;
            let Some(line) = self.evaluate(line, &location)? else { continue };
            match included(&line) {
                Some(pattern) => self.include(pattern, directory, &location, depth)?,
                None => self.split(&line, &location),
            }
        }
        Ok(())
    }

    /// Evaluates conditions, stores definitions and replaces parameters. Returns `None` if nothing of the line remains.
    fn evaluate(&mut self, line: String, location: &Location) -> Result<Option<String>, ImportError> {
        let mut line = line;
        for _ in 0..MAX_REPLACEMENTS {
            #[allow(clippy::assigning_clones, reason = "the new line is a part of the old one")]
            if let Some(condition) = line.strip_prefix('@') {
                let (negated, condition) = condition.strip_prefix('^').map_or((false, condition), |rest| (true, rest));
                let Some((id, rest)) = condition.split_once([' ', '\t']) else { return Ok(None) };
                if (id == self.config_id) == negated {
                    return Ok(None);
                }
                line = rest.trim_start().to_owned();
            }
            if let Some((name, value)) = definition(&line) {
                if value.ends_with('\\') {
                    let message = "definitions of several lines are not supported; write out what this one stands for";
                    return Err(ImportError::at(location, message));
                }
                self.parameters.insert(name.to_owned(), value.to_owned());
                return Ok(None);
            }
            if line.starts_with("~SEQ") || line.starts_with("~LST") {
                let message = "sequences are not supported; write out the lines that this one stands for";
                return Err(ImportError::at(location, message));
            }
            match self.replace(&line) {
                Some(replaced) => {
                    line = without_comment(&replaced).map_err(|error| ImportError::at(location, error))?;
                }
                None => {
                    if line.contains("${_") {
                        let advice = "a predefined parameter of keepalived is not replaced; write out its value";
                        self.report.add(location, "${_...}", advice);
                    }
                    return Ok(Some(line).filter(|line| !line.is_empty()));
                }
            }
        }
        Err(ImportError::at(location, "parameters refer to each other endlessly; break the cycle"))
    }

    /// Replaces the first parameter that is defined: `$NAME` before white space, `${NAME}` anywhere. Returns `None` if
    /// there is none.
    fn replace(&self, line: &str) -> Option<String> {
        line.match_indices('$').find_map(|(at, _)| {
            let (before, after) = (line.get(..at)?, line.get(at + 1..)?);
            let (name, rest) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}')?,
                None => {
                    let end = after.find([' ', '\t']).unwrap_or(after.len());
                    (after.get(..end)?, after.get(end..)?)
                }
            };
            Some(format!("{before}{}{rest}", self.parameters.get(name)?))
        })
    }

    /// Reads the files that match the pattern of an include.
    fn include(
        &mut self,
        pattern: &str,
        directory: &Path,
        location: &Location,
        depth: usize,
    ) -> Result<(), ImportError> {
        if pattern.contains('{') {
            let message = "includes with braces are not supported; write one include for each file";
            return Err(ImportError::at(location, message));
        }
        let directory = glob::Pattern::escape(&directory.to_string_lossy());
        let path = Path::new(&directory).join(pattern);
        let wrong = |error| ImportError::at(location, format!("the pattern of this include is not valid: {error}"));
        let matches = glob::glob(&path.to_string_lossy()).map_err(wrong)?;
        let files: Vec<PathBuf> = matches.filter_map(Result::ok).filter(|path| !path.is_dir()).collect();
        if files.is_empty() && !pattern.contains(['*', '?', '[']) {
            let advice = format!("there is no file {}; restore it, or remove the line", path.display());
            self.report.add(location, "include", advice);
        }
        files.iter().try_for_each(|file| self.file(file, Some(location), depth + 1))
    }

    /// Adds a line. Each brace outside double quotes becomes a line of its own.
    fn split(&mut self, line: &str, location: &Location) {
        let mut quoted = false;
        let mut rest = line;
        let mut start = 0;
        let mut push = |text: &str| {
            if !text.trim().is_empty() {
                self.lines.push(Line { text: text.trim().to_owned(), location: location.clone() });
            }
        };
        for (at, c) in line.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '{' | '}' if !quoted => {
                    push(line.get(start..at).unwrap_or_default());
                    push(line.get(at..=at).unwrap_or_default());
                    start = at + 1;
                    rest = line.get(start..).unwrap_or_default();
                }
                _ => {}
            }
        }
        push(rest);
    }
}

/// A quoted string does not end on its line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quoted string does not end on its line; add the second \"")]
struct OpenQuote;

/// Removes the comment and surrounding white space. A comment begins with a `!` or `#` that is not in double quotes and
/// does not follow a backslash.
fn without_comment(line: &str) -> Result<String, OpenQuote> {
    let mut result = String::new();
    let mut quoted = false;
    let mut chars = line.trim().chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                result.push(c);
            }
            '\\' => match chars.next() {
                Some(escaped @ ('!' | '#')) if !quoted => result.push(escaped),
                escaped => {
                    result.push(c);
                    result.extend(escaped);
                }
            },
            '!' | '#' if !quoted => break,
            _ => result.push(c),
        }
    }
    if quoted {
        return Err(OpenQuote);
    }
    Ok(result.trim_end().to_owned())
}

/// Parses `$NAME=value`.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    let name = name.trim_end();
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    valid.then(|| (name, value.trim_start()))
}

/// Returns the pattern of `include`, `includer`, `includem`, `includew`, `includeb` or `includea`.
fn included(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("include")?;
    let rest = rest.strip_prefix(['r', 'm', 'w', 'b', 'a']).unwrap_or(rest);
    rest.starts_with([' ', '\t']).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_start_anywhere_except_in_quotes_and_after_a_backslash() {
        for (line, expected) in [
            ("  priority 100 ! high", "priority 100"),
            ("priority 100# high", "priority 100"),
            ("# all of it", ""),
            ("script \"/bin/a # !\" # b", "script \"/bin/a # !\""),
            ("auth_pass a\\#b\\!c", "auth_pass a#b!c"),
            ("text \\x # c", "text \\x"),
        ] {
            assert_eq!(without_comment(line).as_deref(), Ok(expected), "{line}");
        }
        assert_eq!(without_comment("script \"/bin/a"), Err(OpenQuote));
    }

    #[test]
    fn definitions_have_a_name_and_a_value() {
        assert_eq!(definition("$IF=eth0"), Some(("IF", "eth0")));
        assert_eq!(definition("$IF = eth0"), Some(("IF", "eth0")));
        assert_eq!(definition("$1F=eth0"), None);
        assert_eq!(definition("$IF eth0"), None);
    }

    #[test]
    fn includes_are_distinguished_from_other_words() {
        assert_eq!(included("include conf.d/*.conf"), Some("conf.d/*.conf"));
        assert_eq!(included("includer\tx"), Some("x"));
        assert_eq!(included("included x"), None);
        assert_eq!(included("include"), None);
    }
}
