//! A benchmark as one self-contained page: a roofline plot (Williams, Waterman, Patterson 2009) and the table behind it.
//!
//! ```
//! use wgen::report::roofline::{Line, Roofline, page};
//!
//! let line = Line {
//!     name: "x + y".to_owned(),
//!     gflops: 1.5,
//!     gbytes: 18.0,
//!     share: 0.9,
//!     right: true,
//!     // ... and which variant, its times, flops and bytes, what binds it
//! #     variant: "vec4".to_owned(), best: 1e-3, median: 1.1e-3, flops: 1.5e6, bytes: 18e6, bound: "memory".to_owned(),
//! };
//! # let text = |t: &str| t.to_owned();
//! # let (name, backend, kind, driver) = (text("a <GPU>"), text("Vulkan"), text("DiscreteGpu"), text("1.0"));
//! # let (version, clock, working_set, rounds) = (text("0.1"), text("Timestamps"), 1 << 28, 9);
//! let lines = vec![line];
//! let (gflops, gbytes) = (1000.0, 20.0); // the ceilings
//! let report = Roofline { gflops, gbytes, lines, name, backend, kind, driver, version, working_set, rounds, clock };
//! let html = page(&report)?;
//! assert!(html.contains("<svg") && html.contains("<td>x + y</td>"));
//! # assert!(html.contains("a &lt;GPU&gt;"));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt::Write as _;

use plotters::prelude::*;

use crate::error::{Error, Result};

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Roofline {
    /// The device.
    pub name: String,
    /// How it is reached.
    pub backend: String,
    /// What kind it is: discrete, integrated, software.
    pub kind: String,
    /// Its driver.
    pub driver: String,
    /// The version of what measured.
    pub version: String,
    /// The ceiling of arithmetic, 1e9 flops a second.
    pub gflops: f64,
    /// The ceiling of memory, 1e9 bytes a second.
    pub gbytes: f64,
    /// Bytes that the memory's ceiling was measured over.
    pub working_set: u64,
    /// Rounds of which the best counts.
    pub rounds: usize,
    /// What times were read from.
    pub clock: String,
    /// The points of the plot and rows of the table.
    pub lines: Vec<Line>,
}

/// A row of the table, and a point of the plot where it has flops and bytes.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was computed.
    pub name: String,
    /// By which kernel.
    pub variant: String,
    /// Seconds, best round.
    pub best: f64,
    /// Seconds, median round.
    pub median: f64,
    /// Flops of one run.
    pub flops: f64,
    /// Bytes that one run must move.
    pub bytes: f64,
    /// 1e9 flops a second, best round.
    pub gflops: f64,
    /// 1e9 bytes a second, best round.
    pub gbytes: f64,
    /// Of the binding ceiling, 0 to 1.
    pub share: f64,
    /// The binding ceiling: compute or memory.
    pub bound: String,
    /// Whether the result was right.
    pub right: bool,
}

/// The page. Nothing in it is fetched from elsewhere.
///
/// # Errors
/// When the plot cannot be drawn.
pub fn page(report: &Roofline) -> Result<String> {
    let mut plot = String::new();
    draw(&mut plot, report).map_err(|e| Error::Usage(format!("the plot cannot be drawn: {e}")))?;
    let mut rows = String::new();
    for (i, line) in report.lines.iter().enumerate() {
        let verdict = if line.right { "right" } else { "WRONG" };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}</td><td>{:.1}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td><td>{verdict}</td></tr>",
            i + 1,
            escape(&line.name),
            escape(&line.variant),
            line.best * 1e3,
            line.median * 1e3,
            line.gflops,
            line.gbytes,
            line.share,
            escape(&line.bound),
        );
    }
    Ok(format!(
        r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>wgen bench: {name}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; color: #222; }}
table {{ border-collapse: collapse; font-size: 13px; }}
td, th {{ padding: 2px 8px; text-align: left; border-bottom: 1px solid #ddd; }}
td:nth-child(n+4):nth-child(-n+8) {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style></head><body>
<h1>wgen bench</h1>
<p>{name} ({backend}, {kind}), driver {driver}; wgen {version}.
Ceilings measured in the same run: {flops:.1} GFLOP/s of multiply-adds, {bytes:.1} GB/s copied over {set} MiB.
Best of {rounds} interleaved rounds; {clock}. Numbers in the plot are those of the table.</p>
{plot}
<table><tr><th>#</th><th>what</th><th>variant</th><th>best ms</th><th>median ms</th><th>GFLOP/s</th><th>GB/s</th><th>share</th><th>bound</th><th>result</th></tr>
{rows}</table>
</body></html>
"#,
        name = escape(&report.name),
        backend = escape(&report.backend),
        kind = escape(&report.kind),
        driver = escape(&report.driver),
        version = escape(&report.version),
        flops = report.gflops,
        bytes = report.gbytes,
        set = report.working_set >> 20,
        rounds = report.rounds,
        clock = escape(&report.clock),
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn draw(
    text: &mut String,
    report: &Roofline,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (flops, bytes) = (report.gflops, report.gbytes);
    // Lines without flops have no place in a roofline; the table has them.
    let points: Vec<(usize, f64, f64)> = report
        .lines
        .iter()
        .enumerate()
        .filter(|(_, l)| l.flops > 0.0 && l.bytes > 0.0 && l.gflops > 0.0)
        .map(|(i, l)| (i + 1, l.flops / l.bytes, l.gflops))
        .collect();
    let ridge = flops / bytes;
    let low_x = points.iter().map(|p| p.1).fold(ridge / 10.0, f64::min) / 2.0;
    let high_x = points.iter().map(|p| p.1).fold(ridge * 10.0, f64::max) * 2.0;
    let low_y = points.iter().map(|p| p.2).fold(flops / 10.0, f64::min) / 2.0;
    let root = SVGBackend::with_string(text, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (low_x..high_x).log_scale(),
            (low_y..flops * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("flops a byte")
        .y_desc("GFLOP/s")
        .light_line_style(WHITE)
        .draw()?;
    let roof = [(low_x, low_x * bytes), (ridge, flops), (high_x, flops)];
    chart.draw_series(LineSeries::new(roof, BLACK.stroke_width(2)))?;
    chart.draw_series(points.iter().map(|&(i, x, y)| {
        EmptyElement::at((x, y))
            + Circle::new((0, 0), 3, BLUE.filled())
            + Text::new(i.to_string(), (5, -5), ("sans-serif", 11))
    }))?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}
