//! `wgen mesh`: of a trained field of the program's own scene, whose surface is known; files read by others' readers; what is refused.

#![cfg(unix)]

mod common;

use std::collections::HashMap;
use std::io::Cursor;
use std::process::Command;

use common::fields::{NERF, NGP, without};
use common::gpu;
use common::place::Place;
use ply_rs_bw::parser::Parser;
use ply_rs_bw::ply::{DefaultElement, Property};
use serde_json::Value as Json;
use wgen::data::scene::analytic;
use wgen::report::mesh::Mesh;

/// A PLY file, by a reader that is not ours.
fn ply(bytes: &[u8]) -> Mesh {
    let read = Parser::<DefaultElement>::new()
        .read_ply(&mut Cursor::new(bytes))
        .unwrap();
    let three = |names: [&str; 3]| -> Vec<[f32; 3]> {
        let of = |v: &DefaultElement| {
            names.map(|name| match v[name] {
                Property::Float(x) => x,
                Property::UChar(byte) => f32::from(byte),
                ref other => panic!("{name} is {other:?}"),
            })
        };
        read.payload["vertex"].iter().map(of).collect()
    };
    let corners = |face: &DefaultElement| match &face["vertex_indices"] {
        Property::ListUInt(v) => [v[0], v[1], v[2]],
        other => panic!("{other:?}"),
    };
    Mesh {
        positions: three(["x", "y", "z"]),
        triangles: read.payload["face"].iter().map(corners).collect(),
        normals: three(["nx", "ny", "nz"]),
        colours: three(["red", "green", "blue"])
            .into_iter()
            .map(|c| c.map(|x| x as u8))
            .collect(),
    }
}

/// The corners of each triangle of an OBJ file with their normals and colours, by a reader that is not ours.
fn obj(bytes: &[u8]) -> Vec<[[f32; 9]; 3]> {
    let nothing = |_: &std::path::Path| Ok((Vec::new(), Default::default()));
    let (models, _) = tobj::load_obj_buf(
        &mut Cursor::new(bytes),
        &tobj::LoadOptions::default(),
        nothing,
    )
    .unwrap();
    let mesh = &models[0].mesh;
    assert_eq!(models.len(), 1);
    let corner = |i: usize| {
        let (v, n) = (mesh.indices[i] as usize, mesh.normal_indices[i] as usize);
        let all = [
            &mesh.positions[3 * v..3 * v + 3],
            &mesh.normals[3 * n..3 * n + 3],
            &mesh.vertex_color[3 * v..3 * v + 3],
        ];
        <[f32; 9]>::try_from(all.concat()).unwrap()
    };
    (0..mesh.indices.len() / 3)
        .map(|t| [0, 1, 2].map(|k| corner(3 * t + k)))
        .collect()
}

/// The program on the GPU, which must be there; what it answers.
fn on_gpu(place: &Place, arguments: &[&str]) -> Json {
    gpu();
    let done = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(arguments)
        .arg("--json")
        .current_dir(place.path("."))
        .output()
        .unwrap();
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    serde_json::from_slice(&done.stdout).unwrap_or_default()
}

/// 500 steps of the usual settings; the largest part of 64^3 cells. So young a field is thin: with the usual threshold it takes three times as many.
#[test]
fn the_mesh_of_a_trained_scene_lies_on_its_surface_and_is_closed() {
    let place = Place::empty();
    let train = [
        "train",
        "ngp",
        "--data",
        "analytic",
        "--steps",
        "500",
        "--out",
        "run",
        "--no-previews",
    ];
    on_gpu(&place, &train);
    let mesh = [
        "mesh",
        "run",
        "--resolution",
        "64",
        "--threshold",
        "10",
        "--fill",
        "1.5",
        "--largest",
        "1",
        "--out",
    ];
    let said = on_gpu(&place, &[&mesh[..], &["object.ply"]].concat());
    let found = ply(&place.read("object.ply"));
    found.check().unwrap();
    assert_eq!(said["vertices"], found.positions.len());
    assert_eq!(said["triangles"], found.triangles.len());
    assert_eq!(
        (said["kept"].clone(), said["cells"].clone()),
        (1.into(), Json::from(vec![64; 3]))
    );
    assert_eq!(found.open_edges(), 0);
    let figure = |name: &str| said[name].as_f64().unwrap();
    assert!((figure("area") / found.area() - 1.0).abs() < 1e-6);
    assert!((figure("volume") / found.volume() - 1.0).abs() < 1e-6);
    assert_eq!((figure("threshold"), figure("fill")), (10.0, 1.5));

    let cell = 3.0 / 64.0;
    let mut off: Vec<f64> = found
        .positions
        .iter()
        .map(|p| analytic::distance(p.map(f64::from)).abs() / cell)
        .collect();
    off.sort_by(f64::total_cmp);
    let at = |share: f64| off[(share * (off.len() - 1) as f64) as usize];
    println!(
        "{said:#}\n{} vertices; cells from the surface: half {:.3}, 95 % {:.3}, 99 % {:.3}, worst {:.3}",
        off.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.95) <= 1.5, "{}", at(0.95));

    // Colours of the true surface: the ray from outside against the normal meets them.
    let mut apart: Vec<f64> = Vec::new();
    for ((p, n), c) in found
        .positions
        .iter()
        .zip(&found.normals)
        .zip(&found.colours)
    {
        let (p, n) = (p.map(f64::from), n.map(f64::from));
        let from = [0, 1, 2].map(|i| p[i] + 0.2 * n[i]);
        if let Some(hit) = analytic::hit(from, n.map(|x| -x))
            && (hit.t - 0.2).abs() < cell
        {
            apart.extend((0..3).map(|i| (f64::from(c[i]) / 255.0 - hit.colour[i]).abs()));
        }
    }
    apart.sort_by(f64::total_cmp);
    let half = apart[apart.len() / 2];
    println!("{} colours, half of them within {half:.3}", apart.len());
    assert!(apart.len() > 3 * found.positions.len() / 2 && half < 0.1);

    on_gpu(&place, &[&mesh[..], &["object.obj"]].concat());
    let read = obj(&place.read("object.obj"));
    let corner = |&v: &u32| {
        let v = v as usize;
        let colour = found.colours[v].map(|byte| f32::from(byte) / 255.0);
        let all = [found.positions[v], found.normals[v], colour].concat();
        <[f32; 9]>::try_from(all).unwrap()
    };
    assert_eq!(read.len(), found.triangles.len());
    for (read, triangle) in read.iter().zip(&found.triangles) {
        for (a, b) in read.as_flattened().iter().zip(
            triangle
                .iter()
                .map(corner)
                .collect::<Vec<_>>()
                .as_flattened(),
        ) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn a_box_cuts_and_parts_are_kept_by_their_volume() {
    for arguments in [NGP, NERF] {
        let place = Place::empty();
        place.done(&[arguments, &["run", "--steps", "20"]].concat());
        let name = arguments[1];
        let mesh = |more: &[&str]| -> (Json, Mesh) {
            let call = [
                "mesh",
                "run",
                "--resolution",
                "20",
                "--out",
                "a.ply",
                "--json",
            ];
            let done = place.done(&[&call[..], more].concat());
            (
                serde_json::from_slice(&done.stdout).unwrap(),
                ply(&place.read("a.ply")),
            )
        };
        // A density that the barely trained field has somewhere.
        let error = place.run(&[
            "mesh",
            "run",
            "--resolution",
            "20",
            "--threshold",
            "1e9",
            "--out",
            "b.ply",
        ]);
        let message = String::from_utf8_lossy(&error.stderr).into_owned();
        assert_eq!(error.status.code(), Some(2), "{message}");
        assert!(
            message.contains("--threshold 1000000000 leaves nothing: the density is from "),
            "{message}"
        );
        assert!(!place.path("b.ply").exists());
        let most: f64 = message
            .split(" to ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let threshold = format!("{}", 0.6 * most);
        let corners = "-0.75,-1,-0.5,1.25,0.5,0.25";
        let (whole, all) = mesh(&["--threshold", &threshold]);
        assert_eq!(all.open_edges(), 0, "{name}");
        assert_eq!(whole["kept"], whole["parts"]);
        let (cut, part) = mesh(&[
            "--threshold",
            &format!("{}", 0.2 * most),
            "--box",
            corners,
            "--largest",
            "2",
        ]);
        assert_eq!(part.open_edges(), 0, "{name}");
        assert_eq!(cut["cells"], Json::from(vec![20, 15, 8]), "{name}");
        assert!(cut["kept"].as_u64().unwrap() <= 2);
        assert!(part.volume() > 0.0);
        for p in &part.positions {
            let inside = (-0.75..=1.25).contains(&p[0])
                && (-1.0..=0.5).contains(&p[1])
                && (-0.5..=0.25).contains(&p[2]);
            assert!(inside, "{name}: {p:?}");
        }
    }
}

#[test]
fn what_cannot_be_meshed_is_refused_before_it_is_begun() {
    let place = Place::empty();
    place.done(&[NGP, &["run", "--steps", "1"]].concat());
    let call = |more: &[&'static str]| [&["mesh", "run", "--out", "a.ply"], more].concat();
    let cases: [(&[&str], &[&str]); 11] = [
        (
            &["--resolution", "100000"],
            &["--resolution is 100000", "MiB", "4229 fits"],
        ),
        (&["--resolution", "1"], &["--resolution 1 must be"]),
        (&["--threshold", "0"], &["--threshold 0 must be"]),
        (&["--threshold=-2"], &["--threshold -2 must be"]),
        (&["--box", "0,0,0,1,1,0"], &["--box from"]),
        (&["--box", "0,0,0,1,1"], &["six numbers"]),
        (&["--box", "-1,-1,-1,1,1,one"], &["six numbers"]),
        (&["--largest", "0"], &["--largest 0"]),
        (&["--fill", "9"], &["--fill 9 must be"]),
        (
            &["--resolution", "2000", "--fill", "1"],
            &[
                "--resolution is 2000",
                "as a whole",
                "780 fits",
                "take no --fill",
            ],
        ),
        (
            &["--resolution", "20000", "--box", "-1,-1,-1,1,1,2"],
            &["--resolution is 20000", "fits"],
        ),
    ];
    for (more, words) in cases {
        place.refused(&call(more), words);
    }
    // ln 2 a step of a 48th of the diagonal, unless a threshold is asked for.
    let usual = format!(
        "--threshold {}",
        2.0_f64.ln() / (3.0 * 3.0_f64.sqrt() / 48.0)
    );
    let coarse = call(&["--resolution", "8", "--device", "cpu"]);
    let nothing = place.run(&coarse);
    let said = String::from_utf8_lossy(&nothing.stderr);
    assert!(
        said.contains(&usual[..18]) && said.contains("leaves nothing"),
        "{said}"
    );
    place.refused(&["mesh", "run", "--out", "a.stl"], &["a.stl", ".obj, .ply"]);
    place.refused(
        &["mesh", "run", "--out", "run/checkpoints/a.ply"],
        &["part of the run"],
    );
    place.refused(&["mesh", "run", "--out", "nowhere/a.ply"], &["nowhere"]);
    assert!(!place.path("a.ply").exists());

    // A field in normalised device coordinates, and what is none.
    let flat = without(NERF, "--batch");
    place.done(&[&flat[..], &["flat", "--batch", "32", "--steps", "1"]].concat());
    let path = place.path("flat/config.json");
    let mut config: HashMap<String, Json> =
        serde_json::from_slice(&place.read("flat/config.json")).unwrap();
    config.get_mut("model").unwrap()["ndc"] = true.into();
    std::fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
    place.refused(
        &["mesh", "flat", "--out", "a.ply"],
        &["normalised device coordinates"],
    );
    let place = Place::new();
    place.refused(
        &["mesh", "run", "--out", "a.ply"],
        &["vae model cannot", "no radiance field"],
    );
}

#[test]
fn standard_output_takes_a_ply_file() {
    let place = Place::empty();
    place.done(&[NGP, &["run", "--steps", "1"]].concat());
    let done = place.done(&[
        "mesh",
        "run",
        "--resolution",
        "8",
        "--threshold",
        "0.01",
        "--out",
        "-",
    ]);
    let mesh = ply(&done.stdout);
    assert_eq!((mesh.open_edges(), mesh.euler()), (0, 2));
}
