//! Kernels as plain data: each descriptor here says of one WGSL template what it binds, how it is dispatched and what it costs. Nothing
//! here knows a device. The CPU twin of the same name is in [`crate::reference`].
//!
//! ```
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::kernels::{Caps, Kernel};
//!
//! let product = Matmul::new(&Caps::portable(), Layout::Nt, 1, 128, 400, 784)?;
//! assert_eq!((product.family(), product.variant().as_str()), ("matmul", "nt tiled 32x32x16 of 4x4 transposed +vec4"));
//! let names: Vec<String> = product.bindings().into_iter().map(|b| b.name).collect();
//! assert_eq!(names, ["a", "b", "out0"]);
//! assert_eq!(product.launch().workgroups, [13, 4, 1]); // tiles of 32 x 32 over 400 columns and 128 rows
//! assert_eq!(product.cost().bytes, 4.0 * (128 * 784 + 400 * 784 + 128 * 400) as f64);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub mod adam;
pub(crate) mod advance;
pub mod attention;
mod binding;
pub mod camera;
pub mod camera_rays;
pub mod cast;
pub(crate) mod ceiling;
pub(crate) mod commit;
pub mod composite;
pub mod concat;
pub mod conv2d;
pub mod devices;
pub(crate) mod divide;
pub mod ema;
pub mod expression;
pub mod frequency_encode;
pub mod functions;
pub mod gather;
pub mod group_norm;
pub(crate) mod guard;
pub mod hash_encoding;
pub mod map;
pub mod march;
pub mod marching_cubes;
pub mod matmul;
pub mod occupancy;
pub mod philox;
pub mod pool;
pub mod predict_x0;
pub mod present;
pub mod q_sample;
pub mod quantile;
pub mod ray_budget;
pub mod ray_of;
pub mod rearrange;
pub mod reduce;
pub mod reparameterize;
pub mod resize;
pub mod reverse_step;
pub mod rmsprop;
pub mod sample_pdf;
pub mod scan;
pub mod scatter_add;
pub mod sgd;
pub mod spherical_harmonics;
pub mod timestep_embedding;
pub mod top_k;
pub mod wgsl;

pub(crate) use binding::wgsl_bindings;
pub use binding::{Access, Binding, Texel, bytes_of};

/// The largest number of workgroups in one dimension that every device grants.
pub(crate) const MAX_WORKGROUPS: u32 = 65_535;

/// What a device can do, as plain numbers: all that the choice of a variant may look at.
///
/// As JSON a field that is absent is the portable one:
///
/// ```
/// use wgen::kernels::Caps;
///
/// let caps: Caps = serde_json::from_str(r#"{"vendor": 4318, "subgroup_min_size": 32, "subgroup_max_size": 32}"#).unwrap();
/// assert_eq!((caps.subgroup_min_size, caps.workgroup_bytes), (32, Caps::portable().workgroup_bytes));
/// assert!(serde_json::from_str::<Caps>(r#"{"vendors": 1}"#).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default = "Caps::portable", deny_unknown_fields)]
pub struct Caps {
    /// A CPU pretending to be a GPU: variants are chosen for its compiler, and never tuned.
    pub software: bool,
    /// Who made the device: its PCI vendor id, or what Vulkan and wgpu have in its place; 0 where nobody says. First choices of variants look
    /// at it, and take the portable one where they do not know it.
    pub vendor: u32,
    /// The smallest subgroup, 0 where shaders have no subgroup operations.
    pub subgroup_min_size: u32,
    /// The largest subgroup, 0 likewise.
    pub subgroup_max_size: u32,
    /// `max_storage_buffers_per_shader_stage`.
    pub storage_buffers: u32,
    /// `max_storage_buffer_binding_size`.
    pub binding_bytes: u64,
    /// `max_buffer_size`.
    pub buffer_bytes: u64,
    /// `max_compute_invocations_per_workgroup`.
    pub invocations: u32,
    /// `max_compute_workgroup_storage_size`.
    pub workgroup_bytes: u32,
    /// `max_compute_workgroups_per_dimension`.
    pub workgroups: u32,
    /// `min_storage_buffer_offset_alignment`, at least 256 in our layouts.
    pub offset_alignment: u32,
    /// Whether buffers may hold f16.
    pub f16: bool,
    /// Side of the square blocks that its matrix units multiply (cooperative matrices), f16 with sums in f32; 0 where shaders have none.
    pub matrix_units: u32,
    /// Whether products may round their operands to f16, so that matrix units take them. No device says so: a plan asks for it.
    pub half_products: bool,
}

impl Caps {
    /// The floor that WebGPU guarantees: `Limits::default()`, no subgroups. Whatever is chosen for it runs everywhere.
    pub const fn portable() -> Self {
        Self {
            software: false,
            vendor: 0,
            subgroup_min_size: 0,
            subgroup_max_size: 0,
            storage_buffers: 8,
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            invocations: 256,
            workgroup_bytes: 16 << 10,
            workgroups: MAX_WORKGROUPS,
            offset_alignment: 256,
            f16: false,
            matrix_units: 0,
            half_products: false,
        }
    }

    /// The same device without its subgroup operations.
    pub(crate) fn without_subgroups(&self) -> Self {
        Self {
            subgroup_min_size: 0,
            subgroup_max_size: 0,
            ..self.clone()
        }
    }
}

/// How a grid of workgroups may be cut into several dispatches, none of which takes too long. What a dispatch begins with is a word of
/// [`Launch::params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Grid {
    /// Not at all.
    Whole,
    /// A line, which may also be folded into x and y in any way that covers it: see [`fold`].
    Line {
        /// The word that is the number of the first workgroup.
        first: usize,
    },
    /// Along y or z.
    Box {
        /// The word that is the first workgroup along y.
        first_y: usize,
        /// The word that is the first workgroup along z.
        first_z: usize,
    },
}

/// Everything that a device needs to run a kernel once.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The stem of the template in `shaders/`.
    pub template: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// Variables of the template.
    pub context: serde_json::Value,
    /// `override` constants of the pipeline.
    pub constants: Vec<(&'static str, f64)>,
    /// Words of the uniform buffer, which is bound after the storage buffers. Padded to 16 bytes on the device.
    pub params: Vec<u32>,
    /// Workgroups in x, y, z. A zero means that there is nothing to do.
    pub workgroups: [u32; 3],
    /// How the grid may be cut.
    pub grid: Grid,
    /// Whether the source uses subgroup operations.
    pub subgroups: bool,
}

impl Launch {
    /// Whether the source uses f16.
    pub fn is_half(&self) -> bool {
        self.context["half"] == true || self.is_cooperative()
    }

    /// Whether the source uses cooperative matrices.
    pub fn is_cooperative(&self) -> bool {
        self.context["variant"] == "cooperative"
    }
}

/// Work that a kernel must do, whatever its variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Floating point operations.
    pub flops: f64,
    /// Bytes that must cross the memory bus at least once.
    pub bytes: f64,
}

/// A plain-data descriptor of one WGSL template.
pub trait Kernel: Debug + Send + Sync {
    /// The stem: of the shader, of the descriptor's file and of the twin's.
    fn family(&self) -> &'static str;
    /// Which of the family's variants, for `explain` and for tuning.
    fn variant(&self) -> String;
    /// The storage buffers in order.
    fn bindings(&self) -> Vec<Binding>;
    /// What to dispatch.
    fn launch(&self) -> Launch;
    /// Flops and bytes.
    fn cost(&self) -> Cost;
}

/// Workgroups for a one-dimensional grid, folded into y above the limit of one dimension.
///
/// Kernels compute their index as `(id.y * groups.x * WORKGROUP) + id.x` and check it against their count.
pub fn fold(groups: u64) -> [u32; 3] {
    let limit = u64::from(MAX_WORKGROUPS);
    if groups <= limit {
        [groups as u32, 1, 1]
    } else {
        [limit as u32, groups.div_ceil(limit) as u32, 1]
    }
}

/// Invocations a workgroup of kernels that move elements.
pub(crate) const MOVERS: usize = 256;

/// How many units each of their invocations takes, a workgroup apart from each other: four where there is work enough, so that several
/// loads are under way and what is computed once an invocation counts less.
pub(crate) fn per_thread(units: usize) -> usize {
    if units >= 1 << 14 { 4 } else { 1 }
}

/// The launch of a kernel that moves `units`: `params` are the words before its word `first`, which is the first workgroup's number.
/// The template includes `shared/moving.wgsl`.
pub(crate) fn moving_launch(
    template: &'static str,
    entry: &'static str,
    units: usize,
    mut context: serde_json::Value,
    (params, first): (Vec<u32>, usize),
) -> Launch {
    let each = per_thread(units);
    merge(
        &mut context,
        serde_json::json!({"entry": entry, "per_thread": each}),
    );
    Launch {
        template,
        entry,
        context,
        constants: vec![("WORKGROUP", MOVERS as f64)],
        params,
        workgroups: fold(units.div_ceil(MOVERS * each) as u64),
        grid: Grid::Line { first },
        subgroups: false,
    }
}

/// The launch of an update kernel over a flat segment of `count` floats, four a unit; `more` follows the units in its parameters.
pub(crate) fn flat_launch(template: &'static str, count: usize, more: &[u32]) -> Launch {
    let units = count / 4;
    let mut params = vec![units as u32];
    params.extend(more);
    let first = params.len();
    params.push(0);
    Launch {
        template,
        entry: template,
        context: serde_json::json!({}),
        constants: vec![("WORKGROUP", 256.0)],
        params,
        workgroups: fold(units.div_ceil(256) as u64),
        grid: Grid::Line { first },
        subgroups: false,
    }
}

/// Refuses a grid that no device can run.
pub(crate) fn check_grid(op: &str, workgroups: [u32; 3]) -> Result<()> {
    match workgroups.iter().find(|&&n| n > MAX_WORKGROUPS) {
        None => Ok(()),
        Some(&n) => Err(Error::Limit {
            what: op.to_owned(),
            needed: u64::from(n),
            limit_name: "max_compute_workgroups_per_dimension",
            limit: u64::from(MAX_WORKGROUPS),
            hint: "lower the batch or the model's sizes".to_owned(),
        }),
    }
}

/// Words of the `state` buffer that a plan keeps on the device: see [`state`].
pub const STATE_WORDS: usize = 8;

/// Floats of the `control` buffer: the gradient's factor, whether the step was refused, the gradient's norm, unused.
pub const CONTROL_FLOATS: usize = 4;

/// Columns of the schedule's table: see [`schedule`].
pub const SCHEDULE_COLUMNS: usize = 8;

/// Rows of the schedule's table on the device; the host refills it ahead of the steps.
pub const TABLE_ROWS: usize = 1024;

/// Rows of the ring of the steps' figures.
pub const RING_ROWS: usize = 1024;

/// Columns of that ring: metrics from 0, gradient norm in 6, verdict in 7.
pub const RING_COLUMNS: usize = 8;

/// Columns of the schedule's table.
pub mod schedule {
    /// Learning rate.
    pub const LEARNING_RATE: usize = 0;
    /// 1 / (1 - beta1^t).
    pub const BIAS1: usize = 1;
    /// 1 / sqrt(1 - beta2^t).
    pub const BIAS2: usize = 2;
    /// 1 - decay of the moving average.
    pub const EMA_RATE: usize = 3;
    /// The model's own, for instance the weight of the KL term.
    pub const MODEL: usize = 4;
    /// What the loss is multiplied by before it is differentiated, and its gradients divided by: 1 but with f16.
    pub const LOSS_SCALE: usize = 5;
}

/// Where things lie in the `state` buffer.
pub mod state {
    /// Low word of the step counter.
    pub const STEP_LOW: usize = 0;
    /// High word of the step counter.
    pub const STEP_HIGH: usize = 1;
    /// Low word of the seed: Philox's key.
    pub const SEED_LOW: usize = 2;
    /// High word of the seed.
    pub const SEED_HIGH: usize = 3;
    /// The first example of the batch: position in the list of indices, or in a data set that is evaluated in order.
    pub const CURSOR: usize = 4;
    /// Not 0 once a step was refused; then nothing is updated until the host clears it.
    pub const HALTED: usize = 5;
}

/// The decimal that an f32 constant was meant to be: 0.9, not the f32 nearest to it.
pub fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// 1 - x for the decimal x, rounded once: 1 - 0.999 in f32 alone errs by 1.3e-5, which a hundred Adam steps show.
pub fn one_minus(x: f32) -> f32 {
    (1.0 - decimal(x)) as f32
}

/// Adds the fields of `more` to a template's context.
pub(crate) fn merge(context: &mut serde_json::Value, more: serde_json::Value) {
    if let (Some(into), serde_json::Value::Object(fields)) = (context.as_object_mut(), more) {
        into.extend(fields);
    }
}

/// Pads a uniform buffer whose `groups` array starts at word `fixed` to at least one group.
pub(crate) fn pad_groups(mut params: Vec<u32>, fixed: usize) -> Vec<u32> {
    params.resize(params.len().max(fixed + 4), 0);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_grids_fold_into_two_dimensions() {
        assert_eq!(fold(10), [10, 1, 1]);
        let [x, y, _] = fold(10_000_000);
        assert!(x <= MAX_WORKGROUPS && y <= MAX_WORKGROUPS);
        assert!(u64::from(x) * u64::from(y) >= 10_000_000);
    }
}
