//! One kernel against its twin, in memory that is poisoned and guarded.

use super::cases::Case;
use super::compare::Comparison;
use crate::error::{Error, Result};
use crate::gpu::{BufferSlice, Gpu, Resource};
use crate::kernels::{Access, Binding, Cost, Grid, Kernel, Launch};
use crate::plan::POISON;
use crate::real::{Precision, Real, Tracked};
use crate::reference::Twin;
use crate::tensor::{DType, Data};

/// Bytes of guard on both sides of every buffer of a case.
const GUARD: u64 = 256;

/// Runs `kernel` on the GPU over `inputs`, one host array a binding (written ones: what they hold before, or empty), and compares
/// every written array with the CPU twin's.
///
/// # Errors
/// When the kernel cannot be made or run. A difference is no error but a [`Comparison`] that did not pass.
pub fn kernel(gpu: &Gpu, kernel: &dyn Twin, inputs: &[Data]) -> Result<Comparison> {
    in_parts(gpu, kernel, inputs, 1)
}

/// As [`kernel`], its grid cut into up to `parts` dispatches.
fn in_parts(gpu: &Gpu, kernel: &dyn Twin, inputs: &[Data], parts: usize) -> Result<Comparison> {
    let bindings = kernel.bindings();
    if inputs.len() != bindings.len() {
        return Err(Error::Usage(format!(
            "{} has {} bindings, got {}",
            kernel.family(),
            bindings.len(),
            inputs.len()
        )));
    }
    let mut slices = Vec::new();
    let mut buffers = Vec::new();
    let mut textures = Vec::new();
    for (binding, input) in bindings.iter().zip(inputs) {
        if let Access::Texture {
            texel,
            width,
            height,
        } = binding.access
        {
            let texture = gpu.create_texture(&binding.name, width, height, texel)?;
            textures.push((slices.len(), texel, texture.clone()));
            slices.push(Resource::Texture(texture));
            buffers.push((gpu.create_buffer("unused", 16)?, Vec::new()));
            continue;
        }
        let size = binding.bytes().max(16).next_multiple_of(16);
        let buffer = gpu.create_buffer(&binding.name, size + 2 * GUARD)?;
        let words = guarded(binding, slices.len(), input, buffer.size() as usize / 4);
        gpu.write(&(&buffer).into(), bytemuck::cast_slice(&words))?;
        // The guard behind the tensor is bound with it: a kernel that does not keep to its count reads or writes poison.
        slices.push(Resource::Buffer(BufferSlice {
            buffer: buffer.clone(),
            offset: GUARD,
            size: size + GUARD,
        }));
        buffers.push((buffer, words));
    }
    for part in gpu.bind_parts(kernel, &slices, parts)? {
        gpu.dispatch(&part);
    }
    let read: Vec<BufferSlice> = buffers.iter().map(|(b, _)| b.into()).collect();
    let after = gpu.read(&read)?;

    let mut expected: Vec<Data> = bindings
        .iter()
        .zip(inputs)
        .map(|(b, input)| match b.access {
            Access::Write | Access::Texture { .. } => {
                Data::zeros(b.dtype, Precision::Tracked, b.count)
            }
            _ => input.clone().in_precision(Precision::Tracked),
        })
        .collect();
    kernel.reference(&mut expected);
    let mut comparison = Comparison::default();
    for (position, texel, texture) in &textures {
        let got = Data::F32(texel.decode(&gpu.read_texture(texture)?));
        let stored = Tracked::of(&expected[*position])
            .iter()
            .map(|e| {
                let (value, error) = texel.stored(e.to_f64());
                Tracked::with_bias(value, e.tolerance() + error)
            })
            .collect();
        comparison.array(&bindings[*position].name, &got, &Data::Tracked(stored));
    }
    for (((binding, expected), after), (_, before)) in
        bindings.iter().zip(&expected).zip(&after).zip(&buffers)
    {
        if matches!(binding.access, Access::Texture { .. }) {
            continue;
        }
        let before: &[u8] = bytemuck::cast_slice(before);
        if binding.access == Access::Read {
            comparison.require(after == before, || {
                format!("'{}' is only read, and changed", binding.name)
            });
            continue;
        }
        let (start, end) = (GUARD as usize, GUARD as usize + binding.bytes() as usize);
        let outside = after[..start] == before[..start] && after[end..] == before[end..];
        comparison.require(outside, || format!("wrote outside of '{}'", binding.name));
        let got = Data::from_device_bytes(binding.dtype, binding.count, &after[start..end]);
        comparison.array(&binding.name, &got, expected);
    }
    Ok(comparison)
}

/// What buffer number `position` holds before the kernel runs: `count` words, guards around the input, or around poison where the kernel
/// writes alone.
fn guarded(binding: &Binding, position: usize, input: &Data, count: usize) -> Vec<u32> {
    let mut words = vec![POISON; count];
    let start = GUARD as usize / 4;
    let end = (GUARD + binding.bytes()) as usize / 4;
    for (i, word) in words
        .iter_mut()
        .enumerate()
        .filter(|(i, _)| *i < start || *i >= end)
    {
        *word = guard_word(binding.dtype, position, i);
    }
    if binding.access != Access::Write {
        let bytes = input.to_device_bytes_as(binding.dtype);
        for (word, b) in words[start..].iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
    }
    words
}

/// What stands around buffer number `buffer`: large finite floats, all different, so that neither arithmetic nor a copy keeps them;
/// around integers small ones, which an index or a comparison would take for real.
fn guard_word(dtype: DType, buffer: usize, position: usize) -> u32 {
    if dtype == DType::U32 {
        return (position + 13 * buffer) as u32 % 47;
    }
    0x4900_0000 | (buffer as u32 & 0x7f) << 16 | (position as u32).wrapping_mul(7919) & 0xffff
}

/// A kernel whose line of workgroups is folded into x and y, as it would be above the limit of one dimension.
#[derive(Debug)]
struct Refolded<'a>(&'a dyn Twin);

impl Kernel for Refolded<'_> {
    fn family(&self) -> &'static str {
        self.0.family()
    }

    fn variant(&self) -> String {
        self.0.variant()
    }

    fn bindings(&self) -> Vec<Binding> {
        self.0.bindings()
    }

    fn launch(&self) -> Launch {
        let launch = self.0.launch();
        let groups = launch.workgroups[0];
        // Two rows: more workgroups than before where their number is odd, so that some have nothing to do.
        let x = groups.div_ceil(2);
        Launch {
            workgroups: [x, 2, 1],
            ..launch
        }
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }
}

impl Twin for Refolded<'_> {
    fn reference(&self, buffers: &mut [Data]) {
        self.0.reference(buffers);
    }
}

/// Runs one case, also with its grid folded where that may happen. A shader that the driver refuses is a failure of the case; a lost device is an error.
///
/// # Errors
/// When the device is lost or memory exhausted.
pub fn run(gpu: &Gpu, case: &Case) -> Result<Comparison> {
    let both = || {
        let mut comparison = kernel(gpu, case.kernel.as_ref(), &case.inputs)?;
        let launch = case.kernel.launch();
        let groups: u32 = launch.workgroups.iter().product();
        if launch.grid != Grid::Whole && groups > 1 {
            // Three parts: some begin in the middle of the grid, and the last is shorter.
            let cut = in_parts(gpu, case.kernel.as_ref(), &case.inputs, 3)?;
            comparison.merge("grid cut in three", cut);
        }
        let line = matches!(launch.grid, Grid::Line { .. });
        if line && launch.workgroups[0] > 1 && launch.workgroups[1] == 1 {
            comparison.merge(
                "grid folded",
                kernel(gpu, &Refolded(case.kernel.as_ref()), &case.inputs)?,
            );
        }
        Ok(comparison)
    };
    match both() {
        Err(Error::Shader { name, message }) => {
            let mut comparison = Comparison {
                worst_of_tolerance: f64::INFINITY,
                ..Comparison::default()
            };
            comparison.require(false, || format!("shader {name}: {message}"));
            Ok(comparison)
        }
        other => other,
    }
}
