//! Multi-resolution hash encoding of positions, and its gradient by the table in fixed point: `shaders/hash_encoding.wgsl`.
//!
//! Müller et al. 2022, "Instant neural graphics primitives with a multiresolution hash encoding", as tiny-cuda-nn computes it. A
//! [`HashGrid`] says which levels there are; cells and fractions are integers, the same on every device.
//!
//! ```
//! use std::sync::Arc;
//! use wgen::Twin;
//! use wgen::kernels::hash_encoding::{HashEncode, HashGrid};
//! use wgen::tensor::Data;
//!
//! // Instant-ngp's `base.json`: 8 levels of 4 features, at most 2^19 entries each, from 16 to 2048 vertices along an axis.
//! let grid = HashGrid::new(8, 4, 19, 16, 2048)?;
//! assert_eq!(grid.levels[1].resolution, 32);
//! assert_eq!(grid.levels.iter().position(|l| l.hashed), Some(3));
//! assert_eq!((grid.entries(), grid.width()), (2_920_448, 32));
//!
//! // One level of 4 vertices along an axis: x = 1/3 lies halfway between vertices 1 and 2 of the first axis, and on the others.
//! let grid = Arc::new(HashGrid::new(1, 1, 9, 4, 4)?);
//! let table = (0..64).map(f64::from).collect();
//! let mut buffers = [vec![1.0 / 3.0, 0.5, 0.5], table, vec![0.0]].map(Data::F64);
//! HashEncode { grid, samples: 1 }.reference(&mut buffers);
//! let between = 1.5 + 4.0 * 2.0 + 16.0 * 2.0;
//! assert!((buffers[2].to_f64()[0] - between).abs() < 1e-6);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use serde_json::json;

use super::expression::{Expression, Term};
use super::functions::Function;
use super::reduce::{Combine, Reduce};
use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// The most samples whose gradients may be summed in fixed point: the shader's header says why.
pub const MOST_SAMPLES: usize = 1 << 22;

/// A sum in fixed point is at most 2 to this many units.
pub const BITS: u32 = 30;

/// The most levels.
const MOST_LEVELS: usize = 32;

/// Invocations a workgroup.
const WORKGROUP: u32 = 64;

/// One level of a [`HashGrid`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Cells along an axis: position x is at `x * scale + 1/2`.
    pub scale: f32,
    /// Vertices along an axis, `ceil(scale) + 1`. The far corner of the last cell may be one more: it wraps.
    pub resolution: u32,
    /// Entries of its table, a multiple of 8.
    pub entries: u32,
    /// Entries of the levels before it.
    pub first: u32,
    /// Whether there are more vertices than entries, so that vertices share entries by their hash.
    pub hashed: bool,
}

impl Level {
    /// The scale as an integer and a shift: `scale = integer * 2^-(shift + 1)`, exactly.
    pub(crate) fn fixed(&self) -> (u32, u32) {
        // 32 bits for scales from 1 on. Smaller ones, which end at 2^-32 at the latest, have fewer.
        let exponent = (self.scale.to_bits() >> 23) as i32 - 127;
        let bits = (31 - exponent).min(32);
        let integer = f64::from(self.scale) * 2_f64.powi(bits);
        (integer as u32, (bits - 1) as u32)
    }

    /// Its words in the uniform buffer.
    fn words(&self) -> [u32; 8] {
        let (scale, shift) = self.fixed();
        let hashed = u32::from(self.hashed);
        [
            scale,
            shift,
            self.resolution,
            self.entries,
            self.first,
            hashed,
            0,
            0,
        ]
    }
}

/// The levels of a hash encoding: from few vertices, each with an entry of its own, to many that share entries.
#[derive(Clone, Debug, PartialEq)]
pub struct HashGrid {
    /// The coarsest first.
    pub levels: Vec<Level>,
    /// Numbers an entry: 1, 2, 4 or 8.
    pub features: usize,
}

impl HashGrid {
    /// `levels` levels of `features` numbers an entry, with at most `2^log2_entries` entries each and from `base` to `finest` vertices along
    /// an axis, in geometric progression: `scale = base * b^l - 1` with `b = (finest / base)^(1 / (levels - 1))`.
    ///
    /// Scales are computed in f64 and rounded to f32, and vertices counted from that: 511.0000000001, which 16 to 512 in 8 levels gives,
    /// is 511, where another rounding of it would make one vertex more.
    ///
    /// # Errors
    /// When a number is out of its range, which is said.
    pub fn new(
        levels: usize,
        features: usize,
        log2_entries: u32,
        base: u32,
        finest: u32,
    ) -> Result<Self> {
        if !(1..=MOST_LEVELS).contains(&levels) {
            let message = format!("is {levels}; a hash grid has 1 to {MOST_LEVELS}");
            return Err(Error::field("levels", message));
        }
        if ![1, 2, 4, 8].contains(&features) {
            let message = format!("is {features}; an entry has 1, 2, 4 or 8");
            return Err(Error::field("features", message));
        }
        if !(3..=28).contains(&log2_entries) {
            let message = format!("is {log2_entries}; a level has 2^3 to 2^28 entries");
            return Err(Error::field("log2_entries", message));
        }
        if base == 0 {
            let message = "is 0; the coarsest level has 1 vertex along an axis or more";
            return Err(Error::field("base", message));
        }
        if !(base..=1 << 20).contains(&finest) {
            let message = format!("is {finest}; it is from base, {base}, to {}", 1 << 20);
            return Err(Error::field("finest", message));
        }
        let (low, high) = (f64::from(base), f64::from(finest));
        let growth = ((high / low).ln() / (levels.max(2) - 1) as f64).exp();
        let mut all = Vec::with_capacity(levels);
        let mut first = 0_u32;
        for l in 0..levels {
            let scale = (low * growth.powi(l as i32) - 1.0) as f32;
            let resolution = scale.ceil() as u32 + 1;
            let vertices = u64::from(resolution).pow(3);
            let entries = vertices.next_multiple_of(8).min(1 << log2_entries);
            all.push(Level {
                scale,
                resolution,
                entries: entries as u32,
                first,
                hashed: vertices > entries,
            });
            first = match u64::from(first) + entries {
                sum if sum * features as u64 >= 1 << 31 => {
                    let message = format!(
                        "is {log2_entries}; levels 0 to {l} have {sum} entries of {features} numbers together, a tensor fewer than 2^31"
                    );
                    return Err(Error::field("log2_entries", message));
                }
                sum => sum as u32,
            };
        }
        Ok(Self {
            levels: all,
            features,
        })
    }

    /// Entries of all levels: rows of the table.
    pub fn entries(&self) -> usize {
        let last = self.levels.last();
        last.map_or(0, |l| (l.first + l.entries) as usize)
    }

    /// Numbers of the table.
    pub fn elements(&self) -> usize {
        self.entries() * self.features
    }

    /// Numbers that a position is encoded by: `levels * features`.
    pub fn width(&self) -> usize {
        self.levels.len() * self.features
    }

    /// Refuses tables that a device cannot bind.
    ///
    /// # Errors
    /// [`Error::Limit`], with the limit's name.
    pub fn check(&self, caps: &Caps) -> Result<()> {
        let needed = DType::F32.bytes(self.elements());
        if needed <= caps.binding_bytes {
            return Ok(());
        }
        let largest = self.levels.iter().map(|l| l.entries).max().unwrap_or(0);
        Err(Error::Limit {
            what: format!(
                "hash_encode: the table of {} levels, {} entries of {} numbers",
                self.levels.len(),
                self.entries(),
                self.features
            ),
            needed,
            limit_name: "max_storage_buffer_binding_size",
            limit: caps.binding_bytes,
            hint: format!(
                "lower `log2_entries` (the largest level has 2^{}), `levels` or `features`",
                largest.max(1).ilog2()
            ),
        })
    }

    /// What of it decides a result, as bits.
    pub(crate) fn key(&self) -> (usize, Vec<[u32; 8]>) {
        (
            self.features,
            self.levels.iter().map(Level::words).collect(),
        )
    }

    fn vector(&self) -> bool {
        self.features.is_multiple_of(4)
    }

    fn launch(
        &self,
        stage: &str,
        entry: &'static str,
        samples: usize,
        bindings: &[Binding],
    ) -> Launch {
        let groups = samples.div_ceil(WORKGROUP as usize);
        let lanes = if self.vector() { 4 } else { 1 };
        let units = match stage {
            "clear" => self.elements() / lanes,
            // Entries of a level are a multiple of 8.
            "finish" => self.elements() / 8 / lanes,
            _ => groups * self.levels.len() * WORKGROUP as usize,
        };
        let mut params = vec![
            samples as u32,
            self.levels.len() as u32,
            groups as u32,
            0,
            u32::MAX,
            self.elements() as u32,
            0,
            0,
        ];
        params.extend(self.levels.iter().flat_map(Level::words));
        Launch {
            template: "hash_encoding",
            entry,
            context: json!({
                "stage": stage,
                "features": self.features,
                "levels": self.levels.len(),
                "bits": BITS,
                "bindings": super::wgsl_bindings(bindings),
            }),
            constants: vec![("WORKGROUP", f64::from(WORKGROUP))],
            params,
            workgroups: fold(units.div_ceil(WORKGROUP as usize) as u64),
            grid: Grid::Line { first: 3 },
            subgroups: false,
        }
    }

    fn variant(&self, stage: &str) -> String {
        let wide = if self.vector() { " vec4" } else { "" };
        format!("{stage} {}x{}{wide}", self.levels.len(), self.features)
    }

    fn positions(samples: usize) -> Binding {
        Binding::read("positions", DType::F32, 3 * samples)
    }

    fn bounds(&self) -> Binding {
        Binding::read("bounds", DType::F32, self.width()).vector(self.vector())
    }
}

/// Cells and fractions of positions, as the other kernels use them: `[samples, levels, 6]`, the cell along x, y, z, then the fractions in
/// units of 2^-24.
#[derive(Clone, Debug)]
pub struct HashCells {
    /// The grid.
    pub grid: Arc<HashGrid>,
    /// Positions.
    pub samples: usize,
}

/// Positions `[samples, 3]` and a table `[entries, features]` into `[samples, levels * features]`.
#[derive(Clone, Debug)]
pub struct HashEncode {
    /// The grid.
    pub grid: Arc<HashGrid>,
    /// Positions.
    pub samples: usize,
}

/// Zeros into the sums of a [`HashScatter`].
#[derive(Clone, Debug)]
pub struct HashClear {
    /// The grid.
    pub grid: Arc<HashGrid>,
}

/// The gradient of an encoding added to the table's entries, in whole units.
#[derive(Clone, Debug)]
pub struct HashScatter {
    /// The grid.
    pub grid: Arc<HashGrid>,
    /// Positions.
    pub samples: usize,
}

/// The sums of a [`HashScatter`] as reals.
#[derive(Clone, Debug)]
pub struct HashFinish {
    /// The grid.
    pub grid: Arc<HashGrid>,
}

/// The sums of magnitudes over `samples` rows of `width` gradients, from which units are made: one dispatch, or two with the number of
/// partial sums between. Unlike other reductions they are cut by the number of samples alone, so that units are the same on every device.
pub fn bounds(samples: usize, width: usize) -> (Reduce, Option<Reduce>) {
    // Chosen by nothing of a device.
    let caps = Caps::portable();
    let magnitudes = Expression {
        terms: vec![Term::Operand(0), Term::Call(Function::Abs, vec![0])],
        results: vec![1],
        ..Expression::operand(samples * width)
    };
    let whole = Reduce {
        prologue: magnitudes,
        cooperative: false,
        ..Reduce::new(&caps, Combine::Sum, 1, samples, width)
    };
    let chunks = samples.isqrt();
    if chunks < 16 {
        return (whole, None);
    }
    let (first, second) = whole.in_two(&caps, chunks);
    let second = Reduce {
        cooperative: false,
        ..second
    };
    (first, Some(second))
}

impl HashGrid {
    /// Elements of the table that so many samples can meet: a table of which only some is met is not read as a whole.
    fn met(&self, samples: usize) -> f64 {
        (8 * samples * self.width()).min(self.elements()) as f64
    }

    /// Samples times levels.
    fn rows(&self, samples: usize) -> f64 {
        (samples * self.levels.len()) as f64
    }
}

impl HashCells {
    fn storage(&self) -> Vec<Binding> {
        let count = self.samples * self.grid.levels.len() * 6;
        vec![
            HashGrid::positions(self.samples),
            Binding::write("cells", DType::U32, count),
        ]
    }

    fn work(&self) -> Cost {
        Cost {
            flops: 60.0 * self.grid.rows(self.samples),
            bytes: bytes_of(&self.storage()),
        }
    }
}

impl HashEncode {
    fn storage(&self) -> Vec<Binding> {
        let (grid, vector) = (&self.grid, self.grid.vector());
        let count = self.samples * grid.width();
        vec![
            HashGrid::positions(self.samples),
            Binding::read("table", DType::F32, grid.elements()).vector(vector),
            Binding::write("out", DType::F32, count).vector(vector),
        ]
    }

    fn work(&self) -> Cost {
        let (grid, samples) = (&self.grid, self.samples);
        let own = samples * (3 + grid.width());
        Cost {
            flops: (16 * grid.features + 12) as f64 * grid.rows(samples),
            bytes: 4.0 * (own as f64 + grid.met(samples)),
        }
    }
}

impl HashClear {
    fn storage(&self) -> Vec<Binding> {
        let sums = Binding::write("sums", DType::U32, self.grid.elements());
        vec![sums.vector(self.grid.vector())]
    }

    fn work(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.storage()),
        }
    }
}

impl HashScatter {
    fn storage(&self) -> Vec<Binding> {
        let (grid, vector) = (&self.grid, self.grid.vector());
        let count = self.samples * grid.width();
        vec![
            HashGrid::positions(self.samples),
            Binding::read("gradient", DType::F32, count).vector(vector),
            grid.bounds(),
            Binding::atomic("sums", grid.elements()),
        ]
    }

    fn work(&self) -> Cost {
        let (grid, samples) = (&self.grid, self.samples);
        let own = samples * (3 + grid.width());
        Cost {
            flops: (24 * grid.features + 12) as f64 * grid.rows(samples),
            bytes: 4.0 * (own as f64 + 2.0 * grid.met(samples)),
        }
    }
}

impl HashFinish {
    fn storage(&self) -> Vec<Binding> {
        let (count, vector) = (self.grid.elements(), self.grid.vector());
        vec![
            Binding::read("sums", DType::U32, count).vector(vector),
            self.grid.bounds(),
            Binding::write("out", DType::F32, count).vector(vector),
        ]
    }

    fn work(&self) -> Cost {
        Cost {
            flops: 2.0 * self.grid.elements() as f64,
            bytes: bytes_of(&self.storage()),
        }
    }
}

/// The stages of the one template.
macro_rules! stages {
    ($($kernel:ident $stage:literal $entry:literal $samples:expr;)*) => {$(
        impl Kernel for $kernel {
            fn family(&self) -> &'static str {
                "hash_encoding"
            }

            fn variant(&self) -> String {
                self.grid.variant($stage)
            }

            fn bindings(&self) -> Vec<Binding> {
                self.storage()
            }

            fn launch(&self) -> Launch {
                let samples: fn(&Self) -> usize = $samples;
                self.grid.launch($stage, $entry, samples(self), &self.storage())
            }

            fn cost(&self) -> Cost {
                self.work()
            }
        }
    )*};
}
stages! {
    HashCells "cells" "hash_cells" |k| k.samples;
    HashEncode "encode" "hash_encode" |k| k.samples;
    HashClear "clear" "hash_clear" |_| 0;
    HashScatter "scatter" "hash_scatter" |k| k.samples;
    HashFinish "finish" "hash_finish" |_| 0;
}
