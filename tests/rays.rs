//! Rays of posed pictures: beside PyTorch and the oracles, as graphs refuse them, and as a step's feed brings them to a device.

mod common;

use common::rays::rows;
use common::{golden, gpu, relative_difference};
use wgen::data::epoch_order;
use wgen::data::scene::{self, CAMERA_FLOATS, Camera, Lens, Pose, analytic, path, row, table};
use wgen::graph::op::EvalContext;
use wgen::graph::{Graph, Var};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::models::DataType;
use wgen::real::Precision;
use wgen::session::Device;
use wgen::session::feed::{Feed, Wants};
use wgen::tensor::{DType, Data, TensorType, Value};

fn context() -> EvalContext {
    EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    }
}

/// What a graph of inputs makes of values, in f64.
fn interpreted(
    inputs: &[(&str, Value)],
    build: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Var<'g>,
) -> Vec<f64> {
    let graph = Graph::new(Domain::Training);
    let vars: Vec<Var<'_>> = inputs
        .iter()
        .map(|(n, v)| graph.input(n, v.tensor_type()))
        .collect();
    let out = build(&graph, &vars);
    graph.check().unwrap();
    let values = graph.interpret(&[out.id()], inputs, &context()).unwrap();
    values[0].data.to_f64()
}

fn value(width: usize, values: &[f64]) -> Value {
    Value::new([values.len() / width, width], Data::F64(values.to_vec())).unwrap()
}

fn poses_of(values: &Value) -> Vec<Pose> {
    let all = values.data.to_f64();
    all.as_chunks::<12>().0.iter().map(|&p| Pose(p)).collect()
}

#[test]
fn rays_agree_with_pytorch() {
    let tensors = golden("nerf_rays");
    let c = tensors["camera"].data.to_f64();
    for (name, pixel_offset) in [("centre", 0.5), ("corner", 0.0)] {
        let camera = Camera {
            width: c[0] as usize,
            height: c[1] as usize,
            fx: c[2],
            fy: c[3],
            cx: c[4],
            cy: c[5],
            pixel_offset,
            lens: Lens::Pinhole,
        };
        let inputs = [
            ("rows", tensors["rows"].clone()),
            ("poses", tensors["poses"].clone()),
        ];
        let rays = interpreted(&inputs, |_, x| x[0].camera_rays(x[1], &camera));
        let expected = tensors[&format!("rays/{name}")].data.to_f64();
        assert_eq!(rays.len(), 6 * 62);
        assert!(relative_difference(&rays, &expected) < 1e-14);
    }
}

#[test]
fn rays_of_lenses_agree_with_pytorch() {
    let tensors = golden("nerf_rays");
    let cameras = tensors["lenses/cameras"].data.to_f64();
    let one = |c: &[f64; 13]| Camera {
        width: c[0] as usize,
        height: c[1] as usize,
        fx: c[2],
        fy: c[3],
        cx: c[4],
        cy: c[5],
        pixel_offset: c[6],
        lens: match c[7] as u32 {
            0 => Lens::Pinhole,
            1 => Lens::Opencv {
                k1: c[8],
                k2: c[9],
                k3: c[10],
                p1: c[11],
                p2: c[12],
            },
            _ => Lens::Fisheye {
                k1: c[8],
                k2: c[9],
                k3: c[10],
                k4: c[11],
            },
        },
    };
    let cameras: Vec<Camera> = cameras.as_chunks().0.iter().map(one).collect();
    let inputs = [
        ("rows", tensors["lenses/rows"].clone()),
        ("poses", tensors["lenses/poses"].clone()),
        (
            "cameras",
            Value::f32([cameras.len(), CAMERA_FLOATS], table(&cameras)).unwrap(),
        ),
    ];
    let rays = interpreted(&inputs, |_, x| x[0].camera_rays_of(x[1], x[2]));
    let expected = tensors["lenses/rays"].data.to_f64();
    assert_eq!(rays.len(), 7 * 78);
    // The table is in f32.
    assert!(relative_difference(&rays, &expected) < 3e-7);
    // The host undoes the same lenses, in f64.
    let (rows, poses) = (&inputs[0].1.data.to_f64(), poses_of(&inputs[1].1));
    let first = |view: usize| cameras[..view].iter().map(Camera::pixels).sum::<usize>();
    for (row, ray) in rows.chunks(8).zip(expected.chunks(7)) {
        let (view, digits) = (ray[6] as usize, &row[4..8]);
        let number = (0..4).fold(0, |n, i| n | (digits[i] as usize) << (8 * i)) - first(view);
        let camera = &cameras[view];
        let (x, y) = (number % camera.width, number / camera.width);
        let offset = camera.pixel_offset;
        let d = poses[view].rotated(camera.direction(x as f64 + offset, y as f64 + offset));
        assert!((0..3).all(|i| (d[i] - ray[3 + i]).abs() < 1e-12));
    }
}

#[test]
fn normalised_device_coordinates_agree_with_pytorch() {
    let tensors = golden("nerf_rays");
    let c = tensors["ndc/camera"].data.to_f64();
    let camera = Camera::centred(c[0] as usize, c[1] as usize, c[2]);
    let inputs = [("rays", tensors["ndc/rays"].clone())];
    let rays = interpreted(&inputs, |_, x| x[0].ndc(&camera, c[3]));
    assert!(relative_difference(&rays, &tensors["ndc/result"].data.to_f64()) < 1e-13);
}

#[test]
fn paths_agree_with_pytorch() {
    let tensors = golden("nerf_rays");
    let close = |ours: &[Pose], name: &str| {
        let theirs = poses_of(&tensors[name]);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (a, b) in ours.iter().zip(&theirs) {
            let far =
                a.0.iter()
                    .zip(&b.0)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f64::max);
            assert!(far < 1e-12, "{name}: {far:e}");
        }
    };
    close(&path::orbit(40, -30.0, 4.0), "orbit");
    let before = poses_of(&tensors["llff/poses_before"]);
    close(&[path::mean(&before).unwrap()], "llff/mean");
    let bounds = tensors["llff/bounds"].data.to_f64();
    let poses = poses_of(&tensors["llff/poses"]);
    let spiral = path::spiral(&poses, bounds[0], bounds[1], path::SPIRAL_FRAMES, 2.0).unwrap();
    assert_eq!(spiral.len(), 120);
    assert!(spiral.iter().all(|p| p.check().is_ok()));
    let some: Vec<Pose> = spiral.into_iter().step_by(7).collect();
    close(&some, "llff/spiral");
}

/// The first training pose of the chair of Blender's synthetic scenes.
const CHAIR: [f64; 12] = [
    -0.9250140190124512,
    0.2748899757862091,
    -0.2622683644294739,
    -1.0572376251220703,
    -0.3799331784248352,
    -0.6692678928375244,
    0.6385383605957031,
    2.5740303993225098,
    0.0,
    0.6903012990951538,
    0.7235219478607178,
    2.9166102409362793,
];

#[test]
fn the_chairs_rays_are_those_of_the_oracle() {
    let focal = 0.5 * 200.0 / (0.5 * 0.6911112070083618_f64).tan();
    assert!((focal - 277.777757798).abs() < 5e-10);
    let rays = |x: usize, y: usize, pixel_offset: f64| {
        let camera = Camera {
            pixel_offset,
            ..Camera::centred(200, 200, focal)
        };
        let row = row([1, 2, 3, 4], camera.pixel(0, x, y)).map(f64::from);
        let inputs = [("rows", value(8, &row)), ("poses", value(12, &CHAIR))];
        interpreted(&inputs, |_, x| x[0].camera_rays(x[1], &camera))
    };
    let close = |ray: &[f64], direction: [f64; 3]| {
        assert_eq!(ray[..3], [CHAIR[3], CHAIR[7], CHAIR[11]]);
        for (a, b) in ray[3..].iter().zip(direction) {
            assert!((a - b).abs() < 6e-10, "{ray:?}");
        }
    };
    let corner = rays(0, 0, 0.0);
    close(&corner, [0.694233834, -0.742698865, -0.475013462]);
    let length = corner[3..].iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((length - 1.122140815).abs() < 6e-10);
    close(&rays(0, 0, 0.5), [0.692074006, -0.742178063, -0.476256005]);
    close(
        &rays(199, 50, 0.5),
        [-0.020086284, -0.893893982, -0.600510248],
    );
}

#[test]
fn normalised_device_coordinates_are_those_of_the_oracle() {
    let ray = [("rays", value(6, &[0.1, -0.2, 0.05, 0.3, 0.2, -1.0]))];
    let camera = Camera::centred(504, 378, 400.0);
    let ndc = interpreted(&ray, |_, x| x[0].ndc(&camera, 1.0));
    let expected = [
        0.658730159,
        0.021164021,
        -1.0,
        -0.182539683,
        0.402116402,
        2.0,
    ];
    for (a, b) in ndc.iter().zip(expected) {
        assert!((a - b).abs() < 6e-10, "{ndc:?}");
    }
}

#[test]
fn what_is_no_batch_of_rays_is_refused() {
    let camera = Camera::centred(4, 4, 2.0);
    let message = |build: &dyn for<'g> Fn(&'g Graph)| {
        let graph = Graph::new(Domain::Training);
        build(&graph);
        graph.check().unwrap_err().to_string()
    };
    let rays = |rows: [usize; 2], poses: [usize; 2], camera: Camera| {
        message(&|g: &Graph| {
            let poses = g.input("poses", TensorType::f32(poses));
            g.input("rows", TensorType::f32(rows))
                .camera_rays(poses, &camera);
        })
    };
    assert!(rays([5, 7], [2, 12], camera).contains("[rays, 8]"));
    assert!(rays([5, 8], [2, 16], camera).contains("[5, 8], [2, 16]"));
    assert!(rays([5, 8], [0, 12], camera).contains("at least one view"));
    assert!(rays([5, 8], [2, 12], Camera { fx: 0.0, ..camera }).contains("above 0"));
    assert!(
        rays(
            [5, 8],
            [2, 12],
            Camera {
                cy: f64::NAN,
                ..camera
            }
        )
        .contains("finite")
    );
    let large = Camera::centred(1 << 16, 1 << 16, 1e4);
    assert!(rays([5, 8], [2, 12], large).contains("2^32"));
    let ndc = message(&|g: &Graph| {
        g.input("rays", TensorType::f32([5, 3])).ndc(&camera, 1.0);
    });
    assert!(ndc.contains("[rays, 6]") && ndc.contains("[5, 3]"), "{ndc}");
    // Poses that are learned are said to be out of reach.
    let learned = message(&|g: &Graph| {
        let poses = g.parameter("poses", [2, 12]);
        let rays = g
            .input("rows", TensorType::f32([5, 8]))
            .camera_rays(poses, &camera);
        g.gradients(rays.sum_all(), &[poses]);
    });
    assert!(learned.contains("no gradient"), "{learned}");
}

/// The data type of pictures.
const PICTURES: DataType = DataType {
    rows: 4,
    width: 8,
    dtype: DType::U8,
    indices: 4,
    scale: 1.0,
    shift: 0.0,
    classes: 0,
    cameras: None,
};

#[test]
fn pictures_are_no_rays_and_rays_no_pictures() {
    let graph = Graph::new(Domain::Training);
    let message = PICTURES
        .rays(&graph, "ngp", 2, false)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("ngp") && message.contains("no cameras"),
        "{message}"
    );
    let cameras = analytic::dataset(1, 0).views.unwrap().cameras();
    let rays = DataType {
        cameras: Some(cameras),
        ..PICTURES
    };
    let message = rays.batch(&graph, "vae", 8, 2).unwrap_err().to_string();
    assert!(
        message.contains("vae") && message.contains("rays"),
        "{message}"
    );
}

/// Batches of rays as a model sees them are those of the pixels in the epoch's order, whether all rows are on the device or a window of them.
fn fed(device: &Device, limit: u64) {
    const BATCH: usize = 777;
    let data = analytic::dataset(2, 3);
    let session = device
        .session(
            wgen::graph::layout::Layout::new(Vec::new(), 1 << 20).unwrap(),
            Default::default(),
        )
        .unwrap();
    let mut feed = Feed::new(
        session.as_ref(),
        data.clone(),
        BATCH,
        5,
        limit,
        Wants::default(),
    )
    .unwrap();
    let graph = Graph::new(Domain::Training);
    let batch = feed.data_type().rays(&graph, "mine", BATCH, false).unwrap();
    graph.output("rays", batch.rays());
    graph.output("colours", batch.colours());
    graph.output("alpha", batch.alpha());
    let mut plan = session.compile(&graph, &feed.inputs_of(&graph)).unwrap();
    let order = epoch_order(data.rows(), 5, 0);
    let all = rows(&data);
    let views = data.views.as_ref().unwrap();
    for number in [0, 1, 7] {
        feed.prepare(session.as_ref(), number).unwrap();
        session.set_state(0, 0, 0).unwrap();
        let first = number as usize * BATCH;
        let cursor = if limit < 1 << 20 { 0 } else { first };
        session.set_cursor(cursor as u32).unwrap();
        plan.run(1).unwrap();
        let read = |name: &str| plan.read(name).unwrap().data.to_f64();
        let (rays, colours, alpha) = (read("rays"), read("colours"), read("alpha"));
        for (i, &place) in order[first..first + BATCH].iter().enumerate() {
            let (rgba, pixel) = all[place as usize];
            let pixel = pixel as usize;
            let pose = &views.poses[pixel / 10_000];
            let (x, y) = ((pixel % 100) as f64, (pixel / 100 % 100) as f64);
            let d = pose.rotated(views.camera().direction(x + 0.5, y + 0.5));
            for (c, expected) in pose.position().into_iter().chain(d).enumerate() {
                assert!(
                    (rays[6 * i + c] - expected).abs() < 1e-6,
                    "{number} {i} {c}"
                );
            }
            for c in 0..3 {
                assert!((colours[3 * i + c] - f64::from(rgba[c]) / 255.0).abs() < 1e-6);
            }
            assert!((alpha[i] - f64::from(rgba[3]) / 255.0).abs() < 1e-6);
        }
        if limit < 1 << 20 {
            break;
        }
    }
}

#[test]
fn rays_reach_the_cpu() {
    fed(&Device::Cpu, 1 << 30);
    fed(&Device::Cpu, 1 << 16);
}

#[test]
fn rays_reach_the_gpu() {
    fed(&Device::Gpu(gpu()), 1 << 30);
    fed(&Device::Gpu(gpu()), 1 << 16);
}

#[test]
fn a_part_of_the_rays_keeps_its_views() {
    let data = analytic::dataset(2, 1);
    let views = data.views.clone().unwrap();
    let (training, held) = data.clone().split(500, 1).unwrap();
    let held = held.unwrap();
    assert_eq!((training.rows(), held.rows()), (19_500, 500));
    assert_eq!(held.views, Some(views));
    let numbers: Vec<u32> = rows(&training)
        .iter()
        .chain(&rows(&held))
        .map(|r| r.1)
        .collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..20_000).collect::<Vec<u32>>());
    // Of views of which not all rays are there, what is there is drawn.
    let (whole, shape) = scene::picture(&data, 1, [255; 3]).unwrap();
    let (most, _) = scene::picture(&training, 1, [255; 3]).unwrap();
    assert_eq!((shape.width, shape.height, whole.len()), (100, 100, 30_000));
    let differ = whole.iter().zip(&most).filter(|(a, b)| a != b).count();
    assert!(differ > 0 && differ < 1500, "{differ}");
}
