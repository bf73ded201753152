//! A quantile of each row: `shaders/quantile.wgsl`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::quantile::Quantile;
//! use wgen::tensor::Data;
//!
//! // Three quarters of the way through four numbers: a quarter of the way from 3 to 9.
//! let kernel = Quantile::new(&Caps::portable(), [1, 4], 0.75)?;
//! assert_eq!((kernel.below, kernel.share), (2, 0.25));
//! let mut buffers = [vec![9.0, 1.0, 3.0, 2.0], vec![0.0]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F64(vec![4.5]));
//! # Ok::<(), wgen::Error>(())
//! ```

use serde_json::json;

use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// For each row of `[rows, length]` low + share (high - low), low the element of rank `below` in rising order, high the next.
#[derive(Clone, Debug)]
pub struct Quantile {
    /// Rows.
    pub rows: usize,
    /// Elements of one.
    pub length: usize,
    /// The rank of the lower neighbour, from 0.
    pub below: usize,
    /// How far it is to the upper one, from 0 to 1; 0 where there is none.
    pub share: f64,
    /// Invocations that share a row.
    pub workgroup: u32,
}

impl Quantile {
    /// The `ratio`-quantile for a device: linear between neighbours, as numpy and PyTorch have it.
    ///
    /// # Errors
    /// When the ratio is not from 0 to 1, or rows are empty.
    pub fn new(caps: &Caps, [rows, length]: [usize; 2], ratio: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(Error::shape(
                "quantile",
                format!("ratio {ratio}; from 0 to 1 are possible"),
            ));
        }
        if length == 0 {
            return Err(Error::shape(
                "quantile",
                "rows without elements have none".to_owned(),
            ));
        }
        let place = ratio * (length - 1) as f64;
        let below = (place.floor() as usize).min(length - 1);
        Ok(Self::at(caps, [rows, length], below, place - below as f64))
    }

    /// Between the elements of rank `below` and the next.
    pub(crate) fn at(caps: &Caps, [rows, length]: [usize; 2], below: usize, share: f64) -> Self {
        Self {
            rows,
            length,
            below,
            share,
            workgroup: if caps.software { 8 } else { 64 },
        }
    }
}

impl Kernel for Quantile {
    fn family(&self) -> &'static str {
        "quantile"
    }

    fn variant(&self) -> String {
        format!("of {}, {} a row", self.length, self.workgroup)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("x", DType::F32, self.rows * self.length),
            Binding::write("out", DType::F32, self.rows),
        ]
    }

    fn launch(&self) -> Launch {
        let words = [self.rows, self.length, self.below];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.extend([(self.share as f32).to_bits(), 0]);
        Launch {
            template: "quantile",
            entry: "quantile",
            context: json!({ "bindings": super::wgsl_bindings(&self.bindings()) }),
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            params,
            workgroups: fold(self.rows as u64),
            grid: Grid::Line { first: 4 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 40.0 * (self.rows * self.length) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
