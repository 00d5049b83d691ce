//! Writes the report as text, 100 columns wide.

use std::fmt::Write;

use super::report::{Figure, Findings, Outcome, Report, Row, Section};
use super::samples::{number, share};

/// Column at which paragraphs are wrapped.
const WIDTH: usize = 100;

/// Returns the whole report.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in report.machine.facts() {
        let _ = writeln!(text, "{name:12} {value}");
    }
    for part in &report.sections {
        text.push_str(&section(part));
    }
    text + "\n" + &summary(report)
}

/// Returns the part about one subject.
pub fn section(section: &Section) -> String {
    let mut text = format!("\n{}: {} ({:.0?})\n", section.name, section.title, section.took);
    match &section.findings {
        Ok(found) => findings(&mut text, found),
        Err(error) => wrap(&mut text, "FAILED: ", error),
    }
    text
}

/// Returns the number of targets that are met, and a list of those that are not.
pub fn summary(report: &Report) -> String {
    let count = |wanted: fn(&Outcome) -> bool| report.targets().filter(|(_, _, t)| wanted(&t.outcome)).count();
    let mut text = if report.quick {
        "This was a quick run: its figures mean nothing, and targets are not judged.\n".to_owned()
    } else {
        let met = count(|outcome| *outcome == Outcome::Met);
        let not_comparable = count(|outcome| matches!(outcome, Outcome::NotComparable(_)));
        format!("targets: {met} met, {} missed, {not_comparable} not comparable\n", report.missed())
    };
    for (section, row, target) in report.targets().filter(|(_, _, target)| target.outcome == Outcome::Missed) {
        let medians: Vec<String> = row.figures.iter().map(|figure| number(figure.samples.median())).collect();
        let _ = writeln!(
            text,
            "  MISSED {}: {}: median {} {}; target: {}",
            section.name,
            row.what,
            medians.join(", "),
            row.unit,
            target.what
        );
    }
    for name in report.failed() {
        let _ = writeln!(text, "  FAILED {name}");
    }
    text
}

fn findings(text: &mut String, findings: &Findings) {
    wrap(text, "", &findings.how);
    let _ = writeln!(
        text,
        "\n{:37}{:14}{:>5}{:>8}{:>8}{:>8}{:>8} {:>5} {:>6}",
        "", "", "n", "min", "median", "p99", "max", "ratio", "target"
    );
    for row in &findings.rows {
        figures(text, row);
    }
    let mut targets: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in &findings.rows {
        let Some(target) = &row.target else { continue };
        if let Outcome::NotComparable(reason) = &target.outcome {
            wrap(text, "not comparable: ", &format!("{}: {reason}", row.what));
        }
        match targets.iter_mut().find(|(what, _)| *what == target.what) {
            Some((_, rows)) => rows.push(&row.what),
            None => targets.push((&target.what, vec![&row.what])),
        }
    }
    for (what, rows) in targets {
        wrap(text, "target: ", &format!("{what} ({})", rows.join("; ")));
    }
    for note in &findings.notes {
        wrap(text, "note: ", note);
    }
}

fn figures(text: &mut String, row: &Row) {
    let mut what = format!("{}, {}", row.what, row.unit);
    if what.chars().count() > 36 {
        let _ = writeln!(text, "{what}");
        what.clear();
    }
    let mut verdict = row.target.as_ref().map_or("", |target| target.verdict());
    for figure in row.figures.iter().chain(&row.reference) {
        let ratio = if is_reference(row, figure) { None } else { row.ratio(figure) };
        let ratio = ratio.map(share).unwrap_or_default();
        let samples = &figure.samples;
        let _ = writeln!(
            text,
            "{what:37}{:14}{:>5}{:>8}{:>8}{:>8}{:>8} {ratio:>5} {verdict:>6}",
            figure.program,
            samples.count(),
            number(samples.min()),
            number(samples.median()),
            number(samples.p99()),
            number(samples.max()),
        );
        (what, verdict) = (String::new(), "");
    }
}

fn is_reference(row: &Row, figure: &Figure) -> bool {
    row.reference.as_ref().is_some_and(|reference| std::ptr::eq(reference, figure))
}

fn wrap(text: &mut String, label: &str, words: &str) {
    let mut line = label.trim_end().to_owned();
    for word in words.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = "  ".to_owned() + word;
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let _ = writeln!(text, "{line}");
}
