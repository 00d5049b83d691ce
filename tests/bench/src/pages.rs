//! Writes a report to its files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Report, html, text};

impl Report {
    /// Writes `report.json`, `report.html`, `report.txt`, and each plot as an SVG file.
    pub fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("report.json", &format!("{:#}\n", self.json()))?;
        write("report.html", &html::page(self))?;
        write("report.txt", &text::report(self))?;
        for section in &self.sections {
            let plots = section.findings.as_ref().map_or(&[][..], |findings| &findings.plots);
            for (number, plot) in (1..).zip(plots) {
                write(&format!("{}-{number}.svg", section.name), &plot.svg())?;
            }
        }
        Ok(())
    }
}
