//! Lines that stand for several: `~SEQ(VARIABLE, FIRST, STEP, LAST) line` and `~LST(VARIABLE, VALUE, ...) line`.

use std::collections::VecDeque;

use super::parameters::BLANKS;

/// A line, and the values that its variables still take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    variables: Vec<String>,
    values: Values,
    /// The line without the specification of the values.
    line: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Values {
    Range { next: i64, step: i64, last: i64, hex: bool },
    List(VecDeque<Vec<String>>),
}

impl Sequence {
    /// Parses `~SEQ(...) line` or `~SEQx(...) line`. `replace` replaces the parameters in the numbers. The error says
    /// what is wrong.
    pub fn range(text: &str, replace: impl FnOnce(&str) -> Option<String>) -> Result<Self, &'static str> {
        let malformed = "is not of the form ~SEQ(VARIABLE, FIRST, STEP, LAST)";
        let rest = text.strip_prefix("~SEQ").ok_or(malformed)?;
        let (hex, rest) = rest.strip_prefix('x').map_or((false, rest), |rest| (true, rest));
        let rest = rest.trim_start_matches(BLANKS).strip_prefix('(').ok_or(malformed)?.trim_start_matches(BLANKS);
        let (variable, rest) = rest.split_at(rest.find([' ', '\t', ',', ')']).ok_or(malformed)?);
        let rest = rest.trim_start_matches(BLANKS);
        if variable.is_empty() || variable.starts_with('{') || rest.starts_with(')') {
            return Err(malformed);
        }
        let (numbers, line) = rest.get(1..).and_then(|rest| rest.split_once(')')).ok_or(malformed)?;
        let numbers = replace(numbers).unwrap_or_else(|| numbers.to_owned());
        let numbers: Vec<i64> = numbers.split(',').map(number).collect::<Option<_>>().ok_or(malformed)?;
        let (first, step, last) = match numbers[..] {
            [last] => (if last < 0 { -1 } else { 1 }, if last < 1 { -1 } else { 1 }, last),
            [first, last] => (first, if first <= last { 1 } else { -1 }, last),
            [first, step, last] => (first, step, last),
            _ => return Err(malformed),
        };
        if step == 0 || (first < last && step < 0) || (first > last && step > 0) {
            return Err("never reaches its last value");
        }
        if hex && (first < 0 || last < 0) {
            return Err("has a negative number, which ~SEQx cannot show");
        }
        let values = Values::Range { next: first, step, last, hex };
        Ok(Self { variables: vec![variable.to_owned()], values, line: line.trim_start_matches(BLANKS).to_owned() })
    }

    /// Parses `~LST(...) line`: a variable or several in braces, and values or groups of values in braces. The error
    /// says what is wrong.
    pub fn list(text: &str) -> Result<Self, &'static str> {
        let malformed = "is not of the form ~LST(VARIABLE, VALUE, ...) or ~LST({VARIABLE, ...}, {VALUE, ...}, ...)";
        let rest = text.strip_prefix("~LST").ok_or(malformed)?.trim_start_matches(BLANKS);
        let rest = rest.strip_prefix('(').ok_or(malformed)?.trim_start_matches(BLANKS);
        let (variables, rest) = group(rest).ok_or(malformed)?;
        let mut rest = rest.strip_prefix(',').ok_or(malformed)?.trim_start_matches(BLANKS);
        let mut sets = VecDeque::new();
        loop {
            let (mut set, after) = group(rest).ok_or(malformed)?;
            if set.len() > variables.len() {
                return Err("has more values than variables");
            }
            set.resize(variables.len(), String::new());
            sets.push_back(set);
            match (after.strip_prefix(','), after.strip_prefix(')')) {
                (Some(more), _) => rest = more.trim_start_matches(BLANKS),
                (None, Some(line)) => {
                    let line = line.trim_start_matches(BLANKS).to_owned();
                    return Ok(Self { variables, values: Values::List(sets), line });
                }
                (None, None) => return Err(malformed),
            }
        }
    }

    /// Returns the line with its next values, each with its variable, or `None` after the last ones.
    pub fn next_values(&mut self) -> Option<(String, Vec<(String, String)>)> {
        let values = match &mut self.values {
            Values::Range { next, step, last, hex } => {
                if (*step > 0 && *next > *last) || (*step < 0 && *next < *last) {
                    return None;
                }
                let value = if *hex { format!("{next:x}") } else { next.to_string() };
                match next.checked_add(*step) {
                    Some(after) => *next = after,
                    // The range ends at the largest or the smallest number.
                    None => (*next, *step, *last) = (1, 1, 0),
                }
                vec![value]
            }
            Values::List(sets) => sets.pop_front()?,
        };
        Some((self.line.clone(), self.variables.iter().cloned().zip(values).collect()))
    }

    /// Returns whether there are no further values.
    pub fn is_finished(&self) -> bool {
        match &self.values {
            Values::Range { next, step, last, .. } => (*step > 0 && next > last) || (*step < 0 && next < last),
            Values::List(sets) => sets.is_empty(),
        }
    }
}

/// Parses a number as strtol(3) does: decimal, `0x` hexadecimal or `0` octal, 0 if there is none.
fn number(text: &str) -> Option<i64> {
    let text = text.trim_matches(BLANKS);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok()?,
        None if digits.is_empty() => 0,
        None if digits.starts_with('0') => i64::from_str_radix(digits, 8).ok()?,
        None if digits.starts_with(|c: char| c.is_ascii_digit()) => digits.parse().ok()?,
        None => return None,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Parses a word, or words with commas in braces, up to a comma or a parenthesis. Returns what follows.
fn group(text: &str) -> Option<(Vec<String>, &str)> {
    let Some(braced) = text.strip_prefix('{') else {
        let (word, rest) = word(text, &[' ', '\t', ',', ')'])?;
        return Some((vec![word], rest));
    };
    let mut words = Vec::new();
    let mut rest = braced.trim_start_matches(BLANKS);
    loop {
        let (next, after) = word(rest, &[' ', '\t', ',', '}', ')'])?;
        words.push(next);
        match (after.strip_prefix(','), after.strip_prefix('}')) {
            (Some(more), _) => rest = more.trim_start_matches(BLANKS),
            (None, Some(after)) => return Some((words, after.trim_start_matches(BLANKS))),
            (None, None) => return None,
        }
    }
}

/// Splits a word off. Returns what follows, without blanks.
fn word<'a>(text: &'a str, ends: &[char]) -> Option<(String, &'a str)> {
    let (word, rest) = text.split_at(text.find(ends)?);
    Some((word.to_owned(), rest.trim_start_matches(BLANKS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the values of the variables, one set after the other.
    fn values(sequence: Result<Sequence, &'static str>) -> Vec<String> {
        let mut sequence = sequence.unwrap();
        let mut all = Vec::new();
        while let Some((line, values)) = sequence.next_values() {
            assert_eq!(line, "line $x");
            all.push(values.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "));
        }
        assert!(sequence.is_finished());
        all
    }

    #[test]
    fn a_range_has_the_values_that_keepalived_documents() {
        let range = |text: &str| values(Sequence::range(&format!("~SEQ{text} line $x"), |_| None));
        assert_eq!(range("(x, 0, 3)"), ["x=0", "x=1", "x=2", "x=3"]);
        assert_eq!(range("x(x, 144, 16, 192)"), ["x=90", "x=a0", "x=b0", "x=c0"]);
        assert_eq!(range("x ( x,0x12,-1 , 0x10 ) "), ["x=12", "x=11", "x=10"]);
        assert_eq!(range("(x, 3)"), ["x=1", "x=2", "x=3"]);
        assert_eq!(range("(x, -2)"), ["x=-1", "x=-2"]);
        assert_eq!(range("(x, 0)"), ["x=1", "x=0"]);
        assert_eq!(range("(x, 5, 5)"), ["x=5"]);
        assert_eq!(range("(x, 010, 2, 11)"), ["x=8", "x=10"]);
        assert_eq!(range("(x, 9223372036854775806, 9223372036854775807)").len(), 2);
    }

    #[test]
    fn the_numbers_of_a_range_may_be_parameters() {
        let sequence = Sequence::range("~SEQ(x, 1, $N) line $x", |numbers| Some(numbers.replace("$N", "2")));
        assert_eq!(values(sequence), ["x=1", "x=2"]);
    }

    #[test]
    fn a_list_has_one_set_of_values_after_the_other() {
        let list = |text: &str| values(Sequence::list(&format!("~LST{text} line $x")));
        assert_eq!(list("(x, a, b,c)"), ["x=a", "x=b", "x=c"]);
        assert_eq!(list("({x, y}, {10,1}, {20 , 4})"), ["x=10 y=1", "x=20 y=4"]);
        assert_eq!(list("({x, y}, {10}, 20)"), ["x=10 y=", "x=20 y="]);
    }

    #[test]
    fn a_malformed_specification_is_refused() {
        for text in
            ["~SEQ x", "~SEQ()", "~SEQ(x)", "~SEQ(x, 1, 2", "~SEQ(x, a, b) y", "~SEQ(x, 08) y", "~SEQ({x}, 1) y"]
        {
            assert!(Sequence::range(text, |_| None).is_err(), "{text}");
        }
        for text in ["~SEQ(x, 1, 0, 2) y", "~SEQ(x, 1, -1, 2) y", "~SEQ(x, 2, 1, 1) y", "~SEQx(x, -1, 2) y"] {
            assert!(Sequence::range(text, |_| None).is_err(), "{text}");
        }
        for text in ["~LST x", "~LST(x)", "~LST(x, a", "~LST({x, a}", "~LST({x, y}, {1, 2, 3}) a", "~LST(x, {a, b}) c"]
        {
            assert!(Sequence::list(text).is_err(), "{text}");
        }
    }
}
