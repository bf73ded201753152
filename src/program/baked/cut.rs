//! A dispatch that would take too long, as several that together do its work.

use super::Dispatch;
use crate::kernels::{Grid, fold};

/// A part of a dispatch's grid: the same shader and bindings, with these parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Words of the uniform buffer.
    pub params: Vec<u32>,
    /// Workgroups in x, y, z.
    pub workgroups: [u32; 3],
}

impl Dispatch {
    /// The same work in up to `count` dispatches, none of them empty; fewer where the grid has no more parts.
    pub fn parts(&self, count: usize) -> Vec<Part> {
        let [x, y, z] = self.workgroups.map(u64::from);
        let part = |word: usize, first: u64, workgroups: [u32; 3]| {
            let mut params = self.params.clone();
            params[word] += first as u32;
            Part { params, workgroups }
        };
        let whole = || {
            vec![Part {
                params: self.params.clone(),
                workgroups: self.workgroups,
            }]
        };
        let cut = |total: u64| {
            let each = total.div_ceil(count.max(1) as u64).max(1);
            (0..total.div_ceil(each)).map(move |i| (i * each, each.min(total - i * each)))
        };
        match self.grid {
            _ if count <= 1 || x * y * z == 0 => whole(),
            Grid::Whole => whole(),
            Grid::Line { first } => cut(x * y)
                .map(|(start, length)| part(first, start, fold(length)))
                .collect(),
            Grid::Box { first_y, .. } if y >= z => cut(y)
                .map(|(start, length)| part(first_y, start, [x as u32, length as u32, z as u32]))
                .collect(),
            Grid::Box { first_z, .. } => cut(z)
                .map(|(start, length)| part(first_z, start, [x as u32, y as u32, length as u32]))
                .collect(),
        }
    }
}
