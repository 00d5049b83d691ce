//! Draws plots as SVG, without a library and without scripts. They can be viewed on their own and in the page, in light
//! and in dark.

use std::fmt::Write;

use super::samples::{Samples, number};

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Heading.
    pub title: String,
    /// Label of the axis of values, with the unit, such as `ms after the deadline`.
    pub axis: String,
    /// Whether the axis of values is logarithmic.
    pub logarithmic: bool,
    /// Value at which a line is drawn, such as a target, and its label.
    pub mark: Option<(f64, String)>,
    /// What is drawn.
    pub body: Body,
}

/// The samples of a plot, with the way in which they are drawn.
#[derive(Clone, Debug)]
pub enum Body {
    /// A dot for each sample, and a stroke for the median.
    Dots(Vec<Group>),
    /// A bar up to the median, with a whisker from the minimum to the maximum.
    Bars(Vec<Group>),
    /// Lines of values over something else. The text is the label of the horizontal axis.
    Lines(String, Vec<Line>),
}

/// A few programs that are drawn one below the other, with a common name on the left.
#[derive(Clone, Debug)]
pub struct Group {
    /// The common name.
    pub name: String,
    /// Programs with their samples.
    pub series: Vec<(String, Samples)>,
}

/// The line of one program.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name of the program.
    pub program: String,
    /// Points of the line: the value on the horizontal axis, and that on the vertical one.
    pub points: Vec<(f64, f64)>,
}

impl Group {
    /// Creates a group without programs.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), series: Vec::new() }
    }

    /// Adds a program.
    #[must_use]
    pub fn with(mut self, program: impl Into<String>, samples: Samples) -> Self {
        self.series.push((program.into(), samples));
        self
    }
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 270.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 64.0;
const ROW: f64 = 22.0;
const GAP: f64 = 12.0;
const LINES_HEIGHT: f64 = 260.0;
const INNER: f64 = WIDTH - LEFT - RIGHT;

const STYLE: &str = "\
.xp{font:13px system-ui,-apple-system,'DejaVu Sans',sans-serif;background:#fff}
.xp text{fill:#1f2328}.xp .t{font-size:15px;font-weight:600}.xp .q{fill:#59636e;font-size:12px}
.xp .b{fill:#fff}.xp .g{stroke:#d1d9e0}.xp .m{stroke:#cf222e;stroke-dasharray:5 4}.xp .mt{fill:#cf222e;font-size:12px}
.xp .w{stroke:#1f2328;stroke-width:1.5}.xp polyline{fill:none;stroke-width:2}
.xp .s0{fill:#0969da;stroke:#0969da}.xp .s1{fill:#bc4c00;stroke:#bc4c00}
.xp .s2{fill:#1a7f37;stroke:#1a7f37}.xp .s3{fill:#8250df;stroke:#8250df}
@media(prefers-color-scheme:dark){.xp{background:#0d1117}.xp text{fill:#f0f6fc}.xp .q{fill:#9198a1}
.xp .b{fill:#0d1117}.xp .g{stroke:#3d444d}.xp .m{stroke:#f85149}.xp .mt{fill:#f85149}.xp .w{stroke:#f0f6fc}
.xp .s0{fill:#58a6ff;stroke:#58a6ff}.xp .s1{fill:#f0883e;stroke:#f0883e}
.xp .s2{fill:#3fb950;stroke:#3fb950}.xp .s3{fill:#bc8cff;stroke:#bc8cff}}";

impl Plot {
    /// Draws the plot as an SVG image, in the colours of the reader's light or dark theme.
    pub fn svg(&self) -> String {
        match &self.body {
            Body::Dots(groups) => self.rows(groups, dots),
            Body::Bars(groups) => self.rows(groups, bar),
            Body::Lines(over, lines) => self.lines(over, lines),
        }
    }

    fn rows(&self, groups: &[Group], draw: fn(&mut String, &Scale, &Samples, f64, usize)) -> String {
        let programs = names(groups.iter().flat_map(|group| group.series.iter().map(|(program, _)| program)));
        let rows: usize = groups.iter().map(|group| group.series.len()).sum();
        let height = units(rows) * ROW + units(groups.len()) * GAP;
        let values = groups.iter().flat_map(|group| group.series.iter().flat_map(|(_, samples)| samples.values()));
        let from_zero = matches!(self.body, Body::Bars(_));
        let scale = self.scale(values.copied(), from_zero, LEFT, INNER);
        let mut svg = self.head(TOP + height + 50.0, &programs);
        self.value_axis(&mut svg, &scale, height);
        let mut y = TOP + GAP / 2.0;
        for group in groups {
            let middle = y + units(group.series.len()) * ROW / 2.0 + 4.0;
            text(&mut svg, LEFT - 10.0, middle, "end", "", &group.name);
            for (program, samples) in &group.series {
                let color = programs.iter().position(|name| *name == program).unwrap_or(0);
                draw(&mut svg, &scale, samples, y + ROW / 2.0, color);
                let last = if from_zero { samples.max() } else { WIDTH };
                let x = if from_zero { scale.at(last) + 6.0 } else { WIDTH - RIGHT + 8.0 };
                text(&mut svg, x, y + ROW / 2.0 + 4.0, "start", "q", &number(samples.median()));
                y += ROW;
            }
            y += GAP;
        }
        svg + "</svg>\n"
    }

    fn value_axis(&self, svg: &mut String, scale: &Scale, height: f64) {
        let bottom = TOP + height;
        for tick in scale.ticks() {
            let x = scale.at(tick);
            line(svg, (x, TOP), (x, bottom), "g");
            text(svg, x, bottom + 16.0, "middle", "q", &number(tick));
        }
        text(svg, LEFT + INNER / 2.0, bottom + 36.0, "middle", "q", &self.axis);
        if let Some((value, name)) = &self.mark {
            let x = scale.at(*value);
            line(svg, (x, TOP - 6.0), (x, bottom), "m");
            text(svg, x + 4.0, TOP - 2.0, "start", "mt", name);
        }
    }

    fn lines(&self, over: &str, lines: &[Line]) -> String {
        const LEFT: f64 = 70.0;
        let inner = WIDTH - LEFT - RIGHT;
        let programs = names(lines.iter().map(|line| &line.program));
        let points = || lines.iter().flat_map(|line| &line.points);
        let across = Scale::new(points().map(|(x, _)| *x), false, false, LEFT, inner);
        let up = self.scale(points().map(|(_, y)| *y), true, TOP + LINES_HEIGHT, -LINES_HEIGHT);
        let mut svg = self.head(TOP + LINES_HEIGHT + 50.0, &programs);
        for tick in up.ticks() {
            let y = up.at(tick);
            line(&mut svg, (LEFT, y), (LEFT + inner, y), "g");
            text(&mut svg, LEFT - 8.0, y + 4.0, "end", "q", &number(tick));
        }
        text(&mut svg, WIDTH - 14.0, 46.0, "end", "q", &self.axis);
        for tick in across.ticks() {
            text(&mut svg, across.at(tick), TOP + LINES_HEIGHT + 16.0, "middle", "q", &number(tick));
        }
        text(&mut svg, LEFT + inner / 2.0, TOP + LINES_HEIGHT + 36.0, "middle", "q", over);
        if let Some((value, name)) = &self.mark {
            line(&mut svg, (LEFT, up.at(*value)), (LEFT + inner, up.at(*value)), "m");
            text(&mut svg, LEFT + inner, up.at(*value) - 4.0, "end", "mt", name);
        }
        for (color, line) in lines.iter().enumerate() {
            let at: Vec<String> =
                line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", across.at(x), up.at(y))).collect();
            let _ = writeln!(svg, r#"<polyline class="s{}" points="{}" style="fill:none"/>"#, color % 4, at.join(" "));
            for &(x, y) in &line.points {
                circle(&mut svg, across.at(x), up.at(y), 3.5, color);
            }
        }
        svg + "</svg>\n"
    }

    fn scale(&self, values: impl Iterator<Item = f64>, from_zero: bool, start: f64, length: f64) -> Scale {
        let mark = self.mark.iter().map(|(value, _)| *value);
        Scale::new(values.chain(mark), from_zero, self.logarithmic, start, length)
    }

    /// Draws everything above the plot itself: title and legend.
    fn head(&self, height: f64, programs: &[&str]) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"xp\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{0}\">\n<style>{STYLE}</style>\n\
             <rect class=\"b\" width=\"100%\" height=\"100%\"/>\n",
            escape(&self.title)
        );
        text(&mut svg, 14.0, 24.0, "start", "t", &self.title);
        let mut x = 14.0;
        for (color, program) in programs.iter().enumerate() {
            circle(&mut svg, x + 5.0, 42.0, 5.0, color);
            text(&mut svg, x + 15.0, 46.0, "start", "q", program);
            x += 34.0 + 7.0 * units(program.chars().count());
        }
        svg
    }
}

fn dots(svg: &mut String, scale: &Scale, samples: &Samples, y: f64, color: usize) {
    for (number, value) in samples.values().iter().enumerate() {
        // Dots are spread vertically, always in the same way, so that they do not hide each other.
        let aside = units(number * 7 % 5) * 2.5 - 5.0;
        let _ = writeln!(
            svg,
            r#"<circle class="s{}" cx="{:.1}" cy="{:.1}" r="3" style="stroke:none" fill-opacity=".55"/>"#,
            color % 4,
            scale.at(*value),
            y + aside
        );
    }
    let median = scale.at(samples.median());
    line(svg, (median, y - 9.0), (median, y + 9.0), "w");
}

fn bar(svg: &mut String, scale: &Scale, samples: &Samples, y: f64, color: usize) {
    let (start, end) = (scale.start, scale.at(samples.median()));
    let _ = writeln!(
        svg,
        r#"<rect class="s{}" x="{start}" y="{:.1}" width="{:.1}" height="14"/>"#,
        color % 4,
        y - 7.0,
        (end - start).max(0.5)
    );
    if samples.count() > 1 {
        line(svg, (scale.at(samples.min()), y), (scale.at(samples.max()), y), "w");
    }
}

/// Conversion of values to positions.
#[derive(Debug)]
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    start: f64,
    length: f64,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, from_zero: bool, logarithmic: bool, start: f64, length: f64) -> Self {
        let usable = |value: &f64| !logarithmic || *value > 0.0;
        let (mut low, mut high) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if !low.is_finite() {
            (low, high) = (1.0, 10.0);
        }
        if logarithmic {
            low = 10_f64.powf(low.log10().floor());
            high = 10_f64.powf(high.log10().ceil()).max(low * 10.0);
        } else {
            if from_zero {
                low = low.min(0.0);
            }
            let margin = if high > low { (high - low) * 0.04 } else { 1.0 };
            high += margin;
            low = if low == 0.0 { 0.0 } else { low - margin };
        }
        Self { low, high, logarithmic, start, length }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + self.length * share
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = std::iter::successors(Some(self.low), |tick| Some(tick * 10.0));
            return decades.take_while(|tick| *tick <= self.high * 1.001).collect();
        }
        let rough = (self.high - self.low) / 7.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(magnitude);
        let first = (self.low / step).ceil();
        (0..20).map(|count| (first + f64::from(count)) * step).take_while(|tick| *tick <= self.high).collect()
    }
}

fn names<'a>(programs: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for program in programs {
        if !names.contains(&program.as_str()) {
            names.push(program.as_str());
        }
    }
    names
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let _ =
        writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#, escape(words));
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
    let _ = writeln!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
}

fn circle(svg: &mut String, x: f64, y: f64, radius: f64, color: usize) {
    let _ = writeln!(svg, r#"<circle class="s{}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#, color % 4);
}

/// Escapes a string for the text and the attributes of HTML and SVG.
pub fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Converts a small count to a length.
fn units(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_a_few_round_ticks_within_its_ends() {
        let scale = Scale::new([0.0, 9.3].into_iter(), true, false, 0.0, 100.0);
        assert_eq!(scale.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        let scale = Scale::new([3.0, 450.0].into_iter(), true, true, 0.0, 100.0);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert!((scale.at(10.0) - 100.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn names_that_look_like_markup_are_escaped() {
        let samples = Samples::of([1.0]).expect("a number");
        let body = Body::Bars(vec![Group::new("a < b & c").with("\"x\"", samples)]);
        let plot = Plot { title: "<t>".into(), axis: "ms".into(), logarithmic: false, mark: None, body };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("<t>"), "{svg}");
    }
}
