//! Rays through an occupancy grid against NumPy and PyTorch, as plans on the GPU bit for bit against the CPU's f32, and what holds of any grid.
//! `tests/golden/nerf_march.py` writes the tensors.

mod common;

use std::collections::BTreeMap;

use common::graphs::{Leaves, bits_of, context, on_cpu, on_gpu};
use common::{golden, gpu, relative_difference};
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::kernels::SCHEDULE_COLUMNS;
use wgen::kernels::march::March;
use wgen::kernels::philox::Domain;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::{Data, TensorType, Value};
use wgen::verify::cases::{Values, integers, numbers};
use wgen::verify::step::{self, Setup};

type Tensors = BTreeMap<String, Value>;
const MARCHED: [&str; 4] = ["counts", "base", "samples", "ray"];

/// Rays counted, placed and written into `room` rows, `capacity` of which may be filled.
fn marching(march: &March, rays: usize, capacity: usize, room: usize) -> Graph {
    let graph = Graph::new(Domain::Training);
    {
        let r = graph.input("rays", TensorType::f32([rays, 6]));
        let jitter = graph.input("jitter", TensorType::f32([rays, 1]));
        let active = graph.input("active", TensorType::f32([1]));
        let bits = graph.input("bits", TensorType::u32([march.words()]));
        let counts = r.march_count(jitter, active, bits, march);
        let base = counts.scan(capacity);
        graph.output("counts", counts);
        graph.output("base", base);
        graph.output("samples", r.march(jitter, bits, base, room, march));
        graph.output("ray", base.ray_of(room));
    }
    graph
}

/// A golden case as a graph of its size.
fn golden_march(tensors: &Tensors, name: &str) -> (Graph, Leaves, March) {
    let of = |key: &str| &tensors[&format!("{name}/{key}")];
    let options = of("options").data.as_u32();
    let mut march = March::new(options[0] as usize, options[1] as usize).unwrap();
    if let [_, _, cascades, octave] = options {
        march = march
            .with_cascades(*cascades as usize, *octave as usize)
            .unwrap();
    }
    let rays = of("rays").shape.dims()[0];
    let rows = of("samples").shape.dims()[0];
    let graph = marching(&march, rays, rows, rows + 5);
    let jitter = Value::new([rays, 1], of("jitter").data.clone()).unwrap();
    let leaves = vec![
        ("rays", of("rays").clone()),
        ("jitter", jitter),
        ("active", Value::f32([1], vec![rays as f32]).unwrap()),
        ("bits", of("bits").clone()),
    ];
    (graph, leaves, march)
}

#[test]
fn samples_are_those_of_numpy_in_f32_bit_for_bit() {
    let tensors = golden("nerf_march");
    let gpu = gpu();
    for name in [
        "exact/fine",
        "exact/coarse",
        "exact/full",
        "exact/cascades",
        "exact/octaves",
        "exact/octaves_full",
    ] {
        let (graph, leaves, _) = golden_march(&tensors, name);
        let cx = context(Precision::F32, 0);
        let cpu = on_cpu(&graph, &MARCHED, &leaves, &cx);
        let got = on_gpu(&gpu, &graph, &MARCHED, &leaves, &cx);
        let counts = tensors[&format!("{name}/counts")].data.as_u32();
        let samples = tensors[&format!("{name}/samples")].data.to_f32();
        assert!(counts.iter().any(|&c| c > 8) && counts.contains(&0));
        for values in [cpu, got] {
            assert_eq!(values[0].data.as_u32(), counts, "{name}");
            let Data::F32(rows) = &values[2].data else {
                panic!("{:?}", values[2].data);
            };
            assert_eq!(rows[..samples.len()], samples, "{name}");
            assert!(rows[samples.len()..].iter().all(|&x| x == 0.0));
        }
        // In f64 the same samples are taken, at places that rounding alone moves.
        let wide = on_cpu(&graph, &MARCHED, &leaves, &context(Precision::F64, 0));
        assert_eq!(wide[0].data.as_u32(), counts);
        let wide = &wide[2].data.to_f64()[..samples.len()];
        let single: Vec<f64> = samples.iter().map(|&x| f64::from(x)).collect();
        assert!(relative_difference(wide, &single) < 3e-7);
    }
}

#[test]
fn a_lattice_from_the_wall_on_has_the_same_samples() {
    let tensors = golden("nerf_march");
    let name = "near/half";
    let (graph, leaves, _) = golden_march(&tensors, name);
    let cx = context(Precision::F64, 0);
    let of = |key: &str| &tensors[&format!("{name}/{key}")].data;
    let (counts, grazing) = (of("counts").as_u32(), of("grazing").as_u32());
    let expected = of("samples").to_f64();
    let got = on_cpu(&graph, &MARCHED, &leaves, &cx);
    let (found, rows) = (got[0].data.as_u32(), got[2].data.to_f64());
    let (mut compared, mut first, mut mine) = (0, 0, 0);
    for ray in 0..counts.len() {
        let (count, own) = (counts[ray] as usize, found[ray] as usize);
        if grazing[ray] == 0 {
            assert_eq!(own, count, "ray {ray}");
            for i in 0..4 * count {
                let (a, b) = (rows[4 * mine + i], expected[4 * first + i]);
                assert!((a - b).abs() < 1e-6, "ray {ray}: {a}, {b}");
            }
            compared += count;
        } else {
            assert!(own.abs_diff(count) <= 2, "ray {ray}: {own}, {count}");
        }
        (first, mine) = (first + count, mine + own);
    }
    assert!(compared > 1500, "{compared} samples");
}

/// Rays from a sphere around the cube to points in it, a grid of which a fifth is occupied in blocks of two cells.
fn scene(march: &March, rays: usize, seed: u64) -> Leaves {
    let normal = numbers(Values::Normal, seed, 3 * rays).to_f32();
    let aim = integers(seed + 1, 1 << 16, 3 * rays);
    let mut all = Vec::new();
    for ray in 0..rays {
        let v: Vec<f64> = (0..3).map(|a| f64::from(normal[3 * ray + a])).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let origin: Vec<f64> = v.iter().map(|x| 1.3 * x / length + 0.5).collect();
        let to: Vec<f64> = (0..3)
            .map(|a| f64::from(aim.as_u32()[3 * ray + a]) / 65_536.0 - origin[a])
            .collect();
        let length = to.iter().map(|x| x * x).sum::<f64>().sqrt();
        all.extend(origin.iter().map(|&x| x as f32));
        all.extend(to.iter().map(|x| (x / length) as f32));
    }
    let side = march.resolution();
    let blocks = integers(seed + 2, 5, side.pow(3) / 8);
    let mut bits = vec![0_u32; march.words()];
    for cell in 0..march.cells() {
        let [x, y, z] = [cell % side, cell / side % side, cell / side / side].map(|c| c / 2);
        if blocks.as_u32()[x + side / 2 * (y + side / 2 * z)] == 0 {
            bits[cell / 32] |= 1 << (cell % 32);
        }
    }
    let words = integers(seed + 3, 1 << 24, rays);
    let jitter = words.as_u32().iter().map(|&w| w as f32 / 16_777_216.0);
    vec![
        ("rays", Value::f32([rays, 6], all).unwrap()),
        ("jitter", Value::f32([rays, 1], jitter.collect()).unwrap()),
        ("active", Value::f32([1], vec![rays as f32]).unwrap()),
        (
            "bits",
            Value::new([march.words()], Data::U32(bits)).unwrap(),
        ),
    ]
}

/// In f64: how many samples a ray has, and how close the nearest comes to a wall, in cells.
fn in_f64(march: &March, ray: &[f32], jitter: f32, bits: &[u32]) -> (u32, f64) {
    let (side, dt) = (march.resolution(), f64::from(march.dt()));
    let (mut count, mut nearest) = (0, 1_f64);
    for k in 0..3 * march.steps() {
        let t = (k as f64 + f64::from(jitter)) * dt;
        let scaled = [0, 1, 2]
            .map(|a| (f64::from(ray[a]) + t * f64::from(ray[a + 3])) * march.resolution() as f64);
        let wall = scaled.map(|s| (s - s.round()).abs());
        nearest = wall.iter().fold(nearest, |n, &w| n.min(w));
        if scaled.iter().all(|s| (0.0..side as f64).contains(s)) {
            let [x, y, z] = scaled.map(|s| s as usize);
            let cell = x + side * (y + side * z);
            count += bits[cell / 32] >> (cell % 32) & 1;
        }
    }
    (count, nearest)
}

#[test]
fn random_rays_have_their_samples_on_the_lattice_in_occupied_cells() {
    let gpu = gpu();
    let march = March::new(32, 256).unwrap();
    let (rays, side) = (700, 32_usize);
    let leaves = scene(&march, rays, 5);
    let graph = marching(&march, rays, 40_000, 40_000);
    let cx = context(Precision::F32, 0);
    let got = on_gpu(&gpu, &graph, &MARCHED, &leaves, &cx);
    // The same bits as the CPU's, which looks at every step.
    let cpu = on_cpu(&graph, &MARCHED, &leaves, &cx);
    for (name, (got, cpu)) in MARCHED.iter().zip(got.iter().zip(&cpu)) {
        assert!(bits_of(got) == bits_of(cpu), "{name}");
    }
    let [r, jitter, bits] = [0, 1, 3].map(|i| &leaves[i].1.data);
    let (r, jitter, bits) = (r.to_f32(), jitter.to_f32(), bits.as_u32());
    let (base, samples, ray) = (
        got[1].data.as_u32(),
        got[2].data.to_f64(),
        got[3].data.as_u32(),
    );
    let count = base[rays] as usize;
    assert!(count > 10_000 && base[rays + 1] == rays as u32, "{count}");
    let mut before = (u32::MAX, -1.0);
    for (row, of) in samples.chunks(4).zip(ray).take(count) {
        let (x, t) = (&row[..3], row[3]);
        let own = &r[6 * *of as usize..];
        // In a cell that is occupied, if it is not closer to a wall than rounding.
        let scaled: Vec<f64> = x.iter().map(|x| x * side as f64).collect();
        let cell = |a: usize| scaled[a] as usize;
        let cell = cell(0) + side * (cell(1) + side * cell(2));
        assert!(scaled.iter().all(|s| (0.0..side as f64).contains(s)));
        assert_eq!(bits[cell / 32] >> (cell % 32) & 1, 1);
        // On the ray, a whole number of steps along it, behind the one before.
        for a in 0..3 {
            let on = f64::from(own[a]) + t * f64::from(own[3 + a]);
            assert!((x[a] - on).abs() < 2e-7, "{} {on}", x[a]);
        }
        let k = t / f64::from(march.dt()) - f64::from(jitter[*of as usize]);
        assert!((k - k.round()).abs() < 1e-3, "{k}");
        assert!(before.0 != *of || k > before.1 + 0.9);
        before = (*of, k);
    }
    // Beside f64 a ray may have another number of samples only where one grazes a wall.
    let counts = got[0].data.as_u32();
    let (mut differ, mut grazing) = (0, 0);
    for (i, &count) in counts.iter().enumerate() {
        let (expected, nearest) = in_f64(&march, &r[6 * i..6 * i + 6], jitter[i], bits);
        grazing += usize::from(nearest < 3e-5);
        if count != expected {
            assert!(nearest < 3e-5, "ray {i}: {count}, {expected}, {nearest:e}");
            differ += 1;
        }
    }
    println!(
        "{differ} of {rays} rays differ from f64, {grazing} pass a wall within 3e-5 of a cell"
    );
    assert!(differ <= 7, "{differ}");
}

/// All that a step does with rays, and an update of the grid; `recurrent` with as many rays in the next step as its budget says.
fn whole_step(march: &March, rays: usize, recurrent: bool) -> Graph {
    let graph = Graph::new(Domain::Training);
    {
        let values = graph.parameter("values", [march.cells()]);
        let r = graph.input("rays", TensorType::f32([rays, 6]));
        let jitter = graph.input("jitter", TensorType::f32([rays, 1]));
        let active = graph.input("active", TensorType::f32([1]));
        let threshold = values.max(graph.constant(0.0)).mean(&[0]);
        let bits = values.occupancy_bits(threshold);
        let counts = r.march_count(jitter, active, bits, march);
        let base = counts.scan(3000);
        let samples = r.march(jitter, bits, base, 3001, march);
        let budget = base.ray_budget(active, 1500, 16, rays as u32);
        let cells = graph.concat(
            0,
            &[
                values.occupancy_cells("cells", threshold, march.resolution().pow(3) / 2),
                values.occupancy_all_cells(),
            ],
        );
        let points = cells.occupancy_points("points", march.resolution(), 1);
        let thickness = points.square().sum(&[1]) * 0.3;
        graph.output("merged", values.occupancy_merge(cells, thickness, 0.95));
        graph.output("samples", samples);
        graph.output("ray", base.ray_of(3001));
        graph.output("counts", counts);
        graph.output("base", base);
        graph.output("cells", cells);
        graph.output("budget", budget);
        if recurrent {
            graph.feed_back("active", budget.slice(0, 2, 3));
        }
    }
    graph
}

#[test]
fn plans_of_all_of_it_keep_integers_whole() {
    let gpu = gpu();
    let march = March::new(16, 100).unwrap();
    let graph = whole_step(&march, 97, false);
    let mut inputs = scene(&march, 97, 3);
    inputs.retain(|(name, _)| *name != "bits");
    let parameter = Parameter::new("values", [march.cells()], Init::Constant(0.0));
    let setup = Setup {
        graph: &graph,
        layout: Layout::new(vec![parameter], 1 << 27).unwrap(),
        weights: vec![numbers(Values::Normal, 9, march.cells()).to_f32()],
        inputs,
        state: context(Precision::F32, 32).state,
        schedule: vec![[0.0; SCHEDULE_COLUMNS]; 4],
    };
    step::graph(&gpu, &setup, PlanOptions::default())
        .unwrap()
        .expect();
}

#[test]
fn three_runs_have_the_same_bits_and_the_budget_finds_its_rays() {
    let gpu = gpu();
    let march = March::new(16, 100).unwrap();
    let (rays, names) = (1200, ["counts", "base", "samples", "merged", "budget"]);
    let mut leaves = scene(&march, rays, 8);
    leaves.retain(|(name, _)| *name != "bits");
    let run = |steps: usize| {
        let parameter = Parameter::new("values", [march.cells()], Init::Constant(0.0));
        let layout = Layout::new(vec![parameter], 1 << 27).unwrap();
        let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
        let values = numbers(Values::Normal, 9, march.cells()).to_f32();
        store
            .write(wgen::program::Flat::Parameters, &[values])
            .unwrap();
        let plan = Plan::compile(
            &whole_step(&march, rays, true),
            &store,
            &[],
            PlanOptions::default(),
        )
        .unwrap();
        for (name, value) in &leaves {
            plan.write(name, &value.data).unwrap();
        }
        plan.run(steps).unwrap();
        names.map(|n| plan.read(n).unwrap())
    };
    let first = run(1);
    for _ in 0..2 {
        let again = run(1);
        for (name, (a, b)) in names.iter().zip(first.iter().zip(&again)) {
            assert!(bits_of(a) == bits_of(b), "{name}");
        }
    }
    // All are asked for at first, and most do not fit; the step counter stands at 0, so that every run is one of the 16th.
    let [kept, samples, next] = [0, 1, 2].map(|i| first[4].data.to_f64()[i]);
    assert!(kept < rays as f64 && samples <= 3000.0, "{kept} {samples}");
    assert_eq!(next, (kept * 1500.0 / samples).floor());
    let later = run(3)[4].data.to_f64();
    assert!((1200.0..1800.0).contains(&later[1]), "{later:?}");
    assert_eq!(later[0], later[2], "it stays");
}

#[test]
fn operands_that_do_not_fit_are_named() {
    for (resolution, steps, said) in [
        (48, 100, "power of two from 4 to 512, not 48"),
        (2, 100, "not 2"),
        (1024, 100, "not 1024"),
        (64, 0, "from 1 to 1024 steps"),
        (64, 1025, "not 1025"),
    ] {
        let error = March::new(resolution, steps).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let march = March::new(16, 100).unwrap();
    type Build = for<'g> fn(&'g Graph, &March);
    let cases: Vec<(Build, &str)> = vec![
        (
            |g, m| {
                let rays = g.input("rays", TensorType::f32([9, 6]));
                let one = g.input("one", TensorType::f32([1]));
                let bits = g.input("bits", TensorType::u32([127]));
                rays.march_count(rays.slice(1, 0, 1), one, bits, m);
            },
            "march_count: takes f32 rays [rays, 6], f32 jitter [rays] or [rays, 1], how many rays are active as f32 [] or [1], and u32 bits [128], got [9, 6], [9, 1], [1], [127]",
        ),
        (
            |g, m| {
                let rays = g.input("rays", TensorType::f32([9, 6]));
                let bits = g.input("bits", TensorType::u32([128]));
                let base = g.input("base", TensorType::u32([9]));
                rays.march(rays.slice(1, 0, 1), bits, base, 100, m);
            },
            "march: takes",
        ),
        (
            |g, _| {
                g.input("counts", TensorType::u32([9])).scan(1 << 31);
            },
            "scan: has room for at most 2147483646 samples, not 2147483648",
        ),
        (
            |g, _| {
                g.input("counts", TensorType::f32([9])).scan(5);
            },
            "scan: takes u32 counts [rays], not empty, got [9]",
        ),
        (
            |g, _| {
                g.input("base", TensorType::u32([2])).ray_of(5);
            },
            "ray_of: takes where rays begin, u32 [rays + 2] as scan gives it, got [2]",
        ),
        (
            |g, _| {
                let base = g.input("base", TensorType::u32([9]));
                base.ray_budget(g.constant(1.0), 100, 9, 8);
            },
            "ray_budget: clamps the rays to 9 .. 8",
        ),
        (
            |g, _| {
                let values = g.input("values", TensorType::f32([1000]));
                values.occupancy_bits(g.constant(1.0));
            },
            "occupancy_bits: takes f32 values [side^3] or [cascades, side^3], side a power of two from 4 to 512, from 2 to 8 cascades, and a threshold, one f32, got [1000], []",
        ),
        (
            |g, _| {
                let values = g.input("values", TensorType::f32([4096]));
                values.occupancy_cells("cells", values, 64);
            },
            "occupancy_cells: takes",
        ),
        (
            |g, _| {
                let cells = g.input("cells", TensorType::u32([10]));
                cells.occupancy_points("points", 12, 1);
            },
            "not 12",
        ),
        (
            |g, _| {
                let values = g.input("values", TensorType::f32([4096]));
                let cells = g.input("cells", TensorType::u32([10]));
                values.occupancy_merge(cells, g.input("new", TensorType::f32([9])), 0.95);
            },
            "occupancy_merge: takes",
        ),
    ];
    for (build, said) in cases {
        let graph = Graph::new(Domain::Training);
        build(&graph, &march);
        let error = graph.check().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
