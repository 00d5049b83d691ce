//! `cargo xtask screenshot`: draws the screen of `xvrrp status --watch`, which runs in a lab of two gateways.
//!
//! The two hosts have four virtual routers. The other host hands one of them over, so that there is a history. The
//! picture is docs/pictures/status-watch.svg.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};
use xvrrp_lab::{Lab, PATIENCE, Terminal, VirtualRouter, Xvrrp, eventually, workspace};

const ROWS: u16 = Terminal::ROWS;
const COLUMNS: u16 = Terminal::COLUMNS;
/// Width and height of a character cell in pixels.
const CELL: (f32, f32) = (8.4, 18.0);
/// Width of the margin in pixels.
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

    let mut terminal = Terminal::watch_status(&agents[1])?;
    // It takes two documents to compute a rate.
    let screen = eventually("the screen shows rates", PATIENCE, || {
        let screen = terminal.screen()?;
        let lines: Vec<String> = screen.rows(0, COLUMNS).collect();
        let measured = lines.get(2).is_some_and(|line| line.starts_with("* ACTIVE lan ") && !line.contains(" - "));
        ensure!(measured, "{lines:#?}");
        Ok(screen)
    })?;
    terminal.press("q")?;
    terminal.wait()?;
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

/// Draws the screen as an SVG picture, with one text element for each run of cells that look alike.
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

/// The look of a cell.
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
    // The text is as wide as its cells, whatever font the reader has.
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
