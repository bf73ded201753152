//! What a device can do at most, arithmetic and memory each alone: `shaders/ceiling.wgsl`.

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold, merge, wgsl_bindings};
use crate::tensor::DType;

/// Nothing but multiply-adds.
#[derive(Clone, Debug)]
pub(crate) struct MultiplyAdd {
    /// Invocations, each with one float in and one out.
    pub invocations: usize,
    /// Multiply-adds of each chain, a multiple of 4.
    pub rounds: usize,
    /// Independent vec4 an invocation.
    pub chains: usize,
    /// By the `fma` built-in rather than by `*` and `+`, which a compiler may or may not fuse.
    pub fused: bool,
    /// Invocations a workgroup.
    pub workgroup: u32,
}

/// Nothing but a load and a store an element.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// Floats, a multiple of 4 for `vector`.
    pub count: usize,
    /// Four floats at a time.
    pub vector: bool,
    /// Units an invocation.
    pub per_thread: usize,
    /// Invocations a workgroup.
    pub workgroup: u32,
}

fn launch(
    entry: &'static str,
    bindings: &[Binding],
    params: [usize; 2],
    groups: usize,
    workgroup: u32,
    more: serde_json::Value,
) -> Launch {
    let mut context = json!({
        "entry": entry, "chains": 1, "fused": false, "vector": false, "per_thread": 1,
        "bindings": wgsl_bindings(bindings),
    });
    merge(&mut context, more);
    Launch {
        template: "ceiling",
        entry,
        context,
        constants: vec![("WORKGROUP", f64::from(workgroup))],
        params: vec![params[0] as u32, params[1] as u32, 0],
        workgroups: fold(groups as u64),
        grid: Grid::Line { first: 2 },
        subgroups: false,
    }
}

impl Kernel for MultiplyAdd {
    fn family(&self) -> &'static str {
        "ceiling"
    }

    fn variant(&self) -> String {
        let how = if self.fused { "fma" } else { "* +" };
        format!("multiply_add {how} x{}", self.chains)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("x", DType::F32, self.invocations),
            Binding::read("coefficients", DType::F32, 2),
            Binding::write("out", DType::F32, self.invocations),
        ]
    }

    fn launch(&self) -> Launch {
        launch(
            "multiply_add",
            &self.bindings(),
            [self.invocations, self.rounds],
            self.invocations.div_ceil(self.workgroup as usize),
            self.workgroup,
            json!({"chains": self.chains, "fused": self.fused}),
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: (8 * self.chains * self.rounds) as f64 * self.invocations as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl Kernel for Copy {
    fn family(&self) -> &'static str {
        "ceiling"
    }

    fn variant(&self) -> String {
        let unit = if self.vector { "vec4" } else { "f32" };
        format!("copy {unit} x{} by {}", self.per_thread, self.workgroup)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("x", DType::F32, self.count).vector(self.vector),
            Binding::write("out", DType::F32, self.count).vector(self.vector),
        ]
    }

    fn launch(&self) -> Launch {
        let units = self.count / if self.vector { 4 } else { 1 };
        launch(
            "copy",
            &self.bindings(),
            [units, 0],
            units.div_ceil(self.workgroup as usize * self.per_thread),
            self.workgroup,
            json!({"vector": self.vector, "per_thread": self.per_thread}),
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
