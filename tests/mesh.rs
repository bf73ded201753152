//! Meshes of densities that are known: closed, where they should be, in as many parts with as many handles as there are, the same bits in any
//! number of slabs and on both devices; and against scikit-image's (`tests/golden/marching_cubes.py` writes them).

mod common;

use common::{golden, gpu};
use wgen::evaluate::mesh::{Lattice, Settings, Surface, surface};
use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::kernels::SCHEDULE_COLUMNS;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::scan::MOST_CAPACITY;
use wgen::program::PlanOptions;
use wgen::report::mesh::Mesh;
use wgen::session::Device;
use wgen::tensor::{TensorType, Value};
use wgen::verify::cases::{Values, numbers};
use wgen::verify::step::{self, Setup};

type Place = [f64; 3];

fn devices() -> [(&'static str, Device); 2] {
    [("gpu", Device::Gpu(gpu())), ("cpu", Device::Cpu)]
}

fn distance(p: Place, q: Place) -> f64 {
    let squares = (0..3).map(|i| (p[i] - q[i]) * (p[i] - q[i]));
    squares.sum::<f64>().sqrt()
}

/// The unit cube.
fn cube(resolution: usize) -> Lattice {
    Lattice::new([0.0; 3], [1.0; 3], resolution).unwrap()
}

/// The surface of a density of places.
fn found(
    device: &Device,
    lattice: &Lattice,
    settings: &Settings,
    density: impl Fn(Place) -> f64,
) -> Surface {
    surface(device, lattice, settings, |places| {
        Ok(places.iter().map(|&p| density(p) as f32).collect())
    })
    .unwrap()
}

/// The notes' ball of radius 0.3, threshold 50.
fn ball(p: Place) -> f64 {
    (50.0 + 500.0 * (0.3 - distance(p, [0.5; 3]))).max(0.0)
}

/// Closed, triangles outwards, one part and two ends.
fn is_closed(mesh: &Mesh) {
    mesh.check().unwrap();
    assert_eq!(mesh.open_edges(), 0);
    assert!(mesh.volume() > 0.0);
}

#[test]
fn a_ball_is_closed_and_its_area_and_volume_are_second_order() {
    for (name, device) in devices() {
        let mut errors = Vec::new();
        for resolution in [16, 32, 64] {
            let lattice = cube(resolution);
            let Surface { mesh, densities } = found(&device, &lattice, &Settings::at(50.0), ball);
            is_closed(&mesh);
            assert_eq!(
                (mesh.euler(), mesh.components().volumes.len()),
                (2, 1),
                "{name}"
            );
            assert_eq!(densities, [0.0, 200.0]);
            let cell = lattice.spacing()[0];
            let off = mesh
                .positions
                .iter()
                .map(|p| (distance(p.map(f64::from), [0.5; 3]) - 0.3).abs())
                .fold(0.0, f64::max);
            assert!(off <= 0.1 * cell, "{name}: {off} of {cell}");
            let radial = mesh
                .vertex_normals()
                .iter()
                .zip(&mesh.positions)
                .all(|(n, p)| {
                    let along = (0..3)
                        .map(|i| f64::from(n[i]) * (f64::from(p[i]) - 0.5))
                        .sum::<f64>();
                    along > 0.9 * 0.3
                });
            assert!(radial, "{name}");
            errors.push([mesh.area() / 1.130973 - 1.0, mesh.volume() / 0.113097 - 1.0]);
            println!(
                "{name} {resolution}: {} vertices, {off:.2e} off, {:?}",
                mesh.positions.len(),
                errors.last()
            );
        }
        for i in 0..2 {
            assert!(errors[2][i].abs() < 2e-3, "{name}: {errors:?}");
            for pair in errors.windows(2) {
                let ratio = pair[0][i] / pair[1][i];
                assert!((3.0..5.5).contains(&ratio), "{name}: {errors:?}");
            }
        }
    }
}

#[test]
fn a_torus_has_a_handle_and_blobs_are_so_many_parts() {
    let device = Device::Gpu(gpu());
    let torus = |p: Place| {
        let round = (p[0] - 0.5).hypot(p[1] - 0.48) - 0.28;
        40.0 - 300.0 * (round.hypot(p[2] - 0.51) - 0.11)
    };
    let Surface { mesh, .. } = found(&device, &cube(40), &Settings::at(40.0), torus);
    is_closed(&mesh);
    assert_eq!((mesh.euler(), mesh.components().volumes.len()), (0, 1));
    let volume = 2.0 * std::f64::consts::PI.powi(2) * 0.28 * 0.11 * 0.11;
    assert!((mesh.volume() / volume - 1.0).abs() < 0.025);

    // Four balls, one of them hollow: five parts, one of which looks inwards.
    let balls = [
        ([0.25, 0.25, 0.25], 0.15),
        ([0.7, 0.72, 0.7], 0.22),
        ([0.2, 0.8, 0.3], 0.1),
        ([0.8, 0.2, 0.2], 0.12),
    ];
    let density = |p: Place| {
        let near = |(c, r): &(Place, f64)| r - distance(p, *c);
        let outer = balls.iter().map(near).fold(f64::NEG_INFINITY, f64::max);
        let hollow = 0.12 - distance(p, balls[1].0);
        30.0 + 400.0 * outer.min(-hollow)
    };
    let Surface { mesh, .. } = found(&device, &cube(48), &Settings::at(30.0), density);
    is_closed(&mesh);
    let parts = mesh.components();
    assert_eq!((mesh.euler(), parts.volumes.len()), (10, 5));
    assert_eq!(parts.volumes.iter().filter(|v| **v < 0.0).count(), 1);
    let largest = mesh.of_components(&parts.largest(1), &parts);
    is_closed(&largest);
    assert_eq!(largest.euler(), 2);
    let volume = 4.0 / 3.0 * std::f64::consts::PI * 0.22_f64.powi(3);
    assert!((largest.volume() / volume - 1.0).abs() < 0.02);
    // The cavity never counts as large.
    assert_eq!(parts.largest(9).len(), 4);
}

#[test]
fn a_surface_that_the_box_cuts_is_closed_at_its_walls() {
    let device = Device::Gpu(gpu());
    // A ball whose middle is near a corner; and all of a box that is longer than wide, and no cube's.
    let lattice = Lattice::new([0.35, 0.4, 0.45], [1.5, 1.0, 1.1], 40).unwrap();
    assert_eq!(lattice.cells(), [40, 21, 23]);
    let cases: [(&str, &dyn Fn(Place) -> f64); 2] =
        [("ball", &|p| 4.0 * ball(p)), ("full", &|_| 900.0)];
    for (name, density) in cases {
        let Surface { mesh, .. } = found(&device, &lattice, &Settings::at(50.0), density);
        is_closed(&mesh);
        assert_eq!(mesh.euler(), 2, "{name}");
        let [low, high] = lattice.corners();
        for p in &mesh.positions {
            for i in 0..3 {
                let x = f64::from(p[i]);
                assert!(low[i] - 1e-6 <= x && x <= high[i] + 1e-6, "{name}: {p:?}");
            }
        }
    }
    // A share 50 / 900 of a cell before the walls, and less at the box's edges, which are cut off.
    let Surface { mesh, .. } = found(&device, &lattice, &Settings::at(50.0), |_| 900.0);
    let spacing = lattice.spacing();
    let sides = [1.15, 0.6, 0.65];
    let within: f64 = (0..3)
        .map(|i| sides[i] - 2.0 * spacing[i] * 50.0 / 900.0)
        .product();
    assert!(
        (mesh.volume() / within - 1.0).abs() < 0.015,
        "{} {within}",
        mesh.volume()
    );
}

/// Numbers without any order at the points of a lattice.
fn noise(lattice: &Lattice, seed: u64) -> impl Fn(Place) -> f64 {
    let cells = lattice.cells();
    let count = cells.map(|n| n + 1).iter().product();
    let values = numbers(Values::Normal, seed, count).to_f32();
    let ([low, _], spacing) = (lattice.corners(), lattice.spacing());
    move |p| {
        let at = [0, 1, 2].map(|i| ((p[i] - low[i]) / spacing[i]).round() as usize);
        f64::from(values[at[0] + (cells[0] + 1) * (at[1] + (cells[1] + 1) * at[2])])
    }
}

#[test]
fn noise_is_closed_and_the_same_bits_in_any_number_of_slabs_and_on_both_devices() {
    let [(_, gpu), (_, cpu)] = devices();
    for (seed, sides, resolution) in [
        (1, [1.0, 1.0, 1.0], 13),
        (2, [0.5, 0.7, 1.0], 18),
        (3, [1.0, 0.3, 0.6], 21),
    ] {
        let lattice = Lattice::new([-0.25; 3], sides.map(|x| x - 0.25), resolution).unwrap();
        let density = noise(&lattice, seed);
        let whole = found(&gpu, &lattice, &Settings::at(0.3), &density);
        let mesh = &whole.mesh;
        mesh.check().unwrap();
        assert_eq!(mesh.open_edges(), 0);
        assert!(mesh.triangles.len() > 2000);
        assert_eq!(found(&cpu, &lattice, &Settings::at(0.3), &density), whole);
        for layers in [3, 4, 7] {
            let settings = Settings {
                layers: Some(layers),
                ..Settings::at(0.3)
            };
            assert_eq!(
                found(&gpu, &lattice, &settings, &density),
                whole,
                "{layers} layers"
            );
            if layers == 4 {
                assert_eq!(found(&cpu, &lattice, &settings, &density), whole);
            }
        }
    }
    // A smooth one, too, whose slabs need more room than there is at first.
    let lattice = cube(64);
    let whole = found(&gpu, &lattice, &Settings::at(50.0), ball);
    for layers in [3, 5, 64, 65, 66, 90] {
        let settings = Settings {
            layers: Some(layers),
            ..Settings::at(50.0)
        };
        assert_eq!(
            found(&gpu, &lattice, &settings, ball),
            whole,
            "{layers} layers"
        );
    }
}

/// What a camera sees of a trained field is a shell, and its inside is hollow; a hole of a cell lets the surface in.
#[test]
fn a_shell_with_a_hole_is_filled_the_same_in_any_number_of_slabs() {
    let lattice = cube(40);
    let cell = lattice.spacing()[0];
    let shell = |p: Place| {
        let wall = 0.06 - (distance(p, [0.5; 3]) - 0.26).abs();
        let hole = (p[1] - 0.5).hypot(p[2] - 0.5) - 1.2 * cell;
        let through = if p[0] > 0.5 { hole } else { 1.0 };
        (50.0 + 500.0 * wall.min(through)).max(0.0)
    };
    let filled = |fill: Option<f64>, layers: Option<usize>| Settings {
        fill,
        layers,
        ..Settings::at(50.0)
    };
    let [(_, gpu), (_, cpu)] = devices();
    // One surface, outside, through the hole and inside.
    let hollow = found(&gpu, &lattice, &filled(None, None), shell).mesh;
    is_closed(&hollow);
    assert_eq!((hollow.euler(), hollow.components().volumes.len()), (2, 1));
    let ball = |r: f64| 4.0 / 3.0 * std::f64::consts::PI * r.powi(3);
    assert!((hollow.volume() / (ball(0.32) - ball(0.2)) - 1.0).abs() < 0.05);
    // A ball that the hole is too wide for goes in and fills little.
    let small = found(&gpu, &lattice, &filled(Some(0.0), None), shell).mesh;
    assert_eq!(small, hollow);
    let whole = found(&gpu, &lattice, &filled(Some(3.0), None), shell);
    is_closed(&whole.mesh);
    assert_eq!(whole.mesh.euler(), 2);
    assert!((whole.mesh.volume() / ball(0.32) - 1.0).abs() < 0.02);
    assert_eq!(
        found(&cpu, &lattice, &filled(Some(3.0), None), shell),
        whole
    );
    for layers in [3, 5, 40, 41, 42] {
        let slabs = filled(Some(3.0), Some(layers));
        assert_eq!(
            found(&gpu, &lattice, &slabs, shell),
            whole,
            "{layers} layers"
        );
    }
}

#[test]
fn vertices_are_those_of_numpy_and_area_and_volume_those_of_scikit_image() {
    let tensors = golden("marching_cubes");
    let device = Device::Gpu(gpu());
    for name in ["ball", "torus", "box", "blobs", "noise"] {
        let of = |key: &str| tensors.get(&format!("{name}/{key}"));
        let density = of("density").unwrap();
        let threshold = of("threshold").unwrap().data.to_f32()[0];
        let &[layers, rows, columns] = density.shape.dims() else {
            panic!()
        };
        let vertices = of("vertices").unwrap().data.to_f64();
        let room = vertices.len() / 3 + 5;
        let graph = whole(layers, rows, columns, room, 4 * room);
        let session = device
            .session(
                Layout::new(Vec::new(), 1 << 20).unwrap(),
                Default::default(),
            )
            .unwrap();
        let mut plan = session.compile(&graph, &[]).unwrap();
        for (name, value) in leaves(density.clone(), threshold) {
            plan.write(name, value).unwrap();
        }
        plan.run(1).unwrap();
        let read = |name: &str| plan.read(name).unwrap().data;
        let totals = read("totals").as_u32().to_vec();
        assert_eq!(3 * totals[0] as usize, vertices.len(), "{name}");
        let positions = read("vertices").to_f32();
        let (positions, _) = positions.as_chunks::<3>();
        let positions = positions[..totals[0] as usize].to_vec();
        let mut sorted: Vec<Place> = positions.iter().map(|p| p.map(f64::from)).collect();
        // Numbers that are equal in f64 may differ by rounding in f32: by thousandths first.
        let key = |p: &Place| p.map(|x| (x * 1000.0).round() as i64);
        let mut expected: Vec<Place> = vertices.as_chunks::<3>().0.to_vec();
        sorted.sort_by_key(key);
        expected.sort_by_key(key);
        for (a, b) in sorted.iter().zip(&expected) {
            assert!(distance(*a, *b) < 3e-6, "{name}: {a:?} {b:?}");
        }
        let triangles =
            read("triangles").as_u32().as_chunks::<3>().0[..totals[1] as usize].to_vec();
        let mesh = Mesh {
            positions,
            triangles,
            ..Mesh::default()
        };
        mesh.check().unwrap();
        let Some(figures) = of("figures") else {
            continue;
        };
        let [area, volume, count] = figures.data.to_f64()[..] else {
            panic!()
        };
        assert_eq!(
            (mesh.open_edges(), mesh.triangles.len()),
            (0, count as usize),
            "{name}"
        );
        // Loops of four and more vertices may be cut otherwise.
        assert!(
            (mesh.area() / area - 1.0).abs() < 3e-3,
            "{name}: {} {area}",
            mesh.area()
        );
        assert!(
            (mesh.volume() / volume - 1.0).abs() < 3e-3,
            "{name}: {} {volume}",
            mesh.volume()
        );
    }
}

/// All of a lattice's surface, with its cut ends.
fn whole(layers: usize, rows: usize, columns: usize, room: usize, triangles: usize) -> Graph {
    let graph = Graph::new(Domain::Sampling);
    {
        let density = graph.input("density", TensorType::f32([layers, rows, columns]));
        let threshold = graph.input("threshold", TensorType::f32([1]));
        let first = graph.input("first", TensorType::f32([1]));
        let base = density.cube_vertex_counts(threshold).scan(MOST_CAPACITY);
        let of_triangles = density.cube_triangle_counts(threshold).scan(MOST_CAPACITY);
        let points = layers * rows * columns;
        let ends = [base, of_triangles].map(|b| b.slice(0, points, points + 1));
        graph.output("totals", graph.concat(0, &ends));
        graph.output(
            "vertices",
            density.cube_vertices(threshold, base, first, room),
        );
        graph.output(
            "triangles",
            density.cube_triangles(threshold, base, of_triangles, triangles),
        );
    }
    graph
}

fn leaves(density: Value, threshold: f32) -> Vec<(&'static str, Value)> {
    vec![
        ("density", density),
        ("threshold", Value::f32([1], vec![threshold]).unwrap()),
        ("first", Value::f32([1], vec![0.0]).unwrap()),
    ]
}

#[test]
fn the_whole_plan_is_verified_dispatch_by_dispatch() {
    let (layers, rows, columns) = (6, 9, 7);
    for room in [900, 100] {
        let graph = whole(layers, rows, columns, room, 2 * room);
        let density = numbers(Values::Normal, 5, layers * rows * columns);
        let setup = Setup {
            graph: &graph,
            layout: Layout::new(Vec::new(), 1 << 20).unwrap(),
            weights: Vec::new(),
            inputs: leaves(Value::new([layers, rows, columns], density).unwrap(), 0.2),
            state: RandomState::default(),
            schedule: vec![[0.0; SCHEDULE_COLUMNS]; 3],
        };
        step::graph(&gpu(), &setup, PlanOptions::default())
            .unwrap()
            .expect();
    }
}

#[test]
fn what_has_no_surface_or_no_room_is_refused_with_numbers() {
    let device = Device::Cpu;
    let said = |lattice: &Lattice, settings: &Settings, density: &dyn Fn(Place) -> f64| {
        surface(&device, lattice, settings, |places| {
            Ok(places.iter().map(|&p| density(p) as f32).collect())
        })
        .unwrap_err()
        .to_string()
    };
    let few = cube(12);
    let nothing = said(&few, &Settings::at(1e3), &|p| ball(p) + 1.5);
    for words in ["threshold 1000", "from 1.5 to 201.5", "1331 points"] {
        assert!(nothing.contains(words), "no {words} in {nothing}");
    }
    for threshold in [0.0, -3.0, f64::NAN, f64::INFINITY, 1e300] {
        let message = said(&few, &Settings::at(threshold), &ball);
        assert!(message.starts_with("threshold "), "{message}");
    }
    let message = said(&few, &Settings::at(5.0), &|p| {
        if p[0] > 0.6 { f64::NAN } else { 9.0 }
    });
    assert!(
        message.contains("NaN") && message.contains("weights"),
        "{message}"
    );
    let settings = Settings {
        layers: Some(2),
        ..Settings::at(5.0)
    };
    assert!(said(&few, &settings, &ball).contains("at least 3"));
    for fill in [-1.0, 8.5, f64::NAN] {
        let settings = Settings {
            fill: Some(fill),
            ..Settings::at(5.0)
        };
        let message = said(&few, &settings, &ball);
        assert!(message.starts_with("fill "), "{message}");
    }

    // Nobody is asked for a density before that is known.
    let never = |_: Place| -> f64 { panic!("a density was asked for") };
    let settings = Settings {
        fill: Some(1.0),
        ..Settings::at(5.0)
    };
    let message = said(&cube(1000), &settings, &never);
    for words in [
        "resolution is 1000",
        "as a whole",
        "of at most 4096 MiB",
        "780 fits",
    ] {
        assert!(message.contains(words), "no {words} in {message}");
    }
    let fits = |resolution: usize| settings.check_memory(&cube(resolution), u64::MAX).is_ok();
    assert!(fits(780) && !fits(781));
    let large = cube(100_000);
    let message = said(&large, &Settings::at(5.0), &never);
    for words in [
        "resolution is 100000",
        "100001 x 100001",
        "572216 MiB",
        "8192 MiB",
        "4229 fits",
    ] {
        assert!(message.contains(words), "no {words} in {message}");
    }
    assert!(
        large
            .check(u64::MAX)
            .unwrap_err()
            .to_string()
            .contains("of at most 1024 MiB; 4229 fits")
    );
    let message = large.check(128 << 20).unwrap_err().to_string();
    for words in [
        "114443 MiB",
        "128 MiB",
        "max_storage_buffer_binding_size",
        "3343 fits",
    ] {
        assert!(message.contains(words), "no {words} in {message}");
    }
    assert!(cube(3343).check(128 << 20).is_ok() && cube(3344).check(128 << 20).is_err());
    assert!(cube(4229).check(u64::MAX).is_ok() && cube(4230).check(u64::MAX).is_err());
    // A flat box has small layers.
    assert!(
        Lattice::new([0.0; 3], [1.0, 1e-3, 1.0], 100_000)
            .unwrap()
            .check(128 << 20)
            .is_ok()
    );

    for (low, high) in [
        ([0.0; 3], [1.0, 0.0, 1.0]),
        ([0.0; 3], [1.0, f64::NAN, 1.0]),
    ] {
        let message = Lattice::new(low, high, 8).unwrap_err().to_string();
        assert!(message.starts_with("box "), "{message}");
    }
    for resolution in [0, 1, usize::MAX] {
        let message = Lattice::new([0.0; 3], [1.0; 3], resolution)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("resolution "), "{message}");
    }
}
