//! Reads the lines of a keepalived.conf as keepalived's parser gets them (`read_line` in its lib/parser.c): without
//! comments, with the lines of included files, with conditions evaluated and parameters replaced, with sequences
//! written out, and with each brace on a line of its own.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{env, fs, vec};

use super::super::error::ImportError;
use super::super::input::read_bytes;
use super::super::location::Location;
use super::super::options::Options;
use super::super::report::ImportReport;
use super::include::{self, Demands, Found};
use super::parameters::{BLANKS, Meaning, Parameters, Reference, definition, reference};
use super::sequences::Sequence;
use super::text::{first_word, split_at_brace, without_comment};

/// Deepest nesting of includes. Beyond it, files are assumed to include each other.
const MAX_DEPTH: usize = 32;
/// Maximum number of files that are opened, each as often as it is included.
const MAX_FILES: usize = 10_000;
/// Maximum number of lines that are read or made by definitions and sequences.
const MAX_LINES: usize = 1_000_000;
/// Maximum number of bytes that these lines and all files have.
const MAX_BYTES: usize = 64 << 20;
/// Maximum number of replacements in a line. Beyond it, parameters are assumed to refer to each other.
const MAX_REPLACEMENTS: usize = 1_000;
/// Longest line after the replacement of parameters, in bytes.
const MAX_REPLACED: usize = 1 << 14;
/// Longest line that keepalived reads, in bytes.
const LONGEST_IN_KEEPALIVED: usize = 1_022;

/// A line that is not empty, without a comment.
#[derive(Debug)]
pub(super) struct Line {
    pub text: String,
    pub location: Location,
}

/// Reads a file, with the files that it includes.
pub(super) fn read(path: &Path, options: &Options, report: &mut ImportReport) -> Result<Vec<Line>, ImportError> {
    let mut reader = Reader {
        files: Vec::new(),
        opened: 0,
        current: Location::new(path, 0),
        fetched: 0,
        bytes: 0,
        residue: None,
        sequences: Vec::new(),
        expansions: Vec::new(),
        parameters: Parameters::predefined(),
        demands: Demands::default(),
        depth: 0,
        in_global_defs: false,
        config_id: options.node()?,
        report,
    };
    reader.open(vec![path.to_owned()].into(), None)?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line()? {
        lines.push(line);
    }
    Ok(lines)
}

struct Reader<'a> {
    /// The file that is read, after those that include it.
    files: Vec<OpenFile>,
    /// Number of files that were opened so far.
    opened: usize,
    /// The latest line of a file that was read.
    current: Location,
    /// Number of lines that were read or made so far.
    fetched: usize,
    /// Number of bytes of these lines.
    bytes: usize,
    /// What follows a brace on the same line.
    residue: Option<String>,
    /// Sequences that have further values, the innermost last.
    sequences: Vec<Sequence>,
    /// Definitions of several lines that are being written out, the innermost last.
    expansions: Vec<Expansion>,
    parameters: Parameters,
    /// What `include_check` demands of each include.
    demands: Demands,
    /// Number of blocks that are open.
    depth: usize,
    in_global_defs: bool,
    /// Id that conditions such as `@ID` are compared with.
    config_id: String,
    report: &'a mut ImportReport,
}

struct OpenFile {
    lines: vec::IntoIter<Vec<u8>>,
    /// Line 1 of the file.
    first: Location,
    /// Number of lines that were read.
    number: usize,
    directory: PathBuf,
    /// Files of the same include that come next, and the line of that include.
    waiting: VecDeque<PathBuf>,
    included_at: Option<Location>,
    /// Value of [`Reader::demands`] at the include.
    demands: Demands,
}

/// The lines of a definition that are still to come.
struct Expansion {
    lines: Rc<[String]>,
    next: usize,
    /// Number of sequences that had begun before this expansion: they continue after it.
    sequences: usize,
}

/// What a [`Reader`] has for the next line.
enum Fetched {
    Line(String),
    /// An empty line of a file, or a comment, which ends a definition of several lines.
    Blank,
    End,
}

impl Reader<'_> {
    /// Returns the next line.
    fn next_line(&mut self) -> Result<Option<Line>, ImportError> {
        loop {
            let line = match self.fetch()? {
                Fetched::Line(line) => line,
                Fetched::Blank => continue,
                Fetched::End => return Ok(None),
            };
            self.count_bytes(line.len())?;
            let Some(line) = self.evaluate(line)? else { continue };
            if let Some((demands, pattern)) = include::parse(&line) {
                self.include(pattern, demands)?;
                continue;
            }
            let (line, residue) = split_at_brace(&line);
            self.residue = residue.map(str::to_owned);
            if line.is_empty() {
                continue;
            }
            self.follow(line);
            return Ok(Some(Line { text: line.to_owned(), location: self.current.clone() }));
        }
    }

    /// Counts bytes of lines and files. Nothing that a file says makes the import use more memory than that.
    fn count_bytes(&mut self, count: usize) -> Result<(), ImportError> {
        self.bytes += count;
        if self.bytes > MAX_BYTES {
            let message = format!("there are more than {} MiB up to here; shorten the lines", MAX_BYTES >> 20);
            return Err(ImportError::at(&self.current, message));
        }
        Ok(())
    }

    /// Returns a line before its evaluation: what follows a brace, the next line of a sequence, the next line of a
    /// definition, or a line of a file.
    fn fetch(&mut self) -> Result<Fetched, ImportError> {
        self.fetched += 1;
        if self.fetched > MAX_LINES {
            let message =
                format!("there are more than {MAX_LINES} lines up to here; shorten the definitions and sequences");
            return Err(ImportError::at(&self.current, message));
        }
        if let Some(residue) = self.residue.take() {
            return Ok(Fetched::Line(residue));
        }
        let suspended = self.expansions.last().map_or(0, |expansion| expansion.sequences);
        if self.sequences.len() > suspended
            && let Some(sequence) = self.sequences.last_mut()
        {
            let next = sequence.next_values();
            if sequence.is_finished() {
                self.sequences.pop();
            }
            let Some((line, values)) = next else { return Ok(Fetched::Blank) };
            for (variable, value) in values {
                self.parameters.define(&variable, Meaning::Text(value));
            }
            return Ok(Fetched::Line(line));
        }
        if let Some(expansion) = self.expansions.last_mut() {
            let line = expansion.lines.get(expansion.next).cloned().unwrap_or_default();
            expansion.next += 1;
            if expansion.next >= expansion.lines.len() {
                self.expansions.pop();
            }
            return Ok(Fetched::Line(line));
        }
        self.fetch_from_file()
    }

    /// Returns the next line of a file. keepalived writes the lines without their comments to another file, where its
    /// VRRP process removes comments again: a comment in a definition of several lines is an empty line there, and a
    /// backslash protects a `#` only once. `global_defs` are read before.
    fn fetch_from_file(&mut self) -> Result<Fetched, ImportError> {
        loop {
            let Some(file) = self.files.last_mut() else { return Ok(Fetched::End) };
            let Some(bytes) = file.lines.next() else {
                self.close()?;
                continue;
            };
            file.number += 1;
            self.current = file.first.at(file.number);
            let first = file.number == 1;
            let line = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| first);
            let marked = line.is_some();
            let line = line.unwrap_or(&bytes);
            let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
            let line = line.get(..end).unwrap_or_default();
            if line.is_empty() {
                return Ok(Fetched::Blank);
            }
            let once = without_comment(&String::from_utf8_lossy(line));
            let plain = if self.in_global_defs { once.clone() } else { without_comment(&once) };
            if plain != once {
                let advice = "keepalived reads this line twice, and the second time, the # or ! after the backslash begins \
                              a comment; put the word into double quotes";
                self.report.changed(&self.current, first_word(&once), advice);
            }
            if plain.is_empty() {
                return Ok(Fetched::Blank);
            }
            if plain.contains('\u{fffd}') {
                let advice = "has a character that is not UTF-8, which becomes \u{fffd}; save the file as UTF-8";
                self.report.changed(&self.current, first_word(&plain), advice);
            }
            if line.len() > LONGEST_IN_KEEPALIVED {
                let advice = format!(
                    "is longer than the {LONGEST_IN_KEEPALIVED} bytes of a line that keepalived reads; here, the whole \
                     line counts"
                );
                self.report.changed(&self.current, first_word(&plain), advice);
            }
            if marked {
                let advice = "keepalived does not know this word, because the file begins with a byte order mark; here, \
                              the mark is ignored";
                self.report.changed(&self.current, first_word(&plain), advice);
            }
            return Ok(Fetched::Line(plain));
        }
    }

    /// Opens the next file of an include that can be read.
    fn open(&mut self, mut waiting: VecDeque<PathBuf>, included_at: Option<Location>) -> Result<(), ImportError> {
        let Some(path) = waiting.pop_front() else { return Ok(()) };
        if let Some(location) = &included_at {
            if self.files.len() > MAX_DEPTH {
                return Err(ImportError::at(location, "files include each other endlessly; break the cycle"));
            }
            if self.opened >= MAX_FILES {
                let message = format!("more than {MAX_FILES} files are included up to here; include each of them once");
                return Err(ImportError::at(location, message));
            }
        }
        let first = Location::new(&path, self.opened);
        self.opened += 1;
        let text = read_bytes(&path, included_at.as_ref())?;
        self.count_bytes(text.len())?;
        let lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let lines = lines.into_iter();
        self.files.push(OpenFile { lines, first, number: 0, directory, waiting, included_at, demands: self.demands });
        Ok(())
    }

    /// Closes the current file, and opens the next one of the same include.
    fn close(&mut self) -> Result<(), ImportError> {
        let Some(file) = self.files.pop() else { return Ok(()) };
        self.demands = file.demands;
        self.open(file.waiting, file.included_at)
    }

    /// Reads the files that match the pattern of an include next.
    fn include(&mut self, pattern: &str, demands: Demands) -> Result<(), ImportError> {
        let directory = self.files.last().map(|file| file.directory.clone()).unwrap_or_default();
        let demands = demands | self.demands;
        let Found { files, complaints } = include::find(pattern, &directory, demands);
        for complaint in complaints {
            if complaint.fatal {
                let message = format!("{}; keepalived does not start either", complaint.message);
                return Err(ImportError::at(&self.current, format!("include: {message}")));
            }
            if complaint.loss {
                self.report.add(&self.current, "include", complaint.message);
            } else {
                self.report.changed(&self.current, "include", complaint.message);
            }
        }
        self.open(files.into(), Some(self.current.clone()))
    }

    /// Follows the lines for what changes the reading of the next ones: the begin and the end of `global_defs`, and
    /// `include_check`.
    fn follow(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("{") => self.depth += 1,
            Some("}") => {
                self.depth = self.depth.saturating_sub(1);
                self.in_global_defs &= self.depth > 0;
            }
            Some("global_defs") if self.depth == 0 => self.in_global_defs = true,
            Some("include_check") => self.demands = self.demands.changed(words),
            _ => {}
        }
    }

    /// Evaluates conditions and replaces parameters. Returns `None` for a line that defines a parameter, begins a
    /// sequence, or whose condition is not met.
    fn evaluate(&mut self, mut line: String) -> Result<Option<String>, ImportError> {
        for _ in 0..MAX_REPLACEMENTS {
            if let Some(condition) = line.strip_prefix('@') {
                let (negated, condition) = condition.strip_prefix('^').map_or((false, condition), |rest| (true, rest));
                let Some((id, rest)) = condition.split_once(BLANKS) else { return Ok(None) };
                if (id == self.config_id) == negated {
                    return Ok(None);
                }
                let remaining = rest.trim_start_matches(BLANKS).to_owned();
                line = remaining;
            }
            if let Some((name, value)) = definition(&line) {
                let (name, value) = (name.to_owned(), value.to_owned());
                self.define(&name, &value)?;
                return Ok(None);
            }
            if line.starts_with("~SEQ") || line.starts_with("~LST") {
                self.begin_sequence(&line)?;
                return Ok(None);
            }
            if line.starts_with('~') {
                return Ok(Some(line));
            }
            let Some(replaced) = self.replace(&line)? else { return Ok(Some(line)) };
            line = without_comment(&replaced);
            if line.is_empty() {
                return Ok(None);
            }
            if !line.starts_with('@') && !line.contains('$') {
                return Ok(Some(line));
            }
        }
        Err(self.endless())
    }

    fn endless(&self) -> ImportError {
        ImportError::at(&self.current, "parameters refer to each other endlessly; break the cycle")
    }

    /// Reads a definition, with the lines that continue it.
    fn define(&mut self, name: &str, value: &str) -> Result<(), ImportError> {
        let Some(first) = value.strip_suffix('\\') else {
            self.parameters.define(name, Meaning::Text(value.to_owned()));
            return Ok(());
        };
        let mut lines = Vec::new();
        let mut add = |line: &str| {
            let line = line.trim_end_matches(BLANKS);
            if !line.is_empty() {
                lines.push(line.to_owned());
            }
        };
        add(first);
        while let Fetched::Line(line) = self.fetch()? {
            let Some(continued) = line.strip_suffix('\\') else {
                add(&line);
                break;
            };
            add(continued);
        }
        let meaning = if lines.is_empty() { Meaning::Text(String::new()) } else { Meaning::Lines(lines.into()) };
        self.parameters.define(name, meaning);
        Ok(())
    }

    fn begin_sequence(&mut self, line: &str) -> Result<(), ImportError> {
        let sequence = if line.starts_with("~SEQ") {
            let mut replaced = Ok(None);
            let sequence = Sequence::range(line, |numbers| {
                replaced = self.replace(numbers);
                replaced.as_ref().ok().cloned().flatten()
            });
            replaced?;
            sequence
        } else {
            Sequence::list(line)
        };
        match sequence {
            Ok(sequence) => self.sequences.push(sequence),
            Err(wrong) => {
                let advice = format!("{wrong}, so keepalived ignores the line; correct it");
                self.report.changed(&self.current, line.get(..4).unwrap_or(line), advice);
            }
        }
        Ok(())
    }

    /// Replaces the parameters that are defined. Returns `None` if there are none.
    fn replace(&mut self, line: &str) -> Result<Option<String>, ImportError> {
        let mut line = line.to_owned();
        let mut replaced = false;
        let mut from = 0;
        for _ in 0..MAX_REPLACEMENTS {
            let Some(at) = line.get(from..).and_then(|rest| rest.find('$')).map(|at| from + at) else {
                return Ok(replaced.then_some(line));
            };
            let reference = line.get(at + 1..).and_then(reference);
            let meaning = reference.as_ref().and_then(|found| self.parameters.find(found).cloned());
            let (Some(reference), Some(meaning)) = (reference, meaning) else {
                from = at + 1;
                continue;
            };
            let value = self.value(meaning, &reference);
            let rest = reference.rest.to_owned();
            line.truncate(at);
            line.push_str(&value);
            line.push_str(&rest);
            replaced = true;
            // The value may refer to parameters in turn, so the search continues at its beginning.
            from = at;
            if value.trim_start_matches(BLANKS).starts_with('~') {
                return Ok(Some(line));
            }
            if line.len() > MAX_REPLACED {
                break;
            }
        }
        Err(self.endless())
    }

    /// Returns what a reference stands for. The further lines of a definition are read next.
    fn value(&mut self, meaning: Meaning, reference: &Reference) -> String {
        match meaning {
            Meaning::Text(text) => text,
            Meaning::Lines(lines) => {
                if lines.len() > 1 {
                    let sequences = self.sequences.len();
                    self.expansions.push(Expansion { lines: Rc::clone(&lines), next: 1, sequences });
                }
                lines.first().cloned().unwrap_or_default()
            }
            Meaning::ConfigId => self.config_id.clone(),
            Meaning::Directory => {
                let directory = self.files.last().map_or(Path::new(""), |file| file.directory.as_path());
                let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                let absolute = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
                absolute.to_string_lossy().into_owned()
            }
            Meaning::Random => {
                let mut bounds = reference.arguments.iter().map(|bound| bound.parse().unwrap_or(u64::from(u32::MAX)));
                let min = bounds.next().unwrap_or(0);
                let max = bounds.next().unwrap_or(32_767).max(min);
                let value = min + RandomState::new().hash_one(0) % (max - min).saturating_add(1);
                let advice = format!("became {value}, and stays that; keepalived takes another number at each start");
                self.report.changed(&self.current, "${_RANDOM}", advice);
                value.to_string()
            }
            Meaning::Environment => {
                let name = reference.arguments.first().copied().unwrap_or_default();
                let value = env::var(name).unwrap_or_default();
                let advice = format!(
                    "became {value:?}, from the environment of this command; make sure that keepalived's service has the \
                     same"
                );
                self.report.changed(&self.current, "${_ENV}", advice);
                value
            }
        }
    }
}
