//! Which arrays a shader asks the length of: those it must be bound exactly, the guards behind them out of its sight.

use naga::{Expression, Handle};

use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::Kernel;

/// The numbers of the bindings whose `arrayLength` a kernel's shader asks for.
///
/// # Errors
/// When its template does not expand.
pub(super) fn asked(gpu: &Gpu, kernel: &dyn Kernel) -> Result<Vec<u32>> {
    let wgsl = gpu.expand(&kernel.launch())?;
    // None of ours does: most shaders need not be read again.
    if !wgsl.contains("arrayLength") {
        return Ok(Vec::new());
    }
    Ok(of_source(&wgsl, kernel.bindings().len()))
}

fn of_source(wgsl: &str, bindings: usize) -> Vec<u32> {
    // What is wrong with it the device will say.
    let Ok(module) = naga::front::wgsl::parse_str(wgsl) else {
        return Vec::new();
    };
    let functions = module.functions.iter().map(|(_, f)| f);
    let functions = functions.chain(module.entry_points.iter().map(|e| &e.function));
    let mut asked = Vec::new();
    for function in functions {
        for (_, expression) in function.expressions.iter() {
            let Expression::ArrayLength(array) = expression else {
                continue;
            };
            match global(function, *array) {
                Some(variable) => {
                    let binding = &module.global_variables[variable].binding;
                    asked.extend(binding.as_ref().map(|b| b.binding));
                }
                // A pointer that was handed over: it may be any.
                None => return (0..bindings as u32).collect(),
            }
        }
    }
    asked
}

/// The variable that an array is, or lies in.
fn global(
    function: &naga::Function,
    mut at: Handle<Expression>,
) -> Option<Handle<naga::GlobalVariable>> {
    loop {
        match &function.expressions[at] {
            Expression::GlobalVariable(variable) => return Some(*variable),
            Expression::AccessIndex { base, .. } => at = *base,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrays_whose_length_is_asked_are_found() {
        let source = |body: &str| {
            format!(
                "struct Tail {{ n: u32, items: array<f32> }}
                @group(0) @binding(0) var<storage, read> x: array<f32>;
                @group(0) @binding(1) var<storage, read> tail: Tail;
                @group(0) @binding(2) var<storage, read_write> y: array<f32>;
                @compute @workgroup_size(64)
                fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ {body} }}"
            )
        };
        let asked = |body: &str| of_source(&source(body), 3);
        assert!(asked("y[id.x] = x[id.x] + tail.items[0];").is_empty());
        assert_eq!(
            asked("if id.x < arrayLength(&x) { y[id.x] = x[id.x]; }"),
            [0]
        );
        assert_eq!(
            asked("if id.x < arrayLength(&tail.items) { y[id.x] = 1.0; }"),
            [1]
        );
        assert!(of_source("this is no WGSL: arrayLength", 3).is_empty());
    }
}
