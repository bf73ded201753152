//! Element-wise functions of broadcast operands: `shaders/map.wgsl`.
//!
//! A chain of them is one kernel: its [`Expression`] is computed for each element without anything in between going to memory.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::expression::{Expression, Indexing, Term};
//! use wgen::kernels::functions::Function::{Square, Sub};
//! use wgen::kernels::{Caps, Kernel, map::Map};
//! use wgen::tensor::Data;
//!
//! // x^2 - y for x [2, 2] and y [2], which is the same for each row.
//! let terms = vec![Term::Operand(0), Term::Operand(1), Term::Call(Square, vec![0]), Term::Call(Sub, vec![2, 1])];
//! let operands = vec![Indexing::dense(4), Indexing::broadcast(&[2, 2].into(), &[2].into())];
//! let map = Map::new(&Caps::portable(), 4, Expression { terms, operands, results: vec![3] });
//! let mut buffers = [vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 10.0], vec![0.0; 4]].map(Data::F64);
//! map.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![0.0, -6.0, 8.0, 6.0]));
//! assert_eq!(map.cost().bytes, 4.0 * (4 + 2 + 4) as f64); // operands and result; the squares stay in registers
//! ```

use serde_json::json;

use super::expression::{Expression, Width};
use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// From here on there is work enough for four vec4 an invocation.
const LARGE: usize = 1 << 16;

/// `out = f(operands)` over `count` elements.
#[derive(Clone, Debug)]
pub struct Map {
    /// Elements of the domain.
    pub count: usize,
    /// The chain.
    pub expression: Expression,
    /// Invocations a workgroup.
    pub workgroup: u32,
}

impl Map {
    /// A map over `count` elements.
    pub fn new(caps: &Caps, count: usize, expression: Expression) -> Self {
        // Four vec4 an invocation lie a workgroup apart; on lavapipe they had better be 8 KiB apart than 2 (8.6 against 4.8 GB/s).
        let workgroup = match (caps.software, count >= LARGE) {
            (true, true) => 512,
            (true, false) => 128,
            (false, _) => 256,
        };
        Self {
            count,
            expression,
            workgroup: workgroup.min(caps.invocations),
        }
    }

    fn is_vector(&self) -> bool {
        self.count.is_multiple_of(4) && self.count > 0
    }

    fn width(&self) -> Width {
        if self.is_vector() {
            Width::Four
        } else {
            Width::One
        }
    }

    /// Four vec4 an invocation where there is enough work: fewer, longer invocations.
    fn per_thread(&self) -> usize {
        if self.is_vector() && self.count >= LARGE {
            4
        } else {
            1
        }
    }
}

impl Kernel for Map {
    fn family(&self) -> &'static str {
        "map"
    }

    fn variant(&self) -> String {
        if self.is_vector() {
            format!("vec4 x{}", self.per_thread())
        } else {
            "scalar".to_owned()
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = self.expression.read_bindings("x", self.width());
        bindings.extend(self.expression.state_binding());
        let results = 0..self.expression.results.len();
        bindings.extend(results.map(|i| {
            Binding::write(format!("out{i}"), DType::F32, self.count)
                .vector(self.is_vector())
                .or_half()
        }));
        bindings
    }

    fn launch(&self) -> Launch {
        let vector = self.is_vector();
        let mut context = self.expression.context("x", self.width(), 0, None);
        let more = json!({
                "vector": vector,
                "per_thread": self.per_thread(),
                "accumulate": false,
                "noise_kept": true,
                "bindings": super::wgsl_bindings(&self.bindings()),
        });
        super::merge(&mut context, more);
        let units = self.count / if vector { 4 } else { 1 };
        let mut params = vec![units as u32, 0, 0, 0];
        params.extend(self.expression.group_words());
        let per_group = self.workgroup as usize * self.per_thread();
        Launch {
            template: "map",
            entry: "map",
            context,
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            params: super::pad_groups(params, 4),
            workgroups: fold(units.div_ceil(per_group) as u64),
            grid: Grid::Line { first: 1 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.count as f64 * self.expression.flops(),
            bytes: bytes_of(&self.bindings()),
        }
    }
}
