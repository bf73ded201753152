//! Rays through an occupancy grid, in steps of one length: `shaders/march.wgsl`.
//!
//! Sample k of a ray is at `t = (k + jitter) dt`, `dt = sqrt(3) / steps`; it is taken where it lies in the unit cube and in an occupied cell. In a
//! large scene there are several grids, each over a cube twice as large as the one before it, and steps may grow with the distance.
//! [`MarchCount`] counts a ray's samples; [`scan`](super::scan) says from these counts where each ray's begin; [`MarchWrite`] puts them there. Both
//! take the same ones, in the same bits, on every device: no division and no contraction of multiply-add decides where a sample is.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::march::{March, MarchCount, MarchWrite};
//! use wgen::tensor::Data;
//!
//! let march = March::new(4, 8)?; // 4^3 cells, 8 steps along the diagonal: dt = 0.2165
//! let ray = Data::F32(vec![-0.5, 0.125, 0.125, 1.0, 0.0, 0.0]); // along x through the first row of cells
//! let mut bits = vec![0; 2];
//! bits[0] = 0b1001; // of the row's cells the first and the last
//! let (jitter, bits) = (Data::F32(vec![0.5]), Data::U32(bits));
//!
//! let count = MarchCount { march, rays: 1 };
//! let mut buffers = [ray.clone(), jitter.clone(), Data::F32(vec![1.0]), bits.clone(), Data::U32(vec![0])];
//! count.reference(&mut buffers);
//! assert_eq!(buffers[4].as_u32(), [2]);
//!
//! let base = Data::U32(vec![0, 2, 1]);
//! let mut buffers = [ray, jitter, bits, base, Data::F32(vec![0.0; 12])];
//! MarchWrite { march, rays: 1, samples: 3 }.reference(&mut buffers);
//! let x: Vec<f64> = buffers[4].to_f64().into_iter().step_by(4).collect();
//! assert!((x[0] - (2.5 * 0.216506 - 0.5)).abs() < 1e-5 && (x[1] - (6.5 * 0.216506 - 0.5)).abs() < 1e-5);
//! assert_eq!(x[2], 0.0); // no sample
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Grids of occupied cells over the unit cube, and the steps that rays take through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct March {
    resolution: u32,
    steps: u32,
    /// Cubes in one another, each twice as large as the one before it, the last one the unit cube.
    cascades: u32,
    /// Steps until a step becomes twice as long; 0 where all are equally long.
    octave: u32,
}

impl March {
    /// The finest grid: 2^27 cells fill a portable binding four times, but their bits do not.
    pub const MOST_RESOLUTION: usize = 512;
    /// The most steps along the cube's diagonal, and the most samples of a ray.
    pub const MOST_STEPS: usize = 1024;
    /// The most cubes in one another: the last is 128 times as large as the first.
    pub const MOST_CASCADES: usize = 8;

    /// A grid of `resolution`^3 cells, marched through with `steps` steps along the cube's diagonal.
    ///
    /// # Errors
    /// Unless `resolution` is a power of two from 4 to [`March::MOST_RESOLUTION`] and `steps` is from 1 to [`March::MOST_STEPS`].
    pub fn new(resolution: usize, steps: usize) -> Result<Self> {
        let range = 4..=Self::MOST_RESOLUTION;
        if !resolution.is_power_of_two() || !range.contains(&resolution) {
            return Err(Error::Usage(format!(
                "the resolution of an occupancy grid is a power of two from 4 to {}, not {resolution}",
                Self::MOST_RESOLUTION
            )));
        }
        if !(1..=Self::MOST_STEPS).contains(&steps) {
            return Err(Error::Usage(format!(
                "a ray takes from 1 to {} steps along the cube's diagonal, not {steps}",
                Self::MOST_STEPS
            )));
        }
        Ok(Self {
            resolution: resolution as u32,
            steps: steps as u32,
            cascades: 1,
            octave: 0,
        })
    }

    /// The same grid `cascades` times over cubes in one another, each twice as large as the one before it, the last of them the unit cube. `steps` are
    /// then along the diagonal of the first; where `octave` is not 0, so many of them until steps become twice as long, then as many twice as long ones
    /// until they become four times as long, and so on, to what `steps` along the unit cube's diagonal are.
    ///
    /// # Errors
    /// Unless `cascades` is from 1 to [`March::MOST_CASCADES`] and `octave` 0 or from 16 to [`March::MOST_STEPS`].
    pub fn with_cascades(self, cascades: usize, octave: usize) -> Result<Self> {
        if !(1..=Self::MOST_CASCADES).contains(&cascades) {
            return Err(Error::field(
                "cascades",
                format!(
                    "{cascades} must be from 1 to {}: each is twice as large as the one before it",
                    Self::MOST_CASCADES
                ),
            ));
        }
        if octave != 0 && !(16..=Self::MOST_STEPS).contains(&octave) {
            return Err(Error::field(
                "octave_steps",
                format!(
                    "{octave} must be 0, for steps of one length, or from 16 to {}: the steps until they become twice as long",
                    Self::MOST_STEPS
                ),
            ));
        }
        Ok(Self {
            cascades: cascades as u32,
            // With one cascade steps cannot grow.
            octave: if cascades == 1 { 0 } else { octave as u32 },
            ..self
        })
    }

    /// Cells along an axis.
    pub fn resolution(&self) -> usize {
        self.resolution as usize
    }

    /// Steps along the first cascade's diagonal.
    pub fn steps(&self) -> usize {
        self.steps as usize
    }

    /// Cubes in one another.
    pub fn cascades(&self) -> usize {
        self.cascades as usize
    }

    /// Steps until a step becomes twice as long; 0 where all are equally long.
    pub fn octave(&self) -> usize {
        self.octave as usize
    }

    /// The most samples of a ray.
    pub fn most_samples(&self) -> usize {
        (self.steps() * self.cascades()).min(Self::MOST_STEPS)
    }

    /// Places of the lattice on the unit cube's diagonal, were all steps as short as the first.
    fn lattice(&self) -> usize {
        self.steps() << (self.cascades - 1)
    }

    /// The length of the first step in units of the unit cube's side, as the device has it.
    pub fn dt(&self) -> f32 {
        (3_f64.sqrt() / self.lattice() as f64) as f32
    }

    /// All cells.
    pub fn cells(&self) -> usize {
        self.cascades() * self.resolution().pow(3)
    }

    /// Words of the occupancy bits.
    pub fn words(&self) -> usize {
        self.cells() / 32
    }

    fn params(self, rays: usize, samples: usize, invocations: usize) -> Vec<u32> {
        vec![
            rays as u32,
            self.resolution,
            self.most_samples() as u32,
            self.dt().to_bits(),
            samples as u32,
            invocations as u32,
            0,
            0,
        ]
    }

    /// Twenty operations at each point of a ray's lattice, forty among cascades.
    fn flops(self, rays: usize) -> f64 {
        let points = match self.octave() {
            0 => self.lattice(),
            // Not more than octaves of steps, nor than steps of one length.
            octave => self.lattice().min(octave * (self.cascades() + 1)),
        };
        let each = if self.cascades > 1 { 40.0 } else { 20.0 };
        each * rays as f64 * points as f64
    }

    fn title(&self) -> String {
        let Self {
            resolution,
            steps,
            cascades,
            octave,
        } = self;
        match (cascades, octave) {
            (1, _) => format!("{resolution}^3 cells, {steps} steps"),
            (_, 0) => format!("{cascades} x {resolution}^3 cells, {steps} steps"),
            _ => format!("{cascades} x {resolution}^3 cells, {steps} steps, octaves of {octave}"),
        }
    }
}

fn launch(
    march: &March,
    stage: &str,
    entry: &'static str,
    kernel: &dyn Kernel,
    params: Vec<u32>,
) -> Launch {
    let units = params[0].max(params[5]) as usize;
    Launch {
        template: "march",
        entry,
        context: json!({
            "stage": stage,
            "cascades": march.cascades,
            "octave": march.octave,
            "lattice": march.lattice(),
            "bindings": super::wgsl_bindings(&kernel.bindings()),
        }),
        constants: vec![("WORKGROUP", 64.0)],
        workgroups: fold(units.div_ceil(64) as u64),
        grid: Grid::Line {
            first: params.len() - 1,
        },
        params,
        subgroups: false,
    }
}

/// How many samples each ray has. Rays from a number on, which the device knows, have none.
#[derive(Clone, Debug)]
pub struct MarchCount {
    /// Grid and steps.
    pub march: March,
    /// Rays, at least one.
    pub rays: usize,
}

impl Kernel for MarchCount {
    fn family(&self) -> &'static str {
        "march"
    }

    fn variant(&self) -> String {
        format!("count, {}", self.march.title())
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("rays", DType::F32, 6 * self.rays),
            Binding::read("jitter", DType::F32, self.rays),
            Binding::read("active_rays", DType::F32, 1),
            Binding::read("bits", DType::U32, self.march.words()),
            Binding::write("counts", DType::U32, self.rays),
        ]
    }

    fn launch(&self) -> Launch {
        let params = self.march.params(self.rays, 0, 0);
        launch(&self.march, "count", "march_count", self, params)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.march.flops(self.rays),
            bytes: bytes_of(&self.bindings()),
        }
    }
}

/// The samples of all rays, one ray's behind the other's.
#[derive(Clone, Debug)]
pub struct MarchWrite {
    /// Grid and steps.
    pub march: March,
    /// Rays, at least one.
    pub rays: usize,
    /// Rows for samples.
    pub samples: usize,
}

impl MarchWrite {
    /// Invocations that clear the rows behind the last sample, 64 each where all are behind it.
    fn invocations(&self) -> usize {
        self.samples.div_ceil(64)
    }
}

impl Kernel for MarchWrite {
    fn family(&self) -> &'static str {
        "march"
    }

    fn variant(&self) -> String {
        format!("write, {}", self.march.title())
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("rays", DType::F32, 6 * self.rays),
            Binding::read("jitter", DType::F32, self.rays),
            Binding::read("bits", DType::U32, self.march.words()),
            Binding::read("base", DType::U32, self.rays + 2),
            Binding::write("samples", DType::F32, 4 * self.samples).vector(true),
        ]
    }

    fn launch(&self) -> Launch {
        let params = self
            .march
            .params(self.rays, self.samples, self.invocations());
        launch(&self.march, "write", "march_write", self, params)
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.march.flops(self.rays),
            bytes: bytes_of(&self.bindings()),
        }
    }
}
