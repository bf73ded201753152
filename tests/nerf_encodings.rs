//! NeRF's encodings and samples along rays: known values to the digits given, PyTorch in f64 (`tests/golden/nerf_encodings.py` writes the
//! tensors), the same graphs on the GPU, and what is refused.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{golden, gpu, relative_difference};
use wgen::graph::layout::Layout;
use wgen::graph::op::EvalContext;
use wgen::graph::{Depths, Graph, Var};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::{Data, TensorType, Value};

const F64: EvalContext = EvalContext {
    precision: Precision::F64,
    state: RandomState {
        seed: 7,
        step: 3,
        cursor: 2,
    },
};

type Tensors = BTreeMap<String, Value>;

fn value<const N: usize>(shape: [usize; N], numbers: &[f64]) -> Value {
    Value::new(shape, Data::F64(numbers.to_vec())).unwrap()
}

/// What `build` makes of inputs, in f64.
fn computed(
    inputs: &[Value],
    build: impl for<'g> FnOnce(&'g Graph, &[Var<'g>]) -> Var<'g>,
) -> Vec<f64> {
    let graph = Graph::new(Domain::Training);
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
    let leaves: Vec<(&str, Value)> = names
        .iter()
        .map(String::as_str)
        .zip(inputs.iter().cloned())
        .collect();
    let vars: Vec<Var<'_>> = leaves
        .iter()
        .map(|(name, value)| graph.input(name, value.tensor_type()))
        .collect();
    let y = build(&graph, &vars);
    graph.interpret(&[y.id()], &leaves, &F64).unwrap()[0]
        .data
        .to_f64()
}

/// Equal to so many places as are written down.
#[track_caller]
fn known(got: &[f64], expected: &[f64], places: i32) {
    assert_eq!(got.len(), expected.len(), "{got:?}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let half = 0.51 * 10_f64.powi(-places);
        assert!(
            (got - expected).abs() <= half,
            "number {i} is {got}, not {expected}"
        );
    }
}

#[test]
fn the_encoding_has_known_values() {
    let x = value([1, 3], &[0.5, -0.25, 1.0]);
    let encoded = |octaves: usize| {
        computed(std::slice::from_ref(&x), move |_, x| {
            x[0].frequency_encode(octaves)
        })
    };
    #[rustfmt::skip]
    let expected = [
        0.5, -0.25, 1.0,
        0.479425539, -0.247403959, 0.841470985, 0.877582562, 0.968912422, 0.540302306,
        0.841470985, -0.479425539, 0.909297427, 0.540302306, 0.877582562, -0.416146837,
        0.909297427, -0.841470985, -0.756802495, -0.416146837, 0.540302306, -0.653643621,
        -0.756802495, -0.909297427, 0.989358247, -0.653643621, -0.416146837, -0.145500034,
    ];
    known(&encoded(4), &expected, 9);
    let ten = encoded(10);
    assert_eq!(ten.len(), 63);
    let sums = [
        ten.iter().sum::<f64>(),
        ten.iter().map(|x| x.abs()).sum::<f64>(),
    ];
    known(&sums, &[1.320_883_687_6, 40.663_336_826_2], 10);
    known(
        &ten[60..],
        &[-0.039_790_760, -0.692_895_822, -0.996_833_391],
        9,
    );
    assert_eq!(encoded(0), [0.5, -0.25, 1.0]);
}

#[test]
fn harmonics_have_known_values_and_one_sum_of_squares() {
    let harmonics = |rows: usize, d: &[f64]| {
        computed(&[value([rows, 3], d)], |_, d| d[0].spherical_harmonics())
    };
    let third = 1.0 / 3.0;
    #[rustfmt::skip]
    let expected = [
        0.282094792, -0.325735008, 0.325735008, -0.162867504, 0.242788540, -0.485577080, 0.105130522, -0.242788540,
        -0.182091405, 0.043706933, 0.428238732, -0.372407688, -0.193498839, -0.186203844, -0.321179049, 0.240388129,
    ];
    known(
        &harmonics(1, &[third, 2.0 * third, 2.0 * third]),
        &expected,
        9,
    );
    let axis = |at: &[(usize, f64)]| {
        let mut values = [0.0; 16];
        at.iter().for_each(|&(i, v)| values[i] = v);
        values
    };
    let up = axis(&[
        (0, 0.282_094_792),
        (2, 0.488_602_512),
        (6, 0.630_783_131),
        (12, 0.746_352_665),
    ]);
    known(&harmonics(1, &[0.0, 0.0, 1.0]), &up, 9);
    let right = axis(&[
        (0, 0.282_094_792),
        (3, -0.488_602_512),
        (6, -0.315_391_565),
        (8, 0.546_274_215),
        (13, 0.457_045_799),
        (15, -0.590_043_590),
    ]);
    known(&harmonics(1, &[1.0, 0.0, 0.0]), &right, 9);
    // Directions around the sphere.
    let rows = 100;
    let d: Vec<f64> = (0..rows)
        .flat_map(|i| {
            let (z, turn) = ((f64::from(i) + 0.5) / 50.0 - 1.0, f64::from(i) * 2.4);
            let r = (1.0 - z * z).sqrt();
            [r * turn.cos(), r * turn.sin(), z]
        })
        .collect();
    for values in harmonics(rows as usize, &d).chunks(16) {
        let sum: f64 = values.iter().map(|v| v * v).sum();
        known(&[sum], &[1.273_239_545], 9);
    }
}

#[test]
fn stratified_depths_have_known_values() {
    let depths = |samples, lindisp| Depths {
        near: 2.0,
        far: 6.0,
        samples,
        lindisp,
    };
    let u = value([1, 4], &[0.0, 0.25, 0.5, 0.75]);
    let z = computed(&[u], |_, u| u[0].stratified_with(&depths(4, false)));
    known(&z, &[2.0, 3.0, 4.666_666_667, 5.833_333_333], 9);
    let even = |samples, lindisp| computed(&[], |g, _| g.even_depths(2, &depths(samples, lindisp)));
    known(&even(3, false), &[2.0, 4.0, 6.0, 2.0, 4.0, 6.0], 12);
    known(&even(3, true), &[2.0, 3.0, 6.0, 2.0, 3.0, 6.0], 12);
    assert_eq!(even(1, false), [2.0, 2.0]);
    // The sample of a cell is uniform in it: its mean is the middle.
    let drawn = computed(&[], |g, _| g.stratified("z", 4000, &depths(3, false)));
    for (i, middle) in [2.5, 4.0, 5.5].into_iter().enumerate() {
        let of_cell = drawn.iter().skip(i).step_by(3);
        let mean = of_cell.sum::<f64>() / 4000.0;
        // Four standard deviations of a mean over a cell of at most 2.
        assert!(
            (mean - middle).abs() < 4.0 * 2.0 / (12.0 * 4000_f64).sqrt(),
            "{mean}"
        );
    }
    // Rays are keyed by example: in another batch they are the same.
    let fewer = computed(&[], |g, _| g.stratified("z", 5, &depths(3, false)));
    assert_eq!(fewer, drawn[..15]);
}

#[test]
fn fine_samples_have_known_values() {
    // Depths whose middles are 2.25 to 4.25.
    let z = [2.0, 2.5, 3.0, 3.5, 4.0, 4.5];
    let fine = |weights: [f64; 4], uniforms: Option<&[f64]>, count: usize| {
        let [a, b, c, d] = weights;
        // The weights of the ends do not count.
        let mut inputs = vec![value([1, 6], &z), value([1, 6], &[7.0, a, b, c, d, 9.0])];
        inputs.extend(uniforms.map(|u| value([1, u.len()], u)));
        let merged = computed(&inputs, |_, x| {
            x[0].sample_pdf(x[1], x.get(2).copied(), count)
        });
        assert!(merged.is_sorted(), "{merged:?}");
        // Without the coarse ones.
        let mut rest = merged;
        for z in z {
            let at = rest.iter().position(|x| *x == z).unwrap();
            rest.remove(at);
        }
        rest
    };
    let weights = [0.0, 1.0, 3.0, 0.0];
    known(
        &fine(weights, None, 5),
        &[2.25, 3.249_995, 3.416_666_111, 3.583_333_889, 4.25],
        9,
    );
    known(
        &fine(weights, Some(&[0.9, 0.1, 0.5]), 3),
        &[2.949_995, 3.416_666_111, 3.683_334_556],
        9,
    );
    known(&fine([0.0; 4], None, 5), &[2.25, 2.75, 3.25, 3.75, 4.25], 9);
    known(&fine(weights, None, 1), &[2.25], 9);
}

fn build<'g>(name: &str, x: &[Var<'g>]) -> Var<'g> {
    let lindisp = name.ends_with("disparities");
    match name.split('_').collect::<Vec<_>>()[..] {
        ["frequency", octaves] => x[0].frequency_encode(octaves.parse().unwrap()),
        ["harmonics", _] => x[0].spherical_harmonics(),
        ["stratified", ..] => x[0].stratified_with(&Depths {
            near: 2.0,
            far: 6.0,
            samples: 8,
            lindisp,
        }),
        ["fine", _] => x[0].sample_pdf(x[1], x.get(2).copied(), 11),
        _ => panic!("no case '{name}'"),
    }
}

/// The graph of a case, `y` its value and, where a gradient is known, `d0`; and what is put in.
fn case(name: &str, tensors: &Tensors) -> (Graph, Vec<(String, Value)>) {
    let graph = Graph::new(Domain::Training);
    let mut leaves: Vec<(String, Value)> = Vec::new();
    while let Some(value) = tensors.get(&format!("{name}/x{}", leaves.len())) {
        leaves.push((format!("x{}", leaves.len()), value.clone()));
    }
    {
        let vars: Vec<Var<'_>> = leaves
            .iter()
            .map(|(label, value)| graph.input(label, value.tensor_type()))
            .collect();
        let y = build(name, &vars);
        graph.output("y", y);
        if let Some(upstream) = tensors.get(&format!("{name}/g")) {
            let g = graph.input("g", upstream.tensor_type());
            let gradient = graph.gradients((y * g).sum_all(), &vars[..1])[0];
            graph.output("d0", gradient);
            leaves.push(("g".to_owned(), upstream.clone()));
        }
    }
    (graph, leaves)
}

fn names(tensors: &Tensors) -> BTreeSet<&str> {
    tensors
        .keys()
        .filter_map(|k| Some(k.split_once('/')?.0))
        .collect()
}

#[test]
fn encodings_and_samples_agree_with_pytorch() {
    let tensors = golden("nerf_encodings");
    let mut compared = 0;
    for name in names(&tensors) {
        let (graph, leaves) = case(name, &tensors);
        let leaves: Vec<(&str, Value)> = leaves
            .iter()
            .map(|(n, v)| (n.as_str(), v.clone()))
            .collect();
        for output in ["y", "d0"] {
            let Some(expected) = tensors.get(&format!("{name}/{output}")) else {
                continue;
            };
            let id = graph.find_output(output).unwrap();
            let got = graph.interpret(&[id], &leaves, &F64).unwrap().remove(0);
            assert_eq!(got.shape, expected.shape, "{name} {output}");
            let difference = relative_difference(&got.data.to_f64(), &expected.data.to_f64());
            assert!(difference < 1e-11, "{name} {output}: {difference:e}");
            compared += 1;
        }
    }
    assert_eq!(compared, 14);
    for (name, lindisp) in [("stratified", false), ("stratified_disparities", true)] {
        let depths = Depths {
            near: 2.0,
            far: 6.0,
            samples: 8,
            lindisp,
        };
        let even = computed(&[], |g, _| g.even_depths(3, &depths));
        let expected = tensors[&format!("{name}/even")].data.to_f64();
        assert!(relative_difference(&even, &expected) < 1e-14);
    }
}

#[test]
fn plans_on_the_gpu_agree_with_pytorch() {
    let tensors = golden("nerf_encodings");
    let gpu = gpu();
    for name in names(&tensors) {
        let (graph, leaves) = case(name, &tensors);
        let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
        let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        for (label, value) in &leaves {
            let data = value.data.clone().in_precision(Precision::F32);
            plan.write(label, &data).unwrap();
        }
        plan.run(1).unwrap();
        for output in ["y", "d0"] {
            let Some(expected) = tensors.get(&format!("{name}/{output}")) else {
                continue;
            };
            let got = plan.read(output).unwrap().data.to_f64();
            let difference = relative_difference(&got, &expected.data.to_f64());
            // What f32 inputs alone cost: 2^9 * 20 radians are known to 2^-11. A mass of 1e-5 between sums of 1 is known to a hundredth
            // of itself, so a sample in it to a hundredth of a cell of 0.6 in 6.
            let most = match name {
                "frequency_10" => 1e-3,
                "fine_given" => 2e-3,
                _ => 3e-6,
            };
            assert!(difference < most, "{name} {output}: {difference:e}");
        }
    }
}

#[track_caller]
fn refused(build: impl for<'g> FnOnce(&'g Graph) -> Var<'g>, words: &[&str]) {
    let graph = Graph::new(Domain::Training);
    let _ = build(&graph);
    let message = graph.check().unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
}

#[test]
fn what_cannot_be_encoded_or_sampled_is_refused() {
    refused(
        |g| g.input("x", TensorType::f32([3])).frequency_encode(4),
        &["frequency_encode", "[n, d]", "[3]"],
    );
    refused(
        |g| g.input("x", TensorType::u32([5, 3])).frequency_encode(4),
        &["f32"],
    );
    refused(
        |g| g.input("x", TensorType::f32([5, 3])).frequency_encode(25),
        &["25 octaves", "1 to 24"],
    );
    refused(
        |g| g.input("d", TensorType::f32([5, 4])).spherical_harmonics(),
        &["spherical_harmonics", "[n, 3]", "[5, 4]"],
    );
    let depths = Depths {
        near: 2.0,
        far: 6.0,
        samples: 4,
        lindisp: false,
    };
    for (wrong, words) in [
        (
            Depths {
                near: 6.0,
                far: 2.0,
                ..depths
            },
            ["near 6", "far 2"],
        ),
        (
            Depths {
                near: 2.0,
                far: 2.0,
                ..depths
            },
            ["near 2", "far 2"],
        ),
        (
            Depths {
                far: f64::INFINITY,
                ..depths
            },
            ["far inf", "finite"],
        ),
        (
            Depths {
                near: f64::NAN,
                ..depths
            },
            ["near NaN", "finite"],
        ),
        (
            Depths {
                near: 0.0,
                lindisp: true,
                ..depths
            },
            ["near 0", "reciprocals"],
        ),
        (
            Depths {
                samples: 0,
                ..depths
            },
            ["0 samples", "one"],
        ),
    ] {
        refused(move |g| g.stratified("z", 3, &wrong), &words);
        refused(move |g| g.even_depths(3, &wrong), &words);
    }
    refused(
        move |g| {
            g.input("u", TensorType::f32([3, 5]))
                .stratified_with(&depths)
        },
        &["stratified", "[rays, 4]", "[3, 5]"],
    );
}

#[test]
fn fine_samples_of_other_shapes_are_refused() {
    type Shapes = ([usize; 2], [usize; 2], Option<[usize; 2]>, usize);
    let cases: [(Shapes, &[&str]); 6] = [
        (([4, 2], [4, 2], None, 5), &["2 samples", "at least 3"]),
        (([4, 8], [4, 8], None, 0), &["0 more", "at least 1"]),
        (([4, 8], [4, 7], None, 5), &["[4, 8], [4, 8]", "[4, 7]"]),
        (([4, 8], [4, 8], Some([4, 6]), 5), &["[4, 5]", "[4, 6]"]),
        (([4, 8], [4, 8], Some([3, 5]), 5), &["[4, 5]", "[3, 5]"]),
        (
            ([1, 2000], [1, 2000], None, 97),
            &["2000 samples and 97", "4096"],
        ),
    ];
    for ((z, w, u, count), words) in cases {
        refused(
            move |g| {
                let u = u.map(|dims| g.input("u", TensorType::f32(dims)));
                let w = g.input("w", TensorType::f32(w));
                g.input("z", TensorType::f32(z)).sample_pdf(w, u, count)
            },
            words,
        );
    }
}
