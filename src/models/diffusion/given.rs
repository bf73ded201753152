//! What a sampler is given beside its state.

use super::Diffusion;
use crate::models::model::Model;
use crate::program::sampling::Given;
use crate::tensor::Shape;

/// The input that is known of the pictures, `[count, width]` in the range of the data.
pub const KNOWN: &str = "known";

/// The input that says how much of each value is kept, `[count, width]`: 1 all of it, 0 nothing.
pub const MASK: &str = "mask";

/// The input of small images beside x, of super-resolution: `[count, their width]` in the range of the data.
pub const LOW_RES: &str = "low_res";

impl Diffusion {
    /// What its sampler is given: of a model that completes pictures the pictures and their mask, of super-resolution the small images.
    pub(super) fn given(&self, count: usize) -> Vec<Given> {
        let given = |name, width| Given {
            name,
            shape: Shape::from([count, width]),
            // With nothing known samples are made as ever; of no small picture there is no large one.
            needed: name == LOW_RES,
        };
        let completes = self.completes().map(|_| [KNOWN, MASK]);
        let completes = completes.into_iter().flatten();
        let low_res = self.low_res();
        completes
            .map(|name| given(name, self.width()))
            .chain(low_res.map(|small| given(LOW_RES, small.count())))
            .collect()
    }
}
