//! `wgen mesh`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::common::{Output, RunArguments, open};
use super::measuring::Measuring;
use super::outputs::{self, Content, Outputs};
use crate::error::{Error, Result};
use crate::evaluate::field::Field;
use crate::evaluate::mesh::{Lattice, PLACES, Settings, surface};
use crate::gpu::Choice;
use crate::models::Extent;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    /// The file: .ply or .obj; PLY where its name has no ending
    #[arg(long)]
    out: PathBuf,
    /// Cells along the box's longest side
    #[arg(long, default_value_t = 256)]
    resolution: usize,
    /// How dense the surface is: the optical thickness of a unit of the scene [default: that at which a step of the run's views hides half]
    #[arg(long)]
    threshold: Option<f64>,
    /// The box, in the scene's units; the mesh is closed at its walls [default: the run's]
    #[arg(long = "box", value_name = "X0,Y0,Z0,X1,Y1,Z1", value_parser = corners, allow_hyphen_values = true)]
    corners: Option<Corners>,
    /// What a ball of so many cells' radius cannot reach from outside counts as inside, dense or not: closes holes that are narrower and fills what is
    /// hollow behind a surface [default: nothing is filled]
    #[arg(long, value_name = "CELLS")]
    fill: Option<f64>,
    /// Only so many of its parts, those of largest volume; cavities are none [default: all]
    #[arg(long)]
    largest: Option<usize>,
}

/// Two corners of a box.
type Corners = [[f64; 3]; 2];

fn corners(text: &str) -> std::result::Result<Corners, String> {
    let numbers: Vec<Option<f64>> = text.split(',').map(|n| n.trim().parse().ok()).collect();
    match numbers[..] {
        [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)] => {
            let pairs = [(a, d), (b, e), (c, f)];
            Ok([pairs.map(|(a, b)| a.min(b)), pairs.map(|(a, b)| a.max(b))])
        }
        _ => Err("wants six numbers, x,y,z of one corner and x,y,z of the opposite one".to_owned()),
    }
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let output = Outputs::default()
        .file("--out", &arguments.out, Content::Mesh)
        .of_run(&arguments.run.folder)
        .check(output)?;
    if arguments.largest == Some(0) {
        return Err(Error::field(
            "largest",
            "0 leaves no part; 1 is the largest",
        ));
    }
    let run = arguments.run.open()?;
    let model = run.model();
    let Extent { low, high, step } = model.extent()?;
    let [low, high] = arguments.corners.unwrap_or([low, high]);
    let lattice = Lattice::new(low, high, arguments.resolution)?;
    let threshold = Settings::default_threshold(step);
    let settings = Settings {
        fill: arguments.fill,
        ..Settings::at(arguments.threshold.unwrap_or(threshold))
    };
    settings.check()?;
    // What no device has room for, before one is opened.
    settings.check_memory(&lattice, u64::MAX)?;
    let device = open(&output, choice)?;
    settings.check_memory(&lattice, device.caps().binding_bytes)?;
    let begin = Instant::now();
    let places = lattice.cells().iter().product::<usize>().min(PLACES);
    let mut field = Field::new(&device, model, run.weights(), places)?;
    let all: f64 = lattice.cells().iter().map(|n| *n as f64 - 1.0).product();
    let measuring = Measuring::new(&output);
    let mut asked = 0;
    let found = surface(&device, &lattice, &settings, |places| {
        measuring.at("densities", asked as f64 / all);
        asked += places.len();
        field.densities(places)
    })?;
    measuring.end();
    let parts = found.mesh.components();
    let mut mesh = found.mesh;
    let mut kept = parts.volumes.len();
    if let Some(count) = arguments.largest {
        let largest = parts.largest(count);
        kept = largest.len();
        mesh = mesh.of_components(&largest, &parts);
    }
    field.paint(&mut mesh)?;
    outputs::write_mesh(&arguments.out, &mesh)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (area, volume) = (mesh.area(), mesh.volume());
    let [least, most] = found.densities;
    output.say(&format!(
        "{}: {} vertices and {} triangles in {kept} of {} parts, area {area:.4}, volume {volume:.4}; density {} of {least:.3} to {most:.3}; {seconds:.1} s",
        outputs::name(&arguments.out),
        mesh.positions.len(),
        mesh.triangles.len(),
        parts.volumes.len(),
        settings.threshold,
    ));
    output.result(&json!({
        "file": arguments.out,
        "vertices": mesh.positions.len(),
        "triangles": mesh.triangles.len(),
        "parts": parts.volumes.len(),
        "kept": kept,
        "area": area,
        "volume": volume,
        "threshold": settings.threshold,
        "fill": settings.fill,
        "densities": [least, most],
        "box": lattice.corners(),
        "cells": lattice.cells(),
        "seconds": seconds,
        "device": device.name(),
    }))
}
