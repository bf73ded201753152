//! Faults planted in kernels of several families: the sanitizer names the kind and the line of each. How many of them the GPU tests see on this adapter is
//! printed beside (`--nocapture`): on one driver's order of lanes most races are right by luck.

mod common;

use common::gpu;
use wgen::kernels::devices;
use wgen::program::template::Templates;
use wgen::sanitize::Kind::{
    self, Endless, NonUniform, NotFinite, OutOfBounds, Race, RaceOfEquals, ScheduleDependent,
    Uninitialized,
};
use wgen::sanitize::Options;
use wgen::verify::cases::{self, Case};
use wgen::verify::{Sanitizer, run};

/// A fault: in place of which text of a template stands what, in which family's cases it is looked for, and what is found: a kind, and what stands in the
/// line or in the other of its two.
struct Fault {
    template: &'static str,
    family: &'static str,
    from: &'static str,
    to: &'static str,
    kind: Kind,
    line: &'static str,
}

const fn fault(
    [template, family]: [&'static str; 2],
    [from, to]: [&'static str; 2],
    kind: Kind,
    line: &'static str,
) -> Fault {
    Fault {
        template,
        family,
        from,
        to,
        kind,
        line,
    }
}

const BARRIER: &str = "    workgroupBarrier();\n";

const FAULTS: [Fault; 20] = [
    // Barriers that are missing: before a tree, in it, between a read and the next write, between two uses of a tile.
    fault(
        ["reduce", "reduce"],
        [
            "    shared_partials[local] = p0;\n    workgroupBarrier();\n",
            "    shared_partials[local] = p0;\n",
        ],
        Race,
        "shared_partials[local + half]",
    ),
    fault(
        ["reduce", "reduce"],
        ["        }\n        workgroupBarrier();\n", "        }\n"],
        Race,
        "shared_partials[local + half]",
    ),
    fault(
        ["guard", "guard"],
        [
            "    sums[local] = sum;\n    workgroupBarrier();\n",
            "    sums[local] = sum;\n",
        ],
        Race,
        "total += sums[i];",
    ),
    fault(
        ["group_norm", "group_norm"],
        [
            "    workgroupBarrier();\n    partials[local] = own;\n    workgroupBarrier();\n    var sum = partials[0];\n    for (var i = 1u; i < WORKGROUP; i++) {\n        sum += partials[i];\n    }\n    return",
            "    partials[local] = own;\n    workgroupBarrier();\n    var sum = partials[0];\n    for (var i = 1u; i < WORKGROUP; i++) {\n        sum += partials[i];\n    }\n    return",
        ],
        Race,
        "partials[local] = own;",
    ),
    fault(
        ["scan", "scan"],
        [
            "        workgroupBarrier();\n        sums[local] = sum;\n",
            "        sums[local] = sum;\n",
        ],
        Race,
        "sum = add(sum, sums[local - reach]);",
    ),
    fault(
        ["sample_pdf", "sample_pdf"],
        [
            "        keys[SAMPLES + i] = key_of(value);\n    }\n    workgroupBarrier();\n",
            "        keys[SAMPLES + i] = key_of(value);\n    }\n",
        ],
        Race,
        "let other = keys[j];",
    ),
    fault(["shared/tiles", "matmul"], [BARRIER, ""], Race, "tile["),
    fault(
        ["attention", "attention"],
        [
            "        peaks[local] = peak;\n        workgroupBarrier();\n",
            "        peaks[local] = peak;\n",
        ],
        Race,
        "peak = max(peak, peaks[",
    ),
    // A subgroup's matrix is in place before another has written its part.
    fault(
        ["shared/cooperative", "matmul"],
        [
            "        workgroupBarrier();\n        //# for p in range(depth // side)\n",
            "        //# for p in range(depth // side)\n",
        ],
        Race,
        "_tile[",
    ),
    // Workgroups that write the same place.
    fault(
        ["ema", "ema"],
        ["average[i] +=", "average[i % WORKGROUP] +="],
        Race,
        "average[i % WORKGROUP] +=",
    ),
    fault(
        ["guard", "guard"],
        ["    if local != 0u {\n        return;\n    }\n", ""],
        RaceOfEquals,
        "control[",
    ),
    // Counts in any order are right, the last one alone is not.
    fault(
        ["quantile", "quantile"],
        ["atomicMin(&above, key);", "atomicStore(&above, key);"],
        ScheduleDependent,
        "out[row] = low",
    ),
    // Indices: the tail that is too long, a neighbour on the wrong side, a fifth lane of four.
    fault(
        ["resize", "resize"],
        [
            "    if unit >= params.units {\n        return;\n    }\n",
            "",
        ],
        OutOfBounds,
        "out[unit] =",
    ),
    fault(
        ["scan", "scan"],
        [
            "if local >= reach {\n            sum = add(sum, sums[local - reach]);",
            "if local >= reach {\n            sum = add(sum, sums[local + reach]);",
        ],
        OutOfBounds,
        "sums[local + reach]",
    ),
    fault(
        ["reduce", "reduce"],
        [
            "combine(spread(p0, 2u), spread(p0, 3u))",
            "combine(spread(p0, 2u), spread(p0, 4u))",
        ],
        OutOfBounds,
        "p[lane]",
    ),
    // Memory that nobody wrote.
    fault(
        ["sample_pdf", "sample_pdf"],
        ["        sums[0] = sum;\n", ""],
        Uninitialized,
        "sums[",
    ),
    fault(
        ["predict_x0", "predict_x0"],
        ["out[e] = x0;", "out[e] = x0 + 0.0 * out[e];"],
        Uninitialized,
        "0.0 * out[e]",
    ),
    // Some leave before a barrier.
    fault(
        ["reduce", "reduce"],
        [
            "    let lane = local / across;\n",
            "    let lane = local / across;\n    if own >= params.units { return; }\n",
        ],
        NonUniform,
        "workgroupBarrier();",
    ),
    fault(
        ["reduce", "reduce"],
        [
            "exp(max(b.largest - largest, real(-104.0)))",
            "exp(b.largest)",
        ],
        NotFinite,
        "exp(b.largest)",
    ),
    fault(
        ["ray_of", "ray_of"],
        ["while low < high {", "while low <= high {"],
        Endless,
        "",
    ),
];

/// Mutants of earlier runs that no case on lavapipe showed, and that race.
const SURVIVORS: [Fault; 9] = [
    fault(
        ["reduce", "reduce"],
        ["if local < half {", "if local <= half {"],
        Race,
        "shared_partials",
    ),
    fault(
        ["march", "march"],
        [
            "if r < params.invocations {",
            "if r <= params.invocations {",
        ],
        RaceOfEquals,
        "samples[row] =",
    ),
    fault(
        ["marching_cubes", "marching_cubes"],
        [
            "if point < params.invocations {",
            "if point <= params.invocations {",
        ],
        RaceOfEquals,
        "vertices[",
    ),
    fault(
        ["scan", "scan"],
        [
            "    sums[local] = sum;\n    workgroupBarrier();\n",
            "    sums[local] = sum;\n",
        ],
        Race,
        "sums[local",
    ),
    fault(
        ["scan", "scan"],
        [
            "        sums[local] = sum;\n        workgroupBarrier();\n",
            "        sums[local] = sum;\n",
        ],
        Race,
        "sums[",
    ),
    fault(
        ["sample_pdf", "sample_pdf"],
        [
            "    workgroupBarrier();\n    let total = sums[last];",
            "    let total = sums[last];",
        ],
        Race,
        "sums[",
    ),
    fault(
        ["top_k", "top_k"],
        [
            "        atomicStore(&total[local], 0u);\n    }\n    workgroupBarrier();\n",
            "        atomicStore(&total[local], 0u);\n    }\n",
        ],
        ScheduleDependent,
        "out",
    ),
    fault(
        ["group_norm", "group_norm"],
        [
            "    }\n    workgroupBarrier();\n    partials[local] = own_normal;\n",
            "    }\n    partials[local] = own_normal;\n",
        ],
        Race,
        "partials[local] = own_normal;",
    ),
    fault(
        ["guard", "guard"],
        ["    if local != 0u {\n        return;\n    }\n", ""],
        RaceOfEquals,
        "control[",
    ),
];

/// The cases that a changed template is part of.
fn changed(fault: &Fault, mutant: &str, all: &[Case]) -> Vec<usize> {
    let mut templates = Templates::embedded();
    templates.set(fault.template, mutant);
    let before = Templates::embedded();
    let differs = |case: &Case| {
        let launch = case.kernel.launch();
        case.kernel.family() == fault.family
            && templates.expand(&launch).ok() != before.expand(&launch).ok()
    };
    (0..all.len()).filter(|&i| differs(&all[i])).collect()
}

fn planted(fault: &Fault) -> String {
    let source = Templates::embedded();
    let source = source
        .source(fault.template)
        .expect("a template")
        .to_owned();
    assert!(
        source.contains(fault.from),
        "{} has no\n{}",
        fault.template,
        fault.from
    );
    source.replacen(fault.from, fault.to, 1)
}

/// A fault's template, and where it was found.
fn found(number: usize, fault: &Fault) -> (String, String) {
    let amd = devices::find("amd").expect("a family of devices");
    let all = cases::all(&amd.caps, true);
    let mutant = planted(fault);
    let mut sanitizer = Sanitizer::default().options(Options {
        zeroed_workgroup_memory: false,
        most_steps: 1_000_000,
        ..Options::default()
    });
    sanitizer.set_template(fault.template, &mutant);
    let mut others = Vec::new();
    let found = changed(fault, &mutant, &all).into_iter().find_map(|at| {
        let case = &all[at];
        let sanitized = sanitizer.kernel(case.kernel.as_ref(), &case.inputs());
        let sanitized = sanitized.unwrap_or_else(|e| panic!("fault {number}: {e}"));
        let here = |line: &wgen::sanitize::Line| line.text.contains(fault.line);
        let right = sanitized.findings.iter().find(|f| {
            f.kind == fault.kind && (here(&f.line) || f.other.as_ref().is_some_and(here))
        });
        let right = right.map(|f| format!("{}: {f}", case.name));
        others.extend(sanitized.findings.iter().map(ToString::to_string));
        right
    });
    let found = found.unwrap_or_else(|| {
        others.truncate(3);
        let template = fault.template;
        panic!("fault {number} in {template} was not found, but {others:?}")
    });
    (mutant, found)
}

#[test]
fn mutants_that_survived_as_races_are_killed() {
    for (i, fault) in SURVIVORS.iter().enumerate() {
        println!("{i:>2} {}", found(i, fault).1);
    }
}

#[test]
fn every_planted_fault_is_found_in_its_line() {
    let gpu = gpu();
    let on_gpu = cases::all(gpu.caps(), true);
    let mut seen = 0;
    for (i, fault) in FAULTS.iter().enumerate() {
        let (mutant, found) = found(i, fault);
        // The same on the GPU: whether any case differs there, or a compiler refuses it.
        gpu.set_template(fault.template, &mutant);
        let failed = |case: &Case| run(&gpu, case).map_or(true, |c| !c.passed());
        // What may not end is not tried: a device might not come back.
        let on_gpu_too = fault.kind != Endless
            && changed(fault, &mutant, &on_gpu)
                .into_iter()
                .any(|at| failed(&on_gpu[at]));
        let source = Templates::embedded();
        gpu.set_template(
            fault.template,
            source.source(fault.template).expect("a template"),
        );
        seen += usize::from(on_gpu_too);
        println!(
            "{i:>2} {}{found}",
            if on_gpu_too {
                "seen on the GPU too: "
            } else {
                ""
            }
        );
    }
    println!(
        "{seen} of {} are seen on {}",
        FAULTS.len(),
        gpu.summary().name
    );
}
