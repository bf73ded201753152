//! Depths along rays: even, or one at random in each of as many cells.

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::tensor::{Data, Value};

/// How coarse depths lie along a ray, in units of its direction's length.
///
/// They are nerf-pytorch's: `samples` depths from `near` to `far`, both included, evenly spaced or, with `lindisp`, even in their
/// reciprocals. Cells end in the middle between two neighbours, so that the first and the last are half as wide.
///
/// ```
/// use wgen::graph::op::EvalContext;
/// use wgen::graph::{Depths, Graph};
/// use wgen::kernels::philox::{Domain, RandomState};
/// use wgen::real::Precision;
///
/// let graph = Graph::new(Domain::Training);
/// let depths = Depths { near: 2.0, far: 6.0, samples: 5, lindisp: false };
/// let even = graph.even_depths(3, &depths);
/// let drawn = graph.stratified("z", 3, &depths);
/// let context = EvalContext { precision: Precision::F64, state: RandomState::default() };
/// let values = graph.interpret(&[even.id(), drawn.id()], &[], &context)?;
/// assert_eq!(values[0].data.to_f64()[..5], [2.0, 3.0, 4.0, 5.0, 6.0]); // of the first of three rays
/// let cells = [2.0..2.5, 2.5..3.5, 3.5..4.5, 4.5..5.5, 5.5..6.0];
/// for ray in values[1].data.to_f64().chunks(5) {
///     assert!(ray.iter().zip(&cells).all(|(z, cell)| cell.contains(z)), "{ray:?}");
/// }
/// # Ok::<(), wgen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Depths {
    /// The first depth.
    pub near: f64,
    /// The last one, behind it.
    pub far: f64,
    /// How many.
    pub samples: usize,
    /// Whether they are even in 1 / depth: more of them near the camera.
    pub lindisp: bool,
}

impl Depths {
    /// Refuses what has no depths.
    ///
    /// # Errors
    /// Naming it.
    pub fn check(&self) -> Result<()> {
        let &Self {
            near,
            far,
            samples,
            lindisp,
        } = self;
        let wrong = |why: String| Err(Error::shape("depths", why));
        if !(near < far && far.is_finite() && near.is_finite()) {
            return wrong(format!(
                "near {near} and far {far}: both must be finite, and near before far"
            ));
        }
        if lindisp && near <= 0.0 {
            return wrong(format!(
                "near {near}: depths that are even in their reciprocals begin above 0"
            ));
        }
        if samples == 0 {
            return wrong("0 samples: at least one is needed".to_owned());
        }
        Ok(())
    }

    /// The depths.
    pub fn even(&self) -> Vec<f64> {
        let &Self { near, far, .. } = self;
        let last = (self.samples.max(2) - 1) as f64;
        let at = |i: usize| {
            let t = i as f64 / last;
            if self.lindisp {
                1.0 / ((1.0 - t) / near + t / far)
            } else {
                near * (1.0 - t) + far * t
            }
        };
        (0..self.samples).map(at).collect()
    }

    /// Where each depth's cell begins, and its width.
    pub fn cells(&self) -> (Vec<f64>, Vec<f64>) {
        let z = self.even();
        let middle = |i: usize| 0.5 * (z[i] + z[i + 1]);
        let cell = |i: usize| {
            let begin = if i == 0 { z[i] } else { middle(i - 1) };
            let end = if i + 1 == z.len() { z[i] } else { middle(i) };
            (begin, end - begin)
        };
        (0..z.len()).map(cell).unzip()
    }
}

impl Graph {
    /// A row `[samples]` of numbers about `depths`, by what they are.
    fn depths_row(&self, what: &str, depths: &Depths, numbers: Vec<f64>) -> Var<'_> {
        let &Depths {
            near,
            far,
            samples,
            lindisp,
        } = depths;
        // All that decides the numbers: equal ones are one input.
        let spacing = if lindisp { "disparities" } else { "depths" };
        let name = format!("{what} of {samples} {spacing} from {near} to {far}");
        match Value::new([numbers.len()], Data::F64(numbers)) {
            Ok(value) => self.table(&name, value),
            Err(error) => {
                self.fail(error);
                self.constant(0.0)
            }
        }
    }

    /// The depths of each of `rays` rays, all the same: `[rays, samples]`.
    pub fn even_depths(&self, rays: usize, depths: &Depths) -> Var<'_> {
        if let Err(error) = depths.check() {
            self.fail(error);
        }
        let row = self.depths_row("even ones", depths, depths.even());
        row.broadcast_to([rays, depths.samples])
    }

    /// One depth at random in each cell, `[rays, samples]`, ascending along each of `rays` rays: the stratified samples of Mildenhall et al.
    /// 2020, eq. 2. Keyed by ray, as [`Graph::random_by_example`]; `name` decides the stream and may be used once.
    pub fn stratified(&self, name: &str, rays: usize, depths: &Depths) -> Var<'_> {
        let uniforms = self.random_by_example(name, Distribution::Uniform, 1, rays, depths.samples);
        uniforms.stratified_with(depths)
    }
}

impl Var<'_> {
    /// Self `[rays, samples]`, numbers in [0, 1), as depths within their cells: see [`Graph::stratified`], which draws them.
    pub fn stratified_with(self, depths: &Depths) -> Self {
        let graph = self.graph();
        let shape = self.shape();
        let fits = matches!(shape.dims(), &[_, samples] if samples == depths.samples);
        if let Err(error) = depths.check() {
            graph.fail(error);
        } else if !fits {
            graph.fail(Error::shape(
                "stratified",
                format!("takes [rays, {}], got {shape:?}", depths.samples),
            ));
        }
        let (begins, widths) = depths.cells();
        let begins = graph.depths_row("begins", depths, begins);
        begins + graph.depths_row("widths", depths, widths) * self
    }
}
