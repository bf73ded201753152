//! The field of a hash grid: what it has at places, density and colour, by a table of features and two small perceptrons.

use super::config::Config;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::kernels::hash_encoding::HashGrid;
use crate::models::nerf::rays;
use crate::nn::Linear;
use crate::tensor::Value;

const TABLE: &str = "encoding.table";

/// A table and its networks.
#[derive(Clone, Debug)]
pub(super) struct Field {
    table: HashGrid,
    features: usize,
    /// What the density's network gives.
    outputs: usize,
    density: [Linear; 2],
    colour: [Linear; 3],
}

impl Field {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let &Config {
            levels,
            features,
            width,
            outputs,
            ..
        } = config;
        let table = HashGrid::new(
            levels,
            features,
            config.log2_entries,
            config.base_resolution,
            config.finest_resolution,
        )?;
        let layer = |name: &str, inputs: usize, outputs: usize| Linear {
            bias: false,
            // Xavier uniform.
            init: Some(Init::Uniform((6.0 / (inputs + outputs) as f32).sqrt())),
            ..Linear::new(name, inputs, outputs)
        };
        Ok(Self {
            table,
            features,
            outputs,
            density: [
                layer("density.0", levels * features, width),
                layer("density.2", width, outputs),
            ],
            colour: [
                layer("colour.0", 16 + outputs, width),
                layer("colour.2", width, width),
                layer("colour.4", width, 3),
            ],
        })
    }

    pub(super) fn table(&self) -> &HashGrid {
        &self.table
    }

    /// The table, then the layers' matrices.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let entries = [self.table.entries(), self.features];
        let mut parameters = vec![Parameter::new(TABLE, entries, Init::Uniform(1e-4))];
        parameters.extend(self.density.iter().flat_map(Linear::parameters));
        parameters.extend(self.colour.iter().flat_map(Linear::parameters));
        parameters
    }

    /// How many matrices.
    pub(super) fn layers(&self) -> usize {
        self.density.len() + self.colour.len()
    }

    /// Density and what the colour needs of places `[S, 3]` in the unit cube: `[S]`, `[S, outputs]`.
    pub(super) fn density<'g>(&self, places: Var<'g>) -> Result<(Var<'g>, Var<'g>)> {
        let graph = places.graph();
        let table = graph.parameter(TABLE, [self.table.entries(), self.features]);
        let features = places.hash_encode(table, &self.table);
        let [first, second] = &self.density;
        let h = second.forward(first.forward(features).relu());
        // The first output, as a product and a sum: gradients of h are then one map, where those of a slice are filled up with zeros first.
        let first = (0..self.outputs).map(|i| f32::from(u8::from(i == 0)));
        let first = Value::f32([self.outputs], first.collect())?;
        let first = graph.table("first output", first);
        Ok((rays::exponential((h * first).sum(&[1])), h))
    }

    /// Colours of samples `[S, 3]`, of their directions' harmonics `[S, 16]`.
    pub(super) fn colours<'g>(&self, h: Var<'g>, directions: Var<'g>) -> Var<'g> {
        let graph = h.graph();
        let [first, second, third] = &self.colour;
        let seen = graph.concat(1, &[directions, h]);
        let hidden = second.forward(first.forward(seen).relu()).relu();
        third.forward(hidden).sigmoid()
    }
}
