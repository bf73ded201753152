//! Graphs that are computed once: on the CPU in a precision, on the GPU as a plan.

use wgen::gpu::Gpu;
use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::graph::op::EvalContext;
use wgen::kernels::philox::RandomState;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::Value;

pub(crate) type Leaves = Vec<(&'static str, Value)>;

pub(crate) fn context(precision: Precision, step: u64) -> EvalContext {
    let state = RandomState {
        seed: 0x0123_4567_89ab_cdef,
        step,
        cursor: 0,
    };
    EvalContext { precision, state }
}

/// The outputs of a graph on the CPU.
pub(crate) fn on_cpu(
    graph: &Graph,
    names: &[&str],
    leaves: &Leaves,
    cx: &EvalContext,
) -> Vec<Value> {
    let ids: Vec<_> = names
        .iter()
        .map(|n| graph.find_output(n).unwrap())
        .collect();
    let values = graph.interpret(&ids, leaves, cx).unwrap();
    values.iter().map(|v| v.as_ref().clone()).collect()
}

/// The same on the GPU, as a plan.
pub(crate) fn on_gpu(
    gpu: &Gpu,
    graph: &Graph,
    names: &[&str],
    leaves: &Leaves,
    cx: &EvalContext,
) -> Vec<Value> {
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let store = Store::new(gpu, layout, StoreOptions::default()).unwrap();
    let state = cx.state;
    store
        .set_state(state.step, state.seed, state.cursor)
        .unwrap();
    let plan = Plan::compile(graph, &store, &[], PlanOptions::default()).unwrap();
    for (name, value) in leaves {
        let data = value.data.clone().in_precision(Precision::F32);
        plan.write(name, &data).unwrap();
    }
    plan.run(1).unwrap();
    names.iter().map(|n| plan.read(n).unwrap()).collect()
}

pub(crate) fn bits_of(value: &Value) -> Vec<u8> {
    value.data.to_device_bytes()
}
