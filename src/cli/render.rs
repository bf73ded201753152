//! `wgen render`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::common::{Output, RunArguments, open};
use super::outputs;
use crate::data::Spec;
use crate::data::idx::Part;
use crate::data::scene::{Pose, path};
use crate::error::{Error, Result};
use crate::evaluate::views::{Renderer, View};
use crate::files::write_synced;
use crate::gpu::Choice;
use crate::kernels::camera_rays::Camera;
use crate::report::{depth, grid};
use crate::run::Run;
use crate::tensor::ImageShape;

/// What is drawn of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Red, green and blue
    Colour,
    /// Along the camera's axis, as 16-bit grey and as f32 npy
    Depth,
    /// Along the ray, likewise
    Distance,
    /// How much of the background is hidden
    Opacity,
}

/// Where the camera goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Once round the origin
    Orbit,
    /// LLFF's spiral about the training views
    Spiral,
    /// The scene's test views
    Test,
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    /// The folder that the frames are written to
    #[arg(long)]
    out: PathBuf,
    /// Where the camera goes
    #[arg(long, value_enum, default_value_t = Way::Orbit, conflicts_with = "path")]
    way: Way,
    /// The cameras' places: a JSON list of 4x4 matrices, or a transforms.json
    #[arg(long)]
    path: Option<PathBuf>,
    /// The scene, for the ways through its views [default: the run's]
    #[arg(long, value_parser = super::common::spec)]
    data: Option<Spec>,
    /// Frames of the orbit or the spiral
    #[arg(long, default_value_t = 40)]
    frames: usize,
    /// The orbit's radius, in the scene's units
    #[arg(long, default_value_t = 4.0)]
    radius: f64,
    /// The orbit's height: degrees below the ground, so that -30 looks down
    #[arg(long, default_value_t = -30.0, allow_negative_numbers = true)]
    elevation: f64,
    /// Pixels across, as high as the run's pictures are [default: the run's]
    #[arg(long)]
    width: Option<usize>,
    /// What is drawn
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [What::Colour])]
    what: Vec<What>,
    /// Colours and opacity also as f32 npy
    #[arg(long)]
    npy: bool,
    /// Also an animation of the colours
    #[arg(long)]
    gif: Option<PathBuf>,
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    if arguments.frames == 0 || arguments.frames > 10_000 {
        return Err(Error::Usage(format!(
            "--frames {} must be from 1 to 10000",
            arguments.frames
        )));
    }
    outputs::check_folder(&arguments.out, None)?;
    let run = arguments.run.open()?;
    let model = run.model();
    let Some(own) = model.camera() else {
        return Err(model.cannot("show views: it is no radiance field"));
    };
    let camera = match arguments.width {
        Some(width) if width == 0 || width > 16_384 => {
            return Err(Error::Usage(format!(
                "--width {width} must be from 1 to 16384"
            )));
        }
        Some(width) => {
            let height = (own.height * width).div_ceil(own.width).max(1);
            own.resized(width, height)
        }
        None => own,
    };
    let poses = poses(arguments, &run)?;
    let device = open(output, choice)?;
    let mut renderer = Renderer::new(&device, model, run.weights(), &camera)?;
    std::fs::create_dir_all(&arguments.out).map_err(|e| Error::io(&arguments.out, e))?;
    let mut frames = Vec::new();
    for (i, pose) in poses.iter().enumerate() {
        let view = renderer.view(pose)?;
        for what in &arguments.what {
            write(arguments, i, *what, &view, &camera)?;
        }
        if arguments.gif.is_some() {
            frames.push(grid::plain(&view.colour, shape(&camera, 3)));
        }
    }
    if let Some(path) = &arguments.gif {
        outputs::write_animation(path, &frames, 80)?;
    }
    output.say(&format!(
        "{} views of {} x {} in {}",
        poses.len(),
        camera.width,
        camera.height,
        arguments.out.display()
    ));
    output.result(&json!({"views": poses.len(), "folder": arguments.out, "camera": camera}))
}

fn shape(camera: &Camera, channels: usize) -> ImageShape {
    ImageShape {
        height: camera.height,
        width: camera.width,
        channels,
    }
}

fn poses(arguments: &Arguments, run: &Run) -> Result<Vec<Pose>> {
    if let Some(file) = &arguments.path {
        return path::from_json(file);
    }
    if arguments.way == Way::Orbit {
        return Ok(path::orbit(
            arguments.frames,
            arguments.elevation,
            arguments.radius,
        ));
    }
    let spec = match &arguments.data {
        Some(spec) => spec.clone(),
        None => run.data().parse()?,
    };
    let part = match arguments.way {
        Way::Test => Part::Test,
        _ => Part::Training,
    };
    let scene = spec.load(part, &run.config().reading.images)?;
    let views = scene.views.ok_or_else(|| {
        Error::Usage(format!(
            "{spec} is no posed pictures; give `data` scene:DIR"
        ))
    })?;
    match arguments.way {
        Way::Test => Ok(views.poses.clone()),
        _ => {
            let [near, ..] = views.distances();
            path::spiral(&views.poses, 0.5 * near, 2.0 * near, arguments.frames, 2.0)
        }
    }
}

fn write(
    arguments: &Arguments,
    frame: usize,
    what: What,
    view: &View,
    camera: &Camera,
) -> Result<()> {
    let path = |name: &str, ending: &str| {
        let file = format!("{name}_{frame:04}.{ending}");
        arguments.out.join(file)
    };
    let array = |name: &str, values: &[f32], channels: &[usize]| {
        let shape = [&[camera.height, camera.width], channels].concat();
        write_synced(&path(name, "npy"), &depth::npy(values, &shape)?)
    };
    let of_depth = |name: &str, values: &[f32]| {
        let png = depth::depth_png(
            values,
            (camera.width, camera.height),
            depth::scale(values),
            name,
        )?;
        write_synced(&path(name, "png"), &png)?;
        array(name, values, &[])
    };
    match what {
        What::Colour => {
            let picture = grid::plain(&view.colour, shape(camera, 3));
            write_synced(&path("colour", "png"), &grid::png(&picture)?)?;
            if arguments.npy {
                array("colour", &view.colour, &[3])?;
            }
            Ok(())
        }
        What::Opacity => {
            let png = grid::grey_png(&view.opacity, camera.width, camera.height)?;
            write_synced(&path("opacity", "png"), &png)?;
            if arguments.npy {
                array("opacity", &view.opacity, &[])?;
            }
            Ok(())
        }
        What::Depth => of_depth("depth", &view.depth),
        What::Distance => of_depth("distance", &view.distance),
    }
}
