//! Cameras, points and a box, seen from above and from the side, as SVG.
//!
//! ```
//! use wgen::report::cameras::{Frustum, Scene, svg};
//!
//! let corners = [[3., -1., 1.], [3., 1., 1.], [3., 1., -1.], [3., -1., -1.]];
//! let camera = Frustum { position: [4., 0., 0.], corners };
//! let scene = Scene { cameras: &[camera], points: &[[0.5, 0.5, 0.]], half_side: 1.5, focus: Some([0.; 3]) };
//! let text = svg(&scene)?;
//! assert!(text.starts_with("<svg") && text.contains("from above") && text.contains("<circle"));
//! # Ok::<(), wgen::Error>(())
//! ```

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};

/// The most points that are drawn.
const POINTS: usize = 2000;

/// A camera: where it is, and where the corners of its picture are drawn, one after another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frustum {
    /// Where it is.
    pub position: [f64; 3],
    /// The corners.
    pub corners: [[f64; 3]; 4],
}

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The cameras.
    pub cameras: &'a [Frustum],
    /// Points, of which so many are drawn, spread evenly, as can be told apart.
    pub points: &'a [[f64; 3]],
    /// Half the side of the box round the origin.
    pub half_side: f64,
    /// Where the cameras look.
    pub focus: Option<[f64; 3]>,
}

/// Draws a scene, z up.
///
/// # Errors
/// When it cannot be drawn.
pub fn svg(scene: &Scene<'_>) -> Result<String> {
    let mut text = String::new();
    draw(&mut text, scene).map_err(|e| Error::Usage(format!("the scene cannot be drawn: {e}")))?;
    Ok(text)
}

type Failure = Box<dyn std::error::Error>;

fn draw(text: &mut String, scene: &Scene<'_>) -> std::result::Result<(), Failure> {
    let root = SVGBackend::with_string(text, (1040, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let of_cameras = scene
        .cameras
        .iter()
        .flat_map(|c| c.corners.iter().chain([&c.position]));
    let all = of_cameras.chain(scene.focus.as_ref()).flatten();
    let far = all.fold(scene.half_side, |far, x| far.max(x.abs()));
    let far = if far.is_finite() && far > 0.0 {
        1.05 * far
    } else {
        1.0
    };
    let panels = root.split_evenly((1, 2));
    let ways = [
        ("from above (x, y)", [0, 1]),
        ("from the side (x, z)", [0, 2]),
    ];
    for (panel, (name, axes)) in panels.iter().zip(ways) {
        seen(panel, scene, name, axes, far)?;
    }
    root.present()?;
    drop(panels);
    Ok(())
}

fn seen(
    panel: &DrawingArea<SVGBackend<'_>, Shift>,
    scene: &Scene<'_>,
    name: &str,
    [across, up]: [usize; 2],
    far: f64,
) -> std::result::Result<(), Failure> {
    let mut chart = ChartBuilder::on(panel)
        .caption(name, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(-far..far, -far..far)?;
    chart.configure_mesh().light_line_style(WHITE).draw()?;
    let flat = |p: &[f64; 3]| (p[across], p[up]);
    let within = |p: &&[f64; 3]| p[across].abs() <= far && p[up].abs() <= far;
    let every = scene.points.len().div_ceil(POINTS).max(1);
    let points = scene.points.iter().step_by(every).filter(within);
    let grey = RGBColor(120, 120, 120).filled();
    chart.draw_series(points.map(|p| Circle::new(flat(p), 1, grey)))?;
    let half = scene.half_side;
    let corners = [(-half, -half), (half, half)];
    chart.draw_series([Rectangle::new(corners, BLUE.stroke_width(2))])?;
    let thin = RGBColor(200, 60, 20).stroke_width(1);
    for camera in scene.cameras {
        let [a, b, c, d] = camera.corners.map(|p| flat(&p));
        let at = flat(&camera.position);
        let lines = [vec![a, b, c, d, a], vec![a, at, b], vec![c, at, d]];
        chart.draw_series(lines.map(|line| PathElement::new(line, thin)))?;
    }
    if let Some(focus) = scene.focus {
        chart.draw_series([Cross::new(flat(&focus), 6, BLACK.stroke_width(2))])?;
    }
    Ok(())
}
