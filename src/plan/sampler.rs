//! A sampler on a device: a plan that is run as often as its model says, in anybody's encoder.

use super::{Plan, Store};
use crate::error::{Error, Result};
use crate::program::PlanOptions;
use crate::program::sampling::{Classes, Given, Sampling, State};
use crate::tensor::{Data, Value};

/// A [`Sampling`] compiled for a store. [`Sampler::begin`] writes what samples begin with, each [`Sampler::record`] is one run; after
/// [`Sampler::runs`] of them the output is the samples.
#[derive(Debug)]
pub struct Sampler {
    plan: Plan,
    store: Store,
    count: usize,
    runs: usize,
    state: Vec<State>,
    given: Vec<Given>,
    output: &'static str,
    classes: Classes,
    done: usize,
}

impl Sampler {
    /// Compiles a sampling for the store's device, and begins with seed 0.
    ///
    /// # Errors
    /// As [`Plan::compile`].
    pub fn new(sampling: Sampling, store: &Store, options: PlanOptions) -> Result<Self> {
        let plan = Plan::compile(&sampling.graph, store, &[], options)?;
        let mut sampler = Self {
            plan,
            store: store.clone(),
            count: sampling.count,
            runs: sampling.runs,
            state: sampling.state,
            given: sampling.given,
            output: sampling.output,
            classes: sampling.classes,
            done: 0,
        };
        for given in &sampler.given {
            let (name, nothing) = given.nothing()?;
            sampler.plan.write(name, &nothing.data)?;
        }
        sampler.begin(0, 0, None)?;
        Ok(sampler)
    }

    /// Gives an input that is the caller's: of a model that completes pictures `known` and `mask`, `[count, width]` each
    /// ([`Diffusion::inpainting`](crate::models::diffusion::Diffusion::inpainting)). It stays until it is given anew, whatever begins, and takes
    /// effect before the next submission. Who has it on the device already binds it: `plan().bind(name, buffer)`.
    ///
    /// # Errors
    /// When there is no such input, or it has another number of values.
    pub fn give(&self, name: &str, values: &[f32]) -> Result<()> {
        let Some(given) = self.given.iter().find(|g| g.name == name) else {
            let names: Vec<&str> = self.given.iter().map(|g| g.name).collect();
            return Err(Error::Usage(format!(
                "the sampler is given no '{name}'; it is given {}",
                if names.is_empty() {
                    "nothing".to_owned()
                } else {
                    names.join(", ")
                }
            )));
        };
        if values.len() != given.shape.count() {
            return Err(Error::Usage(format!(
                "'{name}' has {} values, {:?}; got {}",
                given.shape.count(),
                given.shape.dims(),
                values.len()
            )));
        }
        self.plan.write(name, &Data::F32(values.to_vec()))
    }

    /// Begins anew with the noise of `seed` for samples from number `first` on, of one class or of the classes in turn. Takes effect before
    /// the next submission.
    ///
    /// # Errors
    /// When the model has no such class, or the device is lost.
    pub fn begin(&mut self, seed: u64, first: u32, class: Option<usize>) -> Result<()> {
        if let Some((name, value)) = self.classes.input(self.count, class, first as usize)? {
            self.plan.write(name, &value.data)?;
        }
        for state in &self.state {
            let value = state.begin_value(seed, first)?;
            self.plan.write(state.name, &value.data)?;
        }
        self.store.set_state(0, seed, first)?;
        self.done = 0;
        Ok(())
    }

    /// Records one run into the caller's encoder: one compute pass, nothing else made. Says how many are left before the output is the
    /// samples. After the last one, begin anew.
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> usize {
        self.plan.record(encoder);
        self.done = (self.done + 1).min(self.runs);
        self.runs - self.done
    }

    /// Whether all runs were recorded since the last [`Sampler::begin`].
    pub fn is_done(&self) -> bool {
        self.done == self.runs
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// Samples that are drawn at a time.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The output that is the samples: for [`Plan::bind_texture`] and [`Plan::buffer`].
    pub fn output(&self) -> &'static str {
        self.output
    }

    /// Its plan, to bind what is the caller's.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Runs what is left and reads the samples `[count, width]`, waiting for them.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn samples(&mut self) -> Result<Value> {
        self.plan.run(self.runs - self.done)?;
        self.done = self.runs;
        self.plan.read(self.output)
    }
}
