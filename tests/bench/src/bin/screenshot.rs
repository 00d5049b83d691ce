//! `cargo xtask screenshot`: what `xvrrp status --watch` shows, drawn by the real program in a lab of two gateways.
//!
//! Four virtual routers of two hosts; the other host hands one over, so that there is a history. The screen goes into
//! docs/pictures/status-watch.svg.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, VirtualRouter, Xvrrp, agent_binary, eventually, workspace};

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;
/// In pixels.
const CELL: (f32, f32) = (8.4, 18.0);
const MARGIN: f32 = 14.0;

fn main() -> Result<()> {
    let lab = Lab::new(2)?;
    let mut agents = Vec::new();
    for (host, priorities) in lab.routers.iter().zip([[200, 200, 100, 200], [100, 100, 200, 100]]) {
        let name = format!("router_id = \"gw-{}\"", ['a', 'b'][agents.len()]);
        agents.push(Xvrrp::start_by(host, &virtual_routers(priorities), &[], &name)?);
    }
    for (name, state) in [("lan", "backup"), ("dmz", "backup"), ("voip", "active"), ("storage", "backup")] {
        agents[1].wait_for_state(name, state)?;
    }
    agents[0].wait_for_state("lan", "active")?;
    let (status, text) = agents[0].hand_over("lan", &["--force"])?;
    ensure!(status == Some(0), "{text}");
    agents[1].wait_for_state("lan", "active")?;

    let directory = tempfile::tempdir()?;
    let drawn = directory.path().join("screen");
    let mut terminal = Terminal::start(&agents[1].control(), &drawn)?;
    // Two documents more, for the rates between them.
    let screen = eventually("the screen shows rates", PATIENCE, || {
        let screen = screen(&fs::read(&drawn)?)?;
        let lines: Vec<String> = screen.rows(0, COLUMNS).collect();
        let measured = lines.get(2).is_some_and(|line| line.starts_with("* ACTIVE lan ") && !line.contains(" - "));
        ensure!(measured, "{lines:#?}");
        Ok(screen)
    })?;
    terminal.quit()?;
    for agent in &mut agents {
        agent.stop()?;
    }
    let path = workspace().join("docs/pictures/status-watch.svg");
    fs::write(&path, svg(&screen)).with_context(|| format!("cannot write {}", path.display()))?;
    println!("docs/pictures/status-watch.svg");
    Ok(())
}

fn virtual_routers(priorities: [u8; 4]) -> Vec<VirtualRouter> {
    let names = ["lan", "dmz", "voip", "storage"];
    let router = |(index, name): (usize, &&str)| {
        VirtualRouter::lan(priorities[index])
            .with("name", &format!("{name:?}"))
            .with("vrid", &(51 + index).to_string())
            .with("addresses", &format!("[\"192.0.2.{}/24\"]", 101 + index))
    };
    names.iter().enumerate().map(router).collect()
}

/// The command in a terminal; script(1) records what is drawn there.
struct Terminal(Child);

impl Terminal {
    fn start(control: &Path, drawn: &Path) -> Result<Self> {
        let (agent, control) = (agent_binary()?, control.display());
        let watch =
            format!("stty rows {ROWS} cols {COLUMNS}; exec {} status --watch --control {control}", agent.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &watch]).arg(drawn);
        Ok(Self(script.env("TERM", "xterm-256color").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?))
    }

    fn quit(&mut self) -> Result<()> {
        self.0.stdin.as_mut().context("stdin")?.write_all(b"q")?;
        eventually("the command ends", PATIENCE, || self.0.try_wait()?.context("it runs")).map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
        thread::sleep(Duration::from_millis(1));
    }
}

fn screen(drawn: &[u8]) -> Result<vt100::Screen> {
    let [rows, columns] = [ROWS, COLUMNS].map(NonZero::new);
    let mut terminal = vt100::Parser::new(rows.context("rows")?, columns.context("columns")?, 0);
    terminal.process(drawn);
    Ok(terminal.screen().clone())
}

/// The screen as a picture: one text element for each run of cells that look alike.
fn svg(screen: &vt100::Screen) -> String {
    let (width, height) = (f32::from(COLUMNS) * CELL.0 + 2.0 * MARGIN, f32::from(ROWS) * CELL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" \
         font-size=\"14\" role=\"img\" aria-label=\"xvrrp status --watch\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1c1f26\"/>\n"
    );
    for row in 0..ROWS {
        let mut column = 0;
        while column < COLUMNS {
            let look = look(screen, row, column);
            let end = (column..COLUMNS).find(|end| self::look(screen, row, *end) != look).unwrap_or(COLUMNS);
            draw(&mut svg, &screen.contents_between(row, column, row, end), (row, column), look);
            column = end;
        }
    }
    svg + "</svg>\n"
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    bold: bool,
    red: bool,
    inverse: bool,
}

fn look(screen: &vt100::Screen, row: u16, column: u16) -> Look {
    let cell = screen.cell(row, column);
    let red = cell.is_some_and(|cell| cell.fgcolor() == vt100::Color::Idx(1));
    Look { bold: cell.is_some_and(vt100::Cell::bold), red, inverse: cell.is_some_and(vt100::Cell::inverse) }
}

fn draw(svg: &mut String, text: &str, (row, column): (u16, u16), Look { bold, red, inverse }: Look) {
    if text.trim().is_empty() && !inverse {
        return;
    }
    let (x, y) = (MARGIN + f32::from(column) * CELL.0, MARGIN + f32::from(row) * CELL.1);
    let length = text.chars().count();
    // As wide as its cells, whatever font the reader has.
    let width = length as f32 * CELL.0;
    let (mut fill, weight) = (if red { "#ff7b72" } else { "#d8dee9" }, if bold { " font-weight=\"bold\"" } else { "" });
    if inverse {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>",
            CELL.1
        );
        fill = "#1c1f26";
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text xml:space=\"preserve\" x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\" fill=\"{fill}\"{weight}>{text}</text>",
        y + 13.0
    );
}
