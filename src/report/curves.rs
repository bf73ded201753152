//! Curves of a run's figures over its steps, as SVG.
//!
//! ```
//! use serde_json::json;
//! use wgen::report::curves;
//!
//! let figures = [json!({ "loss": 2.0, "learning_rate": 1e-3 }), json!({ "loss": 1.0 }), json!({ "loss": 0.5, "kl": 0.1 })];
//! let rows: Vec<_> = (1..).map(|i| 100 * i).zip(figures.iter().filter_map(|row| row.as_object())).collect();
//! let svg = curves::svg(&rows)?.unwrap();
//! assert!(svg.starts_with("<svg") && svg.contains("loss") && svg.contains("kl"));
//! assert!(!svg.contains("learning_rate")); // no loss
//! assert_eq!(curves::svg(&[])?, None);
//! # Ok::<(), wgen::Error>(())
//! ```

use plotters::prelude::*;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Figures that are not drawn: they are of another kind than losses.
const LEFT_OUT: [&str; 2] = ["learning_rate", "gradient_norm"];

/// Draws figures over the training step, learning rate and gradient norms left out: a row is a step and what was measured at it, by
/// name. None where nothing can be drawn: no row has a finite number.
///
/// # Errors
/// When the plot cannot be drawn.
pub fn svg(rows: &[(u64, &Map<String, Value>)]) -> Result<Option<String>> {
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|(_, figures)| figures.keys()) {
        if !names.contains(&name.as_str()) && !LEFT_OUT.iter().any(|l| name.ends_with(l)) {
            names.push(name);
        }
    }
    let series: Vec<(&str, Vec<(f64, f64)>)> = names
        .into_iter()
        .map(|name| {
            let finite = |v: &Value| v.as_f64().filter(|v| v.is_finite());
            let point = |(step, figures): &(u64, &Map<String, Value>)| {
                Some((*step as f64, finite(figures.get(name)?)?))
            };
            (name, rows.iter().filter_map(point).collect::<Vec<_>>())
        })
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || series.iter().flat_map(|(_, points)| points.iter().copied());
    if all().next().is_none() {
        return Ok(None);
    }
    let last = all().map(|p| p.0).fold(1.0, f64::max);
    let (low, high) = all()
        .map(|p| p.1)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), y| {
            (l.min(y), h.max(y))
        });
    let margin = (high - low).max(1e-6) * 0.05;
    let mut text = String::new();
    draw(&mut text, &series, last, low - margin, high + margin)
        .map_err(|e| Error::Usage(format!("the curves cannot be drawn: {e}")))?;
    Ok(Some(text))
}

fn draw(
    text: &mut String,
    series: &[(&str, Vec<(f64, f64)>)],
    last: f64,
    low: f64,
    high: f64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, (760, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, low..high)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("nats an example")
        .light_line_style(WHITE)
        .draw()?;
    for (i, (name, points)) in series.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                color.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(2))
            });
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}
