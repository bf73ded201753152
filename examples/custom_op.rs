//! An operator of one's own in a graph: WGSL kernel, CPU twin, gradient, verification.
//!
//! The operator is the causal moving sum of signal processing, y[i] = x[i] + r y[i-1] along the rows of a matrix: no element-wise
//! function and no reduction, so that wgen has nothing like it. Its gradient is the same sum from the other end.
//!
//! cargo run --release --example custom_op

use wgen::gpu::{Choice, Gpu};
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op};
use wgen::graph::{Graph, Var};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use wgen::program::PlanOptions;
use wgen::real::{Precision, Real, Tracked};
use wgen::tensor::{DType, Data, TensorType, Value};
use wgen::verify::cases::{Values, numbers};
use wgen::verify::{self, step};
use wgen::{Error, Result};

/// 1. The kernel in WGSL. One invocation walks along one row.
const SHADER: &str = r#"
// y[row, i] = x[row, i] + r y[row, i - 1],   from the left, or from the right where `backward` is set
override WORKGROUP: u32 = 64u;

struct Params {
    rows: u32,
    length: u32,
    r: f32,
    first_group: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn decaying_sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if row >= params.rows {
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < params.length; i++) {
        //# if backward
        let place = row * params.length + params.length - 1u - i;
        //# else
        let place = row * params.length + i;
        //# endif
        sum = x[place] + params.r * sum;
        y[place] = sum;
    }
}
"#;

/// 2. The descriptor: plain data.
#[derive(Clone, Debug)]
struct DecayingSum {
    rows: usize,
    length: usize,
    r: f32,
    backward: bool,
}

impl Kernel for DecayingSum {
    fn family(&self) -> &'static str {
        "decaying_sum"
    }

    fn variant(&self) -> String {
        if self.backward { "backward" } else { "forward" }.to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        let count = self.rows * self.length;
        vec![
            Binding::read("x", DType::F32, count),
            Binding::write("y", DType::F32, count),
        ]
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "decaying_sum",
            entry: "decaying_sum",
            context: serde_json::json!({"backward": self.backward}),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![self.rows as u32, self.length as u32, self.r.to_bits(), 0],
            workgroups: fold(self.rows.div_ceil(64) as u64),
            grid: Grid::Line { first: 3 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 2.0 * (self.rows * self.length) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

/// 3. Its twin on the CPU: plain loops, in f32, in f64, or with bounds on the error, from which tolerances come.
fn reference<T: Real>(kernel: &DecayingSum, x: &[T]) -> Vec<T> {
    let mut y = x.to_vec();
    let r = T::from_f64(f64::from(kernel.r));
    for row in y.chunks_exact_mut(kernel.length) {
        let mut sum = T::from_f64(0.0);
        let walk = |i: usize| {
            if kernel.backward {
                kernel.length - 1 - i
            } else {
                i
            }
        };
        for place in (0..kernel.length).map(walk) {
            sum = row[place] + r * sum;
            row[place] = sum;
        }
    }
    y
}

fn run<T: Real>(kernel: &DecayingSum, buffers: &mut [Data]) {
    buffers[1] = T::into_data(reference(kernel, T::of(&buffers[0])));
}

wgen::twin!(DecayingSum, run);

/// 4. The operator: shape rule, gradient rule, value on the CPU, kernels.
#[derive(Clone, Debug)]
struct DecayingSumOp {
    r: f32,
    backward: bool,
}

impl DecayingSumOp {
    fn kernel(&self, dims: &[usize]) -> DecayingSum {
        DecayingSum {
            rows: dims[0],
            length: dims[1],
            r: self.r,
            backward: self.backward,
        }
    }
}

impl Op for DecayingSumOp {
    fn name(&self) -> &'static str {
        "decaying_sum"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        match inputs {
            [x] if x.shape.rank() == 2 && x.dtype == DType::F32 => Ok((*x).clone()),
            _ => Err(Error::shape(
                self.name(),
                format!("takes one f32 matrix, got {inputs:?}"),
            )),
        }
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        // Made of operators, so that it has a gradient too.
        let other_way = Self {
            backward: !self.backward,
            ..self.clone()
        };
        vec![Some(at.upstream.graph().apply(other_way, &[at.upstream]))]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let (x, kernel) = (inputs[0], self.kernel(inputs[0].shape.dims()));
        let data = match cx.precision {
            Precision::F32 => f32::into_data(reference(&kernel, f32::of(&x.data))),
            Precision::F64 => f64::into_data(reference(&kernel, f64::of(&x.data))),
            Precision::Tracked => Tracked::into_data(reference(&kernel, Tracked::of(&x.data))),
        };
        Value::new(x.shape.clone(), data)
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Result<Lowering> {
        let arguments = vec![Argument::Input(0), Argument::Output];
        Ok(Lowering::single(
            self.kernel(inputs[0].shape.dims()),
            arguments,
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        // Everything that the value depends on beside the operand, reals as their bits. An operator may leave this out: then its nodes
        // never merge, and equal ones are computed more than once.
        Some(MergeKey::of(self, (self.r.to_bits(), self.backward)))
    }
}

fn main() -> Result<()> {
    let gpu = Gpu::new(&Choice::Auto)?;
    gpu.set_template("decaying_sum", SHADER);

    // 5. The kernel against its twin: memory poisoned and guarded, each element within its own derived tolerance.
    for (rows, length, backward) in [(1, 1, false), (70, 33, false), (129, 64, true)] {
        let kernel = DecayingSum {
            rows,
            length,
            r: 0.75,
            backward,
        };
        let inputs = [
            numbers(Values::Normal, 1, rows * length),
            verify::unwritten(DType::F32),
        ];
        let comparison = verify::kernel(&gpu, &kernel, &inputs)?;
        println!(
            "{rows} x {length} {}: {:.3} of the tolerance",
            kernel.variant(),
            comparison.worst_of_tolerance
        );
        if !comparison.passed() {
            return Err(Error::CheckFailed(comparison.failures.join("; ")));
        }
    }

    // 6. In a graph, between other operators, with a gradient: every dispatch and the whole step against the interpreter.
    let graph = Graph::new(Domain::Training);
    let x = graph.input("x", TensorType::f32([20, 16]));
    let weight = graph.parameter("weight", [16]);
    let smooth = graph.apply(
        DecayingSumOp {
            r: 0.75,
            backward: false,
        },
        &[x * weight],
    );
    let loss = smooth.tanh().square().sum_all();
    let gradient = graph.gradients(loss, &[weight]).remove(0);
    graph.output("loss", loss);
    graph.output_gradient("weight", gradient);
    let weights = vec![numbers(Values::Positive, 2, 16).to_f32()];
    let data = Value::new([20, 16], numbers(Values::Normal, 3, 320))?;
    let setup = step::Setup {
        graph: &graph,
        layout: Layout::new(
            vec![Parameter::new("weight", [16], Init::Constant(1.0))],
            gpu.caps().binding_bytes,
        )?,
        weights: weights.clone(),
        inputs: vec![("x", data.clone())],
        state: RandomState::default(),
        schedule: vec![[0.0; wgen::kernels::SCHEDULE_COLUMNS]; 2],
    };
    let comparison = step::graph(&gpu, &setup, PlanOptions::default())?;
    println!(
        "in a training graph: {:.3} of the tolerance",
        comparison.worst_of_tolerance
    );
    if !comparison.passed() {
        return Err(Error::CheckFailed(comparison.failures.join("; ")));
    }

    // 7. The gradient against finite differences, in f64 on the CPU.
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    };
    let known = |weights: Vec<f64>| -> Result<[(&str, Value); 2]> {
        Ok([
            ("x", data.clone()),
            ("weight", Value::new([16], Data::F64(weights))?),
        ])
    };
    let at = |weights: Vec<f64>| -> Result<f64> {
        Ok(graph.interpret(&[loss.id()], &known(weights)?, &cx)?[0]
            .data
            .to_f64()[0])
    };
    let point: Vec<f64> = weights[0].iter().map(|&w| f64::from(w)).collect();
    let exact = graph.interpret(&[gradient.id()], &known(point.clone())?, &cx)?[0]
        .data
        .to_f64();
    let mut worst = 0.0_f64;
    for i in 0..16 {
        let moved = |h: f64| {
            let mut weights = point.clone();
            weights[i] += h;
            at(weights)
        };
        let difference = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
        worst = worst.max((difference - exact[i]).abs() / exact[i].abs().max(1.0));
    }
    println!("gradient against finite differences: {worst:.1e}");
    if worst > 1e-7 {
        return Err(Error::CheckFailed(format!(
            "the gradient is off by {worst:.1e}"
        )));
    }
    Ok(())
}
