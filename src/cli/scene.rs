//! `wgen scene`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::Output;
use super::flags::flags;
use super::outputs::{self, Content, Outputs};
use super::posed::{SceneArguments, of_views};
use crate::data::Spec;
use crate::data::scene::doctor::{self, Examination, Examined};
use crate::data::scene::{Camera, Pose};
use crate::error::Result;
use crate::report::cameras::{self, Frustum};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The scene's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    reading: SceneArguments,
    /// Half the side of the box round the origin that a field is to learn
    #[arg(long, default_value_t = doctor::HALF_SIDE)]
    half_side: f64,
    /// A picture of it, as SVG: cameras, points and the box from above and from the side
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<()> {
    // As --data has it.
    let folder = arguments
        .folder
        .to_str()
        .and_then(|f| f.strip_prefix("scene:"));
    let folder = folder.map_or_else(|| arguments.folder.clone(), PathBuf::from);
    let spec = Spec::Scene(folder.clone());
    let output = &Outputs::default()
        .of_data(Some(&spec))
        .optional("--out", arguments.out.as_ref(), Content::Text)
        .check(output)?;
    let found = doctor::examine(&folder, &arguments.reading.options(), arguments.half_side)?;
    let report = &found.report;
    output.say(&format!("{spec}: read as {}", report.format));
    // Nothing was decoded: what is transparent is not known.
    for line in of_views(&report.posed) {
        output.say(&line.replace(
            ", none transparent: what is behind them is part of them",
            "",
        ));
    }
    for line in lines(report) {
        output.say(&line);
    }
    if let Some(path) = &arguments.out {
        outputs::write(path, drawn(&found)?.as_bytes())?;
        output.say(&format!("drawn in {}", path.display()));
    }
    output.result(&json!({
        "scene": folder,
        "examination": report,
        "file": arguments.out,
    }))
}

fn place(p: [f64; 3]) -> String {
    format!("({:.3}, {:.3}, {:.3})", p[0], p[1], p[2])
}

/// What was found, a line each.
fn lines(found: &Examination) -> Vec<String> {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let [low, high] = found.cameras;
    let mut lines = vec![format!(
        "cameras stand in the box from {} to {}",
        place(low),
        place(high)
    )];
    lines.push(match &found.focus {
        Some(focus) => format!(
            "their axes meet at {}: half of them pass it by at most {:.3}, from at most {:.3} away; {} of the cameras have it before them",
            place(focus.place),
            focus.passed_by,
            focus.distance,
            percent(focus.before)
        ),
        None => "their axes are parallel: they look at no place in common".to_owned(),
    });
    if let Some(points) = &found.points {
        let [low, high] = points.reach;
        lines.push(format!(
            "{} points, nearly all between {} and {}; {} of them in the box of half side {}",
            points.count,
            place(low),
            place(high),
            percent(points.in_box),
            found.half_side
        ));
    }
    if let Some(seen) = &found.reprojection {
        lines.push(format!(
            "they are seen {:.3} pixels from where they should be in the median, {:.3} at the 95th percentile, {} of them",
            seen.median, seen.percentile_95, seen.seen
        ));
    }
    lines.push(format!(
        "{} of the rays meet the box of half side {} round the origin; {} of the cameras stand in it",
        percent(found.rays_in_box),
        found.half_side,
        percent(found.cameras_in_box)
    ));
    if let Some(proposal) = &found.proposal {
        lines.push(format!(
            "by its {}: --half-side {:.3}, or the scene {:.4} times as large (--scene-scale) for this box",
            proposal.by, proposal.half_side, proposal.scale
        ));
    }
    lines.extend(found.notes.iter().map(|note| flags(note)));
    let warnings = found.warnings.iter();
    lines.extend(warnings.map(|w| format!("warning: {}", flags(&w.text))));
    if found.warnings.is_empty() {
        lines.push("nothing is found to be wrong".to_owned());
    }
    lines
}

/// The picture: cameras reach a tenth as far as they are from the origin.
fn drawn(found: &Examined) -> Result<String> {
    let [_, mean, _] = found.views.distances();
    let length = (0.12 * mean).max(0.05 * found.report.half_side);
    let frustum = |(pose, camera): (&Pose, &Camera)| {
        let (w, h) = (camera.width as f64, camera.height as f64);
        let position = pose.position();
        let corners = [(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)].map(|(x, y)| {
            // Through a pinhole: a lens bends corners out of the picture.
            let d = pose.rotated(camera.pinhole().direction(x, y));
            [0, 1, 2].map(|i| position[i] + length * d[i])
        });
        Frustum { position, corners }
    };
    let views = found.views.poses.iter().zip(&found.views.cameras);
    cameras::svg(&cameras::Scene {
        cameras: &views.map(frustum).collect::<Vec<_>>(),
        points: &found.points,
        half_side: found.report.half_side,
        focus: found.report.focus.map(|f| f.place),
    })
}
