//! Every expanded kernel is valid for naga and for Tint, and translates to SPIR-V, MSL and HLSL.

use std::collections::BTreeMap;
use std::process::Command;

use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::kernels::philox::Domain;
use wgen::kernels::{Caps, Launch, devices};
use wgen::models::noised_classifier::NoisedClassifier;
use wgen::models::registry::{Case, Examples};
use wgen::models::{ALL, programs};
use wgen::nn::Pass;
use wgen::program::PlanOptions;
use wgen::program::lower::{LowerOptions, lower};
use wgen::program::template::Templates;
use wgen::program::translate::{Target, translate};
use wgen::tensor::TensorType;
use wgen::verify::{cases, chains};

/// Capabilities that lead to every variant: no subgroups, subgroups of 4, 8 and 32 lanes, matrix units of both sizes.
fn devices() -> Vec<Caps> {
    let with = |n: u32| Caps {
        subgroup_min_size: n,
        subgroup_max_size: n,
        ..Caps::portable()
    };
    let software = Caps {
        software: true,
        vendor: 0,
        ..with(8)
    };
    let half = Caps {
        f16: true,
        ..with(8)
    };
    let units = |side: u32, vendor: u32, lanes: [u32; 2]| Caps {
        f16: true,
        matrix_units: side,
        vendor,
        subgroup_min_size: lanes[0],
        subgroup_max_size: lanes[1],
        workgroup_bytes: 32 << 10,
        invocations: 1024,
        ..Caps::portable()
    };
    vec![
        Caps::portable(),
        with(4),
        with(32),
        software,
        half,
        units(8, 0, [8, 8]),
        units(16, devices::NVIDIA, [32, 32]),
        units(16, devices::AMD, [32, 64]),
    ]
}

/// Every distinct source with its launch: the cases of `verify`, the plans of all models, random chains.
fn sources() -> BTreeMap<String, Launch> {
    let templates = Templates::embedded();
    let mut launches: Vec<Launch> = Vec::new();
    for caps in devices() {
        launches.extend(cases::all(&caps, true).iter().map(|c| c.kernel.launch()));
        for entry in ALL {
            for case in (entry.cases)(&caps, false).unwrap() {
                launches.extend(of_model(&case, &caps));
            }
            let further = (entry.further)().unwrap();
            for usual in (entry.usual)().unwrap().into_iter().chain(further) {
                let case = Case {
                    phase: usual.phase,
                    ..Case::of(usual.name, usual.model, usual.batch)
                };
                launches.extend(of_model(&case, &caps));
            }
        }
    }
    for seed in 0..24 {
        let graph = chains::random_graph(seed, 12, 5, 8 + 2 * (seed as usize % 3));
        let parameters = chains::parameters(12, 5, 8 + 2 * (seed as usize % 3));
        let layout = Layout::new(parameters, 1 << 27).unwrap();
        let options = PlanOptions::default();
        launches.extend(fused(&graph, &Caps::portable(), &layout, options));
    }
    // Many programs have a kernel in common: what makes its text is looked at before it is expanded.
    let made_of = |l: &Launch| format!("{} {} {:?}", l.template, l.context, l.constants);
    let distinct: BTreeMap<String, Launch> = launches
        .into_iter()
        .map(|launch| (made_of(&launch), launch))
        .collect();
    distinct
        .into_values()
        .map(|l| (templates.expand(&l).unwrap(), l))
        .collect()
}

/// The gradient that guidance asks of a classifier.
fn guiding(classifier: &NoisedClassifier) -> Graph {
    let config = classifier.config();
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32([4, config.image.count()]));
    let t = graph.input("t", TensorType::u32([1]));
    let classes = graph.input("classes", TensorType::f32([4, config.classes]));
    let log_p = classifier.log_probability(&Pass::evaluation(&graph), x, t, classes);
    let by_x = graph.gradients(log_p.sum_all(), &[x]).remove(0);
    graph.output("by_x", by_x);
    graph
}

/// The kernels of every graph of a case's model: its training, evaluation, encoding, decoding, sampling, and what it has beside.
fn of_model(case: &Case, caps: &Caps) -> Vec<Launch> {
    let model = case.model.as_ref();
    let data = Examples::data_type(model, 640);
    let update = case.update();
    let layout = Layout::new(model.parameters(), caps.binding_bytes).unwrap();
    let mut graphs = vec![model.training(case.phase, &data, &update).unwrap()];
    let others = programs::graphs(model, &data, 64, &[10]).unwrap();
    graphs.extend(others.into_iter().map(|(_, graph)| graph));
    if let Some(classifier) = model.as_any().downcast_ref::<NoisedClassifier>() {
        graphs.push(guiding(classifier));
    }
    let options = case.options;
    graphs
        .iter()
        .flat_map(|g| fused(g, &options.caps(caps), &layout, options))
        .collect()
}

/// The kernels of a graph's plan.
fn fused(graph: &Graph, caps: &Caps, layout: &Layout, options: PlanOptions) -> Vec<Launch> {
    let options = LowerOptions {
        fuse: options.fuse,
        half: options.half,
    };
    let program = lower(graph, caps, layout, options).unwrap();
    program
        .dispatches
        .iter()
        .map(|d| d.kernel.launch())
        .collect()
}

#[test]
fn kernels_are_valid_for_naga_and_translate_to_every_backend() {
    let sources = sources();
    assert!(sources.len() >= 150, "{} kernels", sources.len());
    for (source, launch) in &sources {
        for target in Target::ALL {
            if launch.is_cooperative() && target == Target::Hlsl {
                let error = translate(source, launch, target).unwrap_err();
                assert!(error.to_string().contains("cooperative"), "{error}");
                continue;
            }
            let out = translate(source, launch, target).unwrap_or_else(|e| panic!("{e}\n{source}"));
            let text = String::from_utf8_lossy(&out);
            match target {
                Target::Spirv => assert_eq!(out[..4], 0x0723_0203_u32.to_le_bytes()),
                Target::Msl => assert!(text.contains("kernel void")),
                Target::Hlsl => assert!(text.contains("numthreads")),
            }
        }
    }
    let cooperative = sources.values().filter(|l| l.is_cooperative()).count();
    assert!(cooperative >= 60, "{cooperative} on matrix units");
    println!("{} kernels, {cooperative} on matrix units", sources.len());
}

/// Tint is on the path of the project's machines; elsewhere `WGEN_REQUIRE_TINT` decides whether its absence is a failure.
#[test]
fn kernels_are_valid_for_tint() {
    if Command::new("tint").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("WGEN_REQUIRE_TINT").is_none(),
            "tint is not on PATH"
        );
        eprintln!("NOT CHECKED: tint is not on PATH, so no kernel was validated by it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Cooperative matrices are an extension of naga's.
    let sources = sources();
    let known = sources.iter().filter(|(_, l)| !l.is_cooperative());
    for (i, (source, launch)) in known.enumerate() {
        // Tint wants subgroup operations enabled; naga does not know that line.
        let enable = if launch.subgroups {
            "enable subgroups;\n"
        } else {
            ""
        };
        let path = dir.path().join(format!("{i}-{}.wgsl", launch.template));
        std::fs::write(&path, format!("{enable}{source}")).unwrap();
        let out = Command::new("tint")
            .args(["--format", "wgsl"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}: {}\n{source}",
            launch.template,
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn each_shader_has_a_descriptor_and_a_twin_of_its_stem() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for template in wgen::program::template::families() {
        for dir in ["src/kernels", "src/reference"] {
            assert!(
                root.join(dir).join(format!("{template}.rs")).is_file(),
                "{dir}/{template}.rs"
            );
        }
        assert!(Templates::embedded().source(template).is_some());
    }
}
