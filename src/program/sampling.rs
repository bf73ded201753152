//! How samples are drawn, as a value: a graph that is run, what it feeds back to itself, what each run reads, how often it is run.
//!
//! A model gives one (`Model::sampling`); a device, a plan in somebody's frame or an exported page run it. Nothing here knows a model.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::kernels::philox::Domain;
//! use wgen::program::sampling::{Classes, Sampling, normal};
//!
//! let graph = Graph::new(Domain::Sampling);
//! graph.output("images", graph.normal_by_example("prior", 1, 4, 2).tanh());
//! let sampling = Sampling::once(graph, 4, Classes { model: "mine", count: 3, null: false, turns: vec![] });
//! assert_eq!((sampling.count, sampling.runs, sampling.output), (4, 1, "images"));
//!
//! // Input `classes` where no class is asked for: the three in turn.
//! let (_, rows) = sampling.classes.input(4, None, 0)?.unwrap();
//! assert_eq!(rows.data.to_f32()[..9], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
//! // Sample 3 of seed 9 begins with the same noise in every batch.
//! assert_eq!(normal("prior", 4, 2, 9, 0)[6..], normal("prior", 1, 2, 9, 3));
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::kernels::functions::Distribution;
use crate::kernels::philox::{self, Domain, Key, RandomState};
use crate::reference::random::draw;
use crate::tensor::{Shape, Value};

/// Everything that it takes to draw `count` samples at a time.
#[derive(Debug)]
pub struct Sampling {
    /// One run. Its random numbers are keyed by example, so that sample i is the same in every batch.
    pub graph: Graph,
    /// Samples of a run.
    pub count: usize,
    /// How often the graph is run, each run going on from what the last has fed back.
    pub runs: usize,
    /// Inputs that a run replaces by what the next begins with.
    pub state: Vec<State>,
    /// Inputs that are the caller's and the same in every run.
    pub given: Vec<Given>,
    /// What run i reads, a row a run, the first run's first; empty where all runs are alike. The graph has them as tables.
    pub steps: Vec<Step>,
    /// The output that is the samples, `[count, width]` in the range of the data.
    pub output: &'static str,
    /// What input `classes` takes.
    pub classes: Classes,
}

/// An input that is fed back.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The input.
    pub name: &'static str,
    /// The output that is what it becomes, where there is one.
    pub next: Option<&'static str>,
    /// Its sizes; axis 0 is the sample, but for a counter.
    pub shape: Shape,
    /// What it is before the first run.
    pub begin: Begin,
}

/// An input that is the caller's and the same in every run: 0 until it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The input.
    pub name: &'static str,
    /// Its sizes; axis 0 is the sample.
    pub shape: Shape,
    /// Whether 0 everywhere is nothing that anybody means.
    pub needed: bool,
}

/// What a fed back input begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Begin {
    /// This number everywhere.
    Number(f32),
    /// Normal noise keyed by example, of the stream of this name, with this deviation.
    Normal(&'static str, f32),
}

/// What one run of a sampler reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the network is told.
    pub timestep: f64,
    /// Coefficients of the step.
    pub row: Vec<f32>,
    /// Whether a sampling can begin with it: it reads nothing that an earlier run leaves, beside the samples as they become.
    pub begins: bool,
}

/// The name of the counter among a sampler's state that says which run is next.
pub const STEP: &str = "step";

impl Sampling {
    /// A graph that is run once, without state.
    pub fn once(graph: Graph, count: usize, classes: Classes) -> Self {
        Self {
            graph,
            count,
            runs: 1,
            state: Vec::new(),
            given: Vec::new(),
            steps: Vec::new(),
            output: "images",
            classes,
        }
    }

    /// The state that is the samples as they become; `None` where one run is all.
    pub fn becoming(&self) -> Option<&State> {
        self.state.iter().find(|s| s.name != STEP)
    }

    /// Values of one sample as it becomes; 0 where one run is all.
    pub fn width(&self) -> usize {
        self.becoming()
            .map_or(0, |s| s.shape.count() / self.count.max(1))
    }

    /// What the given inputs are where nobody gives them.
    ///
    /// # Errors
    /// Never in practice: the shapes are their own.
    pub fn nothing_given(&self) -> Result<Vec<(&'static str, Value)>> {
        self.given.iter().map(Given::nothing).collect()
    }

    /// What the state is before run `run`, for samples from number `first` on. What becomes the samples begins with its noise, whichever
    /// run it is: a caller who begins later has an x of his own.
    ///
    /// # Errors
    /// When that run goes on from what an earlier one has left: in the middle of a pair, or of a sampler that looks back.
    pub fn begin(&self, seed: u64, first: u32, run: usize) -> Result<Vec<(&'static str, Value)>> {
        if self.steps.get(run).is_some_and(|step| !step.begins) {
            return Err(Error::Usage(format!(
                "sampling: run {run} of {} goes on from the one before; begin where a step begins, with a sampler that begins there",
                self.runs
            )));
        }
        let value = |state: &State| match state.name {
            STEP => Ok((
                STEP,
                Value::f32(state.shape.clone(), vec![run as f32; state.shape.count()])?,
            )),
            name => Ok((name, state.begin_value(seed, first)?)),
        };
        self.state.iter().map(value).collect()
    }
}

impl Given {
    /// 0 everywhere.
    pub(crate) fn nothing(&self) -> Result<(&'static str, Value)> {
        let zeros = vec![0.0; self.shape.count()];
        Ok((self.name, Value::f32(self.shape.clone(), zeros)?))
    }
}

impl State {
    /// What it is before the first run, for samples from number `first` on.
    ///
    /// # Errors
    /// Never in practice: the shape is its own.
    pub(crate) fn begin_value(&self, seed: u64, first: u32) -> Result<Value> {
        let count = self.shape.count();
        let values = match self.begin {
            Begin::Number(x) => vec![x; count],
            Begin::Normal(name, deviation) => {
                let examples = self.shape.dims().first().copied().unwrap_or(1);
                let mut noise = normal(name, examples, count / examples.max(1), seed, first);
                noise.iter_mut().for_each(|z| *z *= deviation);
                noise
            }
        };
        Value::f32(self.shape.clone(), values)
    }
}

/// Standard normal noise of `count` samples of `width` values from number `first` on, of the sampling stream called `name`:
/// the words that a kernel with the same key draws.
pub fn normal(name: &str, count: usize, width: usize, seed: u64, first: u32) -> Vec<f32> {
    let state = RandomState {
        seed,
        step: 0,
        cursor: first,
    };
    let key = Key::Example {
        examples: count as u32,
        draws: 1,
        width: width as u32,
    };
    let stream = philox::stream(Domain::Sampling, name);
    (0..count * width)
        .map(|i| draw(Distribution::Normal, &state, key, stream, i))
        .collect()
}

/// What a sampler's or decoder's input `classes` takes: a row an example, 1 at its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    /// The model's name, for messages.
    pub model: &'static str,
    /// Classes; 0 where there is no such input.
    pub count: usize,
    /// Whether there is a null class, as the last column.
    pub null: bool,
    /// Those that take turns where none is asked for; empty for all.
    pub turns: Vec<usize>,
}

impl Classes {
    /// The same, only `turns` taking turns, as far as there are such classes: of a data set without examples of some classes the others.
    #[must_use]
    pub fn taking(mut self, turns: &[usize]) -> Self {
        self.turns = turns.iter().copied().filter(|&c| c < self.count).collect();
        self
    }

    /// Columns of the input.
    pub fn columns(&self) -> usize {
        self.count + usize::from(self.null && self.count > 0)
    }

    /// The class of example `number`: the one that is asked for, or the classes in turn.
    ///
    /// # Errors
    /// When a class is asked for and there is no input, or no such class.
    pub fn of(&self, class: Option<usize>, number: usize) -> Result<usize> {
        let columns = self.columns();
        match class {
            Some(_) if columns == 0 => Err(Error::Usage(format!(
                "`class`: this {} model is not conditional on classes",
                self.model
            ))),
            Some(class) if class >= columns => Err(Error::field(
                "class",
                format!("{class}: the model has {columns} classes, from 0"),
            )),
            Some(class) => Ok(class),
            None => Ok(match number.checked_rem(self.turns.len()) {
                Some(turn) => self.turns[turn],
                None => number.checked_rem(self.count).unwrap_or(0),
            }),
        }
    }

    /// Input `classes` `[count, columns]`: `class` for all of `count` examples from number `first` on, or the classes in turn. Nothing
    /// where there is no such input.
    ///
    /// # Errors
    /// As [`Classes::of`].
    pub fn input(
        &self,
        count: usize,
        class: Option<usize>,
        first: usize,
    ) -> Result<Option<(&'static str, Value)>> {
        self.of(class, first)?;
        self.rows(count, |i| self.of(class, first + i))
    }

    /// The same of `count` examples that each have a class of their own.
    ///
    /// # Errors
    /// Those of `class`; when there is no such class.
    pub fn rows(
        &self,
        count: usize,
        class: impl Fn(usize) -> Result<usize>,
    ) -> Result<Option<(&'static str, Value)>> {
        let columns = self.columns();
        if columns == 0 {
            return Ok(None);
        }
        let mut values = vec![0.0; count * columns];
        for (i, row) in values.chunks_exact_mut(columns).enumerate() {
            row[self.of(Some(class(i)?), i)?] = 1.0;
        }
        Ok(Some(("classes", Value::f32([count, columns], values)?)))
    }
}
