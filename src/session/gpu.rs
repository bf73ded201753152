//! On a GPU: a [`Store`] is a session, a [`Plan`] what it compiles.

use std::any::Any;
use std::sync::Arc;

use super::{Executable, Fault, Resident, Ring, RingRead, Session};
use crate::error::{Error, Result};
use crate::gpu::{BufferSlice, Gpu, Readback};
use crate::graph::layout::Layout;
use crate::graph::{Graph, Node};
use crate::kernels::{Access, SCHEDULE_COLUMNS};
use crate::plan::{Plan, Store};
use crate::program::{Flat, Origin, PlanOptions, Program, memory};
use crate::tensor::{Data, Value};

/// An input in a buffer.
#[derive(Debug)]
struct Uploaded {
    gpu: Gpu,
    slice: BufferSlice,
}

impl Resident for Uploaded {
    fn replace(&self, data: Data) -> Result<()> {
        self.gpu.write(&self.slice, &data.to_device_bytes())
    }
}

/// The buffers of `inputs`.
pub(crate) fn bindings<'a>(
    inputs: &[(&'a str, &dyn Resident)],
) -> Result<Vec<(&'a str, BufferSlice)>> {
    let binding = |(name, resident): &(&'a str, &dyn Resident)| {
        let resident: &dyn Any = *resident;
        match resident.downcast_ref::<Uploaded>() {
            Some(uploaded) => Ok((*name, uploaded.slice.clone())),
            None => Err(Error::Usage(format!(
                "'{name}' was uploaded to another session"
            ))),
        }
    };
    inputs.iter().map(binding).collect()
}

impl Session for Store {
    fn layout(&self) -> &Layout {
        self.layout()
    }

    fn read(&self, flat: Flat) -> Result<Vec<Vec<f32>>> {
        self.read(flat)
    }

    fn write(&self, flat: Flat, tensors: &[Vec<f32>]) -> Result<()> {
        self.write(flat, tensors)
    }

    fn set_state(&self, step: u64, seed: u64, cursor: u32) -> Result<()> {
        self.set_state(step, seed, cursor)
    }

    fn set_cursor(&self, cursor: u32) -> Result<()> {
        self.set_cursor(cursor)
    }

    fn write_schedule(
        &self,
        first: u64,
        rows: &[[f32; SCHEDULE_COLUMNS]],
        current: bool,
    ) -> Result<()> {
        self.write_schedule(first, rows, current)
    }

    fn begin_ring(&self) -> Result<Box<dyn RingRead>> {
        Ok(Box::new(self.gpu().begin_read(&self.ring_and_state())?))
    }

    fn upload(&self, name: &str, value: Value) -> Result<Box<dyn Resident>> {
        let bytes = value.data.to_device_bytes();
        let buffer = self.gpu().create_buffer(name, bytes.len() as u64)?;
        let slice = BufferSlice::from(&buffer);
        self.gpu().write(&slice, &bytes)?;
        Ok(Box::new(Uploaded {
            gpu: self.gpu().clone(),
            slice,
        }))
    }

    fn compile_with(
        &self,
        graph: &Graph,
        inputs: &[(&str, &dyn Resident)],
        half: bool,
    ) -> Result<Box<dyn Executable>> {
        let options = PlanOptions {
            half,
            ..PlanOptions::default()
        };
        let plan = Plan::compile(graph, self, &bindings(inputs)?, options)?;
        Ok(Box::new(plan))
    }

    fn find_fault(
        &self,
        graph: &Graph,
        inputs: &[(&str, &dyn Resident)],
        half: bool,
    ) -> Result<Option<Fault>> {
        let retaining = PlanOptions {
            half,
            retain: true,
            ..PlanOptions::default()
        };
        let program = Plan::lower(graph, self, retaining)?;
        let slots = memory::assign(&program, false);
        let plan = Plan::assemble(&program, &slots, self, &bindings(inputs)?)?;
        let nodes = graph.nodes();
        for (i, dispatch) in program.dispatches.iter().enumerate() {
            // The update after the graph would change the weights.
            if dispatch.group.is_none() {
                break;
            }
            plan.run_one(i)?;
            if let Some(fault) = fault_of(&plan, &program, &nodes, self.layout(), i)? {
                return Ok(Some(fault));
            }
        }
        Ok(None)
    }
}

/// The first number that is not finite in what dispatch `index` wrote.
fn fault_of(
    plan: &Plan,
    program: &Program,
    nodes: &[Arc<Node>],
    layout: &Layout,
    index: usize,
) -> Result<Option<Fault>> {
    let dispatch = &program.dispatches[index];
    for (binding, id) in dispatch.kernel.bindings().iter().zip(&dispatch.buffers) {
        if binding.access == Access::Read {
            continue;
        }
        let values = plan.read_buffers(&[*id])?.remove(0).to_f64();
        let Some(at) = values.iter().position(|x| !x.is_finite()) else {
            continue;
        };
        let group = dispatch.group.map(|group| &program.groups[group]);
        let node = group
            .and_then(|group| group.outputs.iter().find(|(_, b)| b == id))
            .map(|(n, _)| &nodes[n.index()]);
        let shape = &program.buffers[id.0].ty.shape;
        let name = match (&program.buffers[id.0].origin, node) {
            (Origin::Gradient(p), _) => format!("gradient of '{}'", layout.parameters[*p].name),
            (Origin::Output(name), _) => format!("output '{name}'"),
            (_, Some(node)) => format!("{} {shape:?}", node.op.name()),
            _ => format!("a partial result {shape:?}"),
        };
        let kernel = format!("{} {}", dispatch.kernel.family(), dispatch.kernel.variant());
        return Ok(Some(Fault {
            tensor: format!("{name}, by dispatch {index} ({kernel})"),
            detail: format!("{} at element {at}", values[at]),
        }));
    }
    Ok(None)
}

impl Executable for Plan {
    fn run(&mut self, steps: usize) -> Result<()> {
        Plan::run(self, steps)
    }

    fn gradients(&mut self) -> Result<()> {
        self.run_gradients()
    }

    fn update(&mut self) -> Result<()> {
        self.run_update()
    }

    fn write(&mut self, name: &str, value: Value) -> Result<()> {
        Plan::write(self, name, &value.data)
    }

    fn read(&self, name: &str) -> Result<Value> {
        self.read(name)
    }

    fn variants(&self) -> Vec<String> {
        self.baked().variants().collect()
    }

    fn explain(&self) -> Option<String> {
        Some(self.explain())
    }
}

impl RingRead for Readback {
    fn wait(self: Box<Self>) -> Result<Ring> {
        let bytes = Readback::wait(*self)?;
        let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let figures = bytes[0].chunks_exact(4).map(|b| f32::from_bits(word(b)));
        Ok(Ring {
            figures: figures.collect(),
            state: bytes[1].chunks_exact(4).map(word).collect(),
        })
    }
}
