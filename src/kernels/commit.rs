//! State that a step replaces: `shaders/commit.wgsl`.

use super::{Binding, CONTROL_FLOATS, Cost, Kernel, Launch, bytes_of, flat_launch};
use crate::tensor::DType;

/// Makes the next values of a segment of state its values, unless the step was refused.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Floats of the segment, a multiple of 4.
    pub count: usize,
}

impl Kernel for Commit {
    fn family(&self) -> &'static str {
        "commit"
    }

    fn variant(&self) -> String {
        "flat vec4".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read_write("values", DType::F32, self.count),
            Binding::read("next", DType::F32, self.count),
            Binding::read("control", DType::F32, CONTROL_FLOATS),
        ]
    }

    fn launch(&self) -> Launch {
        flat_launch("commit", self.count, &[])
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
