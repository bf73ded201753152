//! How posed pictures are read, and what is said of them.

use clap::Args;

use super::common::counted;
use super::flags::{flags, message};
use crate::data::images::Options;
use crate::data::report::Posed;
use crate::data::scene::{Format, World};

fn scene_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error| message(&error))
}

/// How posed pictures are read; where a run is given, it knows.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct SceneArguments {
    /// Make a scene so many times larger than its format has it
    #[arg(long, value_name = "FACTOR")]
    pub(super) scene_scale: Option<f64>,
    /// Make the pictures of a scene so many times smaller along each side, their cameras with them
    #[arg(long, value_name = "N")]
    pub(super) downscale: Option<u32>,
    /// Which of several lists of a scene's cameras is read: blender, transforms, llff or colmap [default: the first of these that is there]
    #[arg(long, value_name = "FORMAT", value_parser = scene_format)]
    pub(super) scene_format: Option<Format>,
}

impl SceneArguments {
    /// What they say of a scene of no run.
    pub(super) fn options(&self) -> Options {
        Options {
            scene_scale: self.scene_scale,
            scene_downscale: self.downscale,
            scene_format: self.scene_format,
            ..Options::default()
        }
    }
}

/// Views, their cameras, and what was passed over.
pub(super) fn of_views(posed: &Posed) -> Vec<String> {
    let mut lines = vec![of_pictures(posed)];
    lines.extend(of_cameras(posed));
    let [least, mean, most] = posed.distances;
    lines.push(format!(
        "cameras are {least:.3} to {most:.3} from the origin, {mean:.3} in the mean (the world's units)"
    ));
    let [narrow, wide] = posed.fields_of_view;
    if (wide > 150.0 && posed.lenses[1] == 0) || narrow < 3.0 {
        lines.push(
            "that is an unusual field of view: are focal length and picture size of one picture?"
                .to_owned(),
        );
    }
    lines.extend(of_world(posed));
    if posed.missing > 0 {
        lines.push(format!(
            "{} of {} listed pictures are missing and passed over: {}",
            posed.missing,
            posed.listed,
            posed.missing_shown()
        ));
    }
    lines.extend(posed.notes.iter().map(|note| flags(note)));
    lines
}

fn of_pictures(posed: &Posed) -> String {
    let views = posed.views;
    let alpha = match posed.transparent {
        0 => "none transparent: what is behind them is part of them".to_owned(),
        n if n == views => "all of them transparent somewhere".to_owned(),
        n => format!("{n} of them transparent somewhere"),
    };
    let [[w, h], [wide, high]] = posed.sizes;
    let size = if [w, h] == [wide, high] {
        format!("of {w} x {h}")
    } else {
        format!("from {w} to {wide} wide and {h} to {high} high")
    };
    let mut line = format!("views: {} {size}, {alpha}", counted(views, "picture"));
    let mut add = |count: usize, what: &str| {
        if count > 0 {
            line += &format!("; {count} {what}");
        }
    };
    add(posed.held_out, "more held out");
    add(posed.turned, "turned as their cameras say (EXIF)");
    add(
        posed.not_turned,
        "left as they are stored, though their cameras say otherwise (EXIF)",
    );
    add(posed.masks, "with masks");
    add(
        posed.left_out as usize,
        "pixels are no rays (masks, lenses)",
    );
    if posed.smaller > 1 {
        line += &format!("; {} times smaller than their files", posed.smaller);
    }
    line
}

fn of_cameras(posed: &Posed) -> Vec<String> {
    let [fx, fy] = posed.focal;
    let [cx, cy] = posed.centre;
    let [across, down] = posed.field_of_view;
    let focal = if fx == fy {
        format!("{fx:.3}")
    } else {
        format!("{fx:.3} x {fy:.3}")
    };
    let mut lines = vec![if posed.cameras <= 1 {
        format!(
            "camera: focal length {focal} pixels, field of view {across:.2} x {down:.2} degrees, axis at ({cx:.1}, {cy:.1})"
        )
    } else {
        let ([short, long], [narrow, wide]) = (posed.focal_lengths, posed.fields_of_view);
        format!(
            "{} cameras: focal lengths {short:.3} to {long:.3} pixels, fields of view {narrow:.2} to {wide:.2} degrees; the first's axis at ({cx:.1}, {cy:.1})",
            posed.cameras
        )
    }];
    let [lenses, fisheyes] = posed.lenses;
    if lenses > 0 {
        let of = if fisheyes > 0 {
            format!(", {fisheyes} of them fisheyes")
        } else {
            String::new()
        };
        lines.push(format!(
            "lenses of {} are undone{of}: rays are bent, pictures stay as they are",
            counted(lenses, "view")
        ));
    }
    lines
}

/// What was done to the world of the files, and what they say of boxes and depths.
fn of_world(posed: &Posed) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(format) = posed.format.filter(|_| !posed.world.is_identity()) {
        let world = &posed.world;
        let [x, y, z] = world.shift;
        let turned = if world.rotation == World::default().rotation {
            ""
        } else {
            "turned, "
        };
        lines.push(format!(
            "world: the files' ({format}), {turned}{:.6} times as large, its origin at ({x:.3}, {y:.3}, {z:.3})",
            world.scale
        ));
    }
    if let Some(half) = posed.half_side {
        lines.push(format!(
            "the files suggest a box of half side {half:.3} (--half-side)"
        ));
    }
    if let Some([near, far]) = posed.bounds {
        lines.push(format!("the files say depths from {near:.3} to {far:.3}"));
    }
    lines
}
