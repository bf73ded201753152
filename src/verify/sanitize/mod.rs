//! Kernels in the sanitizer: each order's results held against the twin as a device's are, and what the orders alone do not show.

mod all;

use super::Comparison;
use super::kernel::expected;
use crate::error::Result;
use crate::kernels::{Access, Binding, Cost, Kernel};
use crate::program::baked::{self, Shader};
use crate::program::template::Templates;
use crate::real::{Real, Tracked};
use crate::reference::Twin;
use crate::sanitize::{Counts, Finding, Input, Options, Program, Report, Resource};
use crate::tensor::Data;

pub use all::{SanitizedCase, SanitizedLine, Sanitizing, sanitize_all};

/// What the sanitizer says of a kernel.
#[derive(Clone, Debug)]
pub struct Sanitized {
    /// What is wrong, each once, the likeliest first.
    pub findings: Vec<Finding>,
    /// Every run's results beside the twin's.
    pub comparison: Comparison,
    /// What the first run really did.
    pub counts: Counts,
    /// What the kernel says that it must do.
    pub cost: Cost,
    /// How often it was run: orders times sizes of subgroups.
    pub runs: usize,
}

impl Sanitized {
    /// Whether nothing was found, and all results are the twin's.
    pub fn passed(&self) -> bool {
        self.findings.is_empty() && self.comparison.passed()
    }

    /// Ends a test that did not pass.
    ///
    /// # Panics
    /// When something was found or differs, with a message that says what.
    #[track_caller]
    pub fn expect(&self) {
        let findings: Vec<String> = self.findings.iter().map(ToString::to_string).collect();
        assert!(self.findings.is_empty(), "{}", findings.join("\n"));
        self.comparison.expect();
    }
}

/// Executes `kernel` on the CPU, in adversarial orders and over memory that knows who wrote it, and compares what each run wrote with the CPU
/// twin's result. No device is needed.
///
/// ```
/// use wgen::kernels::cast::Cast;
/// use wgen::tensor::DType;
/// use wgen::verify;
/// use wgen::verify::cases::{integers, unwritten};
///
/// let cast = Cast { count: 1001, from: DType::U32, to: DType::F32 };
/// let sanitized = verify::sanitize(&cast, &[integers(1, 50, 1001), unwritten(DType::F32)])?;
/// sanitized.expect();
/// assert_eq!(sanitized.counts.distinct_written, 4 * 1001);
/// # Ok::<(), wgen::Error>(())
/// ```
///
/// # Errors
/// When inputs are not the bindings', or the shader is not valid or uses what the sanitizer does not support.
pub fn sanitize(kernel: &dyn Twin, inputs: &[Data]) -> Result<Sanitized> {
    Sanitizer::default().kernel(kernel, inputs)
}

/// Examines kernels, those of templates that were changed too.
#[derive(Debug)]
pub struct Sanitizer {
    templates: Templates,
    options: Options,
}

impl Default for Sanitizer {
    /// Our templates; a workgroup's memory holds anything when it begins, as on a device.
    fn default() -> Self {
        Self {
            templates: Templates::embedded(),
            options: Options {
                zeroed_workgroup_memory: false,
                ..Options::default()
            },
        }
    }
}

impl Sanitizer {
    /// With other options.
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// Exchanges a template.
    pub fn set_template(&mut self, name: &str, source: &str) {
        self.templates.set(name, source);
    }

    /// As [`sanitize`].
    ///
    /// # Errors
    /// The same.
    pub fn kernel(&self, kernel: &dyn Twin, inputs: &[Data]) -> Result<Sanitized> {
        let expected = expected(kernel, inputs)?;
        let report = self.report(kernel, inputs)?;
        let bindings = kernel.bindings();
        let mut comparison = Comparison::default();
        for run in &report.report.runs {
            let mut one = Comparison::default();
            for (resource, bytes) in report.resources.iter().zip(&run.outputs) {
                let binding = resource.binding as usize;
                if let Some(bytes) = bytes {
                    compare(&mut one, &bindings[binding], bytes, &expected[binding]);
                }
            }
            comparison.merge(&run.name, one);
        }
        Ok(Sanitized {
            findings: report.report.findings,
            comparison,
            counts: report.report.counts,
            cost: kernel.cost(),
            runs: report.report.runs.len(),
        })
    }

    fn report(&self, kernel: &dyn Kernel, inputs: &[Data]) -> Result<Examined> {
        let (shader, dispatch) = baked::alone(kernel, &|launch| self.templates.expand(launch))?;
        let constants: Vec<(String, f64)> = shader.constants.clone().into_iter().collect();
        let program = Program::new(&shader.wgsl, Some(&shader.entry), &constants)?;
        let bindings = kernel.bindings();
        let measured = shader.wgsl.contains("arrayLength");
        let params = kernel.launch().params;
        let input = |resource: &Resource| match bindings.get(resource.binding as usize) {
            Some(binding) => of_binding(binding, &inputs[resource.binding as usize], measured),
            None => {
                let mut words = params.clone();
                words.resize(words.len().next_multiple_of(4), 0);
                let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
                Input::buffer(bytes)
            }
        };
        let given: Vec<Input> = program.resources().iter().map(input).collect();
        let options = Options {
            subgroup_sizes: sizes(&shader, &self.options.subgroup_sizes),
            ..self.options.clone()
        };
        let report = program.run(&given, dispatch.workgroups, &options)?;
        Ok(Examined {
            report,
            resources: program.resources().to_vec(),
        })
    }
}

struct Examined {
    report: Report,
    resources: Vec<Resource>,
}

/// Those of some sizes of subgroups that a shader allows, or the one that it is made for.
fn sizes(shader: &Shader, sizes: &[u32]) -> Vec<u32> {
    let least = shader.subgroups.unwrap_or(1);
    let allowed = |size: &&u32| match shader.matrices {
        Some(wants) => (wants.least..=wants.lanes).contains(*size),
        None => **size >= least,
    };
    let found: Vec<u32> = sizes.iter().filter(allowed).copied().collect();
    match shader.matrices {
        _ if !found.is_empty() => found,
        Some(wants) => vec![wants.lanes],
        None => vec![least],
    }
}

fn of_binding(binding: &Binding, input: &Data, measured: bool) -> Input {
    if let Access::Texture { width, height, .. } = binding.access {
        return Input::Texture {
            size: [width, height, 1],
            layers: 1,
            levels: 1,
            texels: Vec::new(),
        };
    }
    let written = match binding.access {
        Access::Write => Vec::new(),
        _ => input.to_device_bytes_as(binding.dtype),
    };
    let bytes = binding.bytes();
    let padded = if measured {
        bytes.max(4)
    } else {
        bytes.max(16).next_multiple_of(16)
    };
    Input::Buffer {
        written,
        bytes,
        padded,
    }
}

fn compare(comparison: &mut Comparison, binding: &Binding, bytes: &[u8], expected: &Data) {
    let name = &binding.name;
    if let Access::Texture { texel, .. } = binding.access {
        let words = bytes.chunks_exact(4);
        let real = |w: &[u8]| f32::from_le_bytes([w[0], w[1], w[2], w[3]]);
        let expected = Tracked::of(expected).iter();
        let stored = expected.map(|&e| texel.stored(e)).collect();
        let got = Data::F32(words.map(real).collect());
        return comparison.array(name, &got, &Data::Tracked(stored));
    }
    let end = (binding.bytes() as usize).min(bytes.len());
    let got = Data::from_device_bytes(binding.dtype, binding.count, &bytes[..end]);
    comparison.array(name, &got, expected);
}
