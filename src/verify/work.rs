//! All that is verified, as a list, and about how long each item takes.

use super::cases::Case;
use super::{Comparison, Options, cases, chains, kernel, models};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::{Caps, Kernel};
use crate::models::ALL;
use crate::models::registry;

/// One case.
pub(super) struct Work {
    /// The kernel family, or the model.
    pub(super) line: &'static str,
    /// How long it may take next to others.
    pub(super) weight: f64,
    what: What,
}

enum What {
    Kernel(Case),
    Model(registry::Case),
    Chain(String, u64),
}

/// The cases that are wanted: kernel families by name, models, random graphs.
pub(super) fn list(caps: &Caps, options: &Options) -> Result<Vec<Work>> {
    let wanted = |name: &str| {
        let filter = options.filter.as_ref();
        filter.is_none_or(|f| name.contains(f.as_str()))
    };
    let kernels = cases::all(caps, options.quick).into_iter();
    let mut work: Vec<Work> = kernels
        .filter(|case| wanted(case.kernel.family()))
        .map(|case| Work {
            line: case.kernel.family(),
            weight: seconds_of_kernel(&case),
            what: What::Kernel(case),
        })
        .collect();
    work.sort_by_key(|w| w.line);
    for model in ALL.iter().filter(|m| wanted(m.name)) {
        for case in (model.cases)(caps, options.quick)? {
            work.push(Work {
                line: model.name,
                weight: seconds_of_step(&case),
                what: What::Model(case),
            });
        }
    }
    if wanted(chains::NAME) {
        work.extend((0..chains::count(options.quick)).map(|seed| Work {
            line: chains::NAME,
            weight: 0.2,
            what: What::Chain(chains::name(seed), seed),
        }));
    }
    Ok(work)
}

/// About how long a case takes on a small machine: its shader is compiled, and its twin goes over every element. Convolutions and products
/// are most of a driver's compiling: 55 and 22 % of all time on SwiftShader, 30 and 25 % on lavapipe.
fn seconds_of_kernel(case: &Case) -> f64 {
    let compiling = match case.kernel.family() {
        "conv2d" => 0.2,
        "attention" => 0.1,
        "matmul" => 0.07,
        _ => 0.005,
    };
    let elements: usize = case.kernel.bindings().iter().map(|b| b.count).sum();
    compiling + 2e-7 * elements as f64
}

/// The same of a model's step: its shaders, and the interpreter over all its examples.
fn seconds_of_step(case: &registry::Case) -> f64 {
    let parameters = case.model.parameters();
    let weights: usize = parameters.iter().map(|p| p.shape.count()).sum();
    let convolutions = parameters.iter().filter(|p| p.shape.rank() == 4).count();
    0.5 + 0.1 * convolutions as f64 + 1e-7 * (weights * case.batch) as f64
}

impl Work {
    /// The name of the case.
    pub(super) fn case(&self) -> &str {
        match &self.what {
            What::Kernel(case) => &case.name,
            What::Model(case) => &case.name,
            What::Chain(name, _) => name,
        }
    }

    /// The kernel, where it is one alone.
    pub(super) fn kernel(&self) -> Option<&dyn Kernel> {
        match &self.what {
            What::Kernel(case) => Some(case.kernel.as_ref()),
            What::Model(_) | What::Chain(..) => None,
        }
    }

    pub(super) fn run(&self, gpu: &Gpu) -> Result<Comparison> {
        match &self.what {
            What::Kernel(case) => kernel::run(gpu, case),
            What::Model(case) => models::verify(gpu, case),
            What::Chain(_, seed) => chains::chain(gpu, *seed),
        }
    }
}
