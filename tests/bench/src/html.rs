//! Writes the report as one self-contained page.

use std::fmt::Write;

use super::plot::escape;
use super::report::{Figure, Findings, Outcome, Report, Row};
use super::samples::{number, share};
use super::text::summary;

const STYLE: &str = "\
:root{color-scheme:light dark;--f:#1f2328;--b:#fff;--q:#59636e;--l:#d1d9e0;--s:#f6f8fa;--ok:#1a7f37;--no:#cf222e}
@media(prefers-color-scheme:dark){:root{--f:#f0f6fc;--b:#0d1117;--q:#9198a1;--l:#3d444d;--s:#151b23;--ok:#3fb950;--no:#f85149}}
body{font:15px/1.5 system-ui,-apple-system,'DejaVu Sans',sans-serif;color:var(--f);background:var(--b);max-width:60rem;
margin:2rem auto;padding:0 1rem}h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.5rem;border-top:1px solid var(--l);
padding-top:1.2rem}table{border-collapse:collapse;margin:1rem 0;font-size:13px}td,th{padding:.25rem .6rem;text-align:right;
border-bottom:1px solid var(--l)}th{color:var(--q);font-weight:600}td:first-child,th:first-child,.l{text-align:left}
td{font-variant-numeric:tabular-nums}.q{color:var(--q)}.met{color:var(--ok)}.missed{color:var(--no);font-weight:600}
pre{background:var(--s);padding:.8rem;overflow:auto}svg{max-width:100%;height:auto;display:block;margin:1rem 0}
.wide{overflow-x:auto}td:nth-child(2){white-space:nowrap}nav a{margin-right:1rem}a{color:inherit}";

/// Returns the whole page.
pub fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>xvrrp bench</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style></head><body>\n\
         <h1>xvrrp beside keepalived</h1>\n<nav>"
    );
    for section in &report.sections {
        let _ = write!(page, "<a href=\"#{0}\">{0}</a>", section.name);
    }
    page.push_str("</nav>\n<table>\n");
    for (name, value) in report.machine.facts() {
        let _ = writeln!(page, "<tr><th>{name}</th><td class=\"l\">{}</td></tr>", escape(&value));
    }
    let _ = writeln!(page, "</table>\n<pre>{}</pre>", escape(&summary(report)));
    for section in &report.sections {
        let name = section.name;
        let _ = writeln!(page, "<h2 id=\"{name}\">{name}: {}</h2>", escape(section.title));
        match &section.findings {
            Ok(found) => findings(&mut page, found),
            Err(error) => {
                let _ = writeln!(page, "<p class=\"missed\">Failed: {}</p>", escape(error));
            }
        }
        let _ = writeln!(
            page,
            "<p class=\"q\"><code>cargo xtask bench {name}</code>, {:.0} s</p>",
            section.took.as_secs_f64()
        );
    }
    page + "</body></html>\n"
}

fn findings(page: &mut String, findings: &Findings) {
    let _ = writeln!(page, "<p>{}</p>", escape(&findings.how));
    for plot in &findings.plots {
        page.push_str(&plot.svg());
    }
    page.push_str(
        "<div class=\"wide\"><table>\n<tr><th></th><th class=\"l\"></th><th>n</th><th>min</th><th>median</th><th>p99</th>\
         <th>max</th><th>ratio</th><th class=\"l\">target</th></tr>\n",
    );
    for row in &findings.rows {
        for (number, figure) in row.figures.iter().enumerate() {
            figure_row(page, row, figure, number == 0, row.ratio(figure));
        }
        if let Some(reference) = &row.reference {
            figure_row(page, row, reference, row.figures.is_empty(), None);
        }
    }
    page.push_str("</table></div>\n");
    if !findings.notes.is_empty() {
        let notes: String = findings.notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
        let _ = writeln!(page, "<ul>\n{notes}</ul>");
    }
}

fn figure_row(page: &mut String, row: &Row, figure: &Figure, first: bool, ratio: Option<f64>) {
    let what = if first { format!("{}, {}", row.what, row.unit) } else { String::new() };
    let target = row.target.as_ref().filter(|_| first).map(|target| {
        let (class, reason) = match &target.outcome {
            Outcome::Met => ("met", String::new()),
            Outcome::Missed => ("missed", String::new()),
            Outcome::NotComparable(reason) => ("q", format!(" ({})", escape(reason))),
            Outcome::NotJudged => ("q", String::new()),
        };
        format!("<span class=\"{class}\">{}</span> {}{reason}", target.verdict(), escape(&target.what))
    });
    let samples = &figure.samples;
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td class=\"l\">{}</td><td>{}</td><td>{}</td><td><b>{}</b></td><td>{}</td><td>{}</td><td>{}</td>\
         <td class=\"l\">{}</td></tr>",
        escape(&what),
        escape(&figure.program),
        samples.count(),
        number(samples.min()),
        number(samples.median()),
        number(samples.p99()),
        number(samples.max()),
        ratio.map(share).unwrap_or_default(),
        target.unwrap_or_default(),
    );
}
