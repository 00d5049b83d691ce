//! The lines of a keepalived.conf, as keepalived's reader hands them to its parser: without comments, with included
//! files in their place, conditions decided, parameters replaced, and each brace on a line of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::place::SourceLine;
use super::super::report::Report;
use super::super::{ImportError, Options, read_text};

/// Files in files in files: more is taken for a circle.
const MAX_DEPTH: usize = 32;
/// Parameters in the values of parameters: more is taken for a circle.
const MAX_REPLACEMENTS: usize = 100;

/// A line that is not empty.
#[derive(Debug)]
pub(super) struct Line {
    pub text: String,
    pub place: SourceLine,
}

pub(super) fn read(path: &Path, options: &Options, report: &mut Report) -> Result<Vec<Line>, ImportError> {
    let mut reader =
        Reader { lines: Vec::new(), parameters: HashMap::new(), files: 0, config_id: options.node()?, report };
    reader.file(path, None, 0)?;
    Ok(reader.lines)
}

struct Reader<'a> {
    lines: Vec<Line>,
    /// What `$NAME=value` lines have defined so far.
    parameters: HashMap<String, String>,
    /// How many were begun.
    files: usize,
    /// What `@ID` lines are compared with.
    config_id: String,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, included_at: Option<&SourceLine>, depth: usize) -> Result<(), ImportError> {
        if let Some(place) = included_at.filter(|_| depth > MAX_DEPTH) {
            return Err(ImportError::at(place, "files include each other without end; break the circle"));
        }
        let first = SourceLine::new(path, self.files);
        self.files += 1;
        let text = read_text(path, included_at)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        for (index, line) in text.lines().enumerate() {
            let place = first.at(index + 1);
            let line = without_comment(line).map_err(|message| ImportError::at(&place, message))?;
            let Some(line) = self.evaluate(line, &place)? else { continue };
            match included(&line) {
                Some(pattern) => self.include(pattern, directory, &place, depth)?,
                None => self.split(&line, &place),
            }
        }
        Ok(())
    }

    /// Decides conditions, notes definitions, replaces parameters. `None`: nothing is left of the line.
    fn evaluate(&mut self, line: String, place: &SourceLine) -> Result<Option<String>, ImportError> {
        let mut line = line;
        for _ in 0..MAX_REPLACEMENTS {
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
                    let message = "a definition of several lines is not understood; write out what it stands for";
                    return Err(ImportError::at(place, message));
                }
                self.parameters.insert(name.to_owned(), value.to_owned());
                return Ok(None);
            }
            if line.starts_with("~SEQ") || line.starts_with("~LST") {
                let message = "a sequence is not understood; write out the lines that it stands for";
                return Err(ImportError::at(place, message));
            }
            match self.replace(&line) {
                Some(replaced) => {
                    line = without_comment(&replaced).map_err(|message| ImportError::at(place, message))?;
                }
                None => {
                    if line.contains("${_") {
                        let advice = "a parameter of keepalived's own is left as it stands; write out its value";
                        self.report.left(place, "${_...}", advice);
                    }
                    return Ok(Some(line).filter(|line| !line.is_empty()));
                }
            }
        }
        Err(ImportError::at(place, "parameters stand for each other without end; break the circle"))
    }

    /// The first parameter that is defined, replaced: `$NAME` before white space, `${NAME}` anywhere.
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

    fn include(
        &mut self,
        pattern: &str,
        directory: &Path,
        place: &SourceLine,
        depth: usize,
    ) -> Result<(), ImportError> {
        if pattern.contains('{') {
            let message = "an include with braces is not understood; write one include for each file";
            return Err(ImportError::at(place, message));
        }
        let directory = glob::Pattern::escape(&directory.to_string_lossy());
        let path = Path::new(&directory).join(pattern);
        let wrong = |error| ImportError::at(place, format!("the pattern of this include is malformed: {error}"));
        let matches = glob::glob(&path.to_string_lossy()).map_err(wrong)?;
        let files: Vec<PathBuf> = matches.filter_map(Result::ok).filter(|path| !path.is_dir()).collect();
        if files.is_empty() && !pattern.contains(['*', '?', '[']) {
            let advice = format!("there is no {}; restore the file, or remove the line", path.display());
            self.report.left(place, "include", advice);
        }
        files.iter().try_for_each(|file| self.file(file, Some(place), depth + 1))
    }

    /// Braces outside double quotes stand alone.
    fn split(&mut self, line: &str, place: &SourceLine) {
        let mut quoted = false;
        let mut rest = line;
        let mut start = 0;
        let mut push = |text: &str| {
            if !text.trim().is_empty() {
                self.lines.push(Line { text: text.trim().to_owned(), place: place.clone() });
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

/// Without a comment (from `!` or `#` outside double quotes, unless behind a backslash) and surrounding white space.
fn without_comment(line: &str) -> Result<String, String> {
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
        return Err("a quoted string does not end on its line; put the second \" there".to_owned());
    }
    Ok(result.trim_end().to_owned())
}

/// `$NAME=value`
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    let name = name.trim_end();
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    valid.then(|| (name, value.trim_start()))
}

/// The pattern of `include`, or of `includer`, `includem`, `includew`, `includeb`, `includea`.
fn included(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("include")?;
    let rest = rest.strip_prefix(['r', 'm', 'w', 'b', 'a']).unwrap_or(rest);
    rest.starts_with([' ', '\t']).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_start_anywhere_but_in_quotes_and_behind_a_backslash() {
        for (line, left) in [
            ("  priority 100 ! high", "priority 100"),
            ("priority 100# high", "priority 100"),
            ("# all of it", ""),
            ("script \"/bin/a # !\" # b", "script \"/bin/a # !\""),
            ("auth_pass a\\#b\\!c", "auth_pass a#b!c"),
            ("text \\x # c", "text \\x"),
        ] {
            assert_eq!(without_comment(line).as_deref(), Ok(left), "{line}");
        }
        assert!(without_comment("script \"/bin/a").is_err());
    }

    #[test]
    fn definitions_have_a_name_and_a_value() {
        assert_eq!(definition("$IF=eth0"), Some(("IF", "eth0")));
        assert_eq!(definition("$IF = eth0"), Some(("IF", "eth0")));
        assert_eq!(definition("$1F=eth0"), None);
        assert_eq!(definition("$IF eth0"), None);
    }

    #[test]
    fn includes_are_told_from_other_words() {
        assert_eq!(included("include conf.d/*.conf"), Some("conf.d/*.conf"));
        assert_eq!(included("includer\tx"), Some("x"));
        assert_eq!(included("included x"), None);
        assert_eq!(included("include"), None);
    }
}
