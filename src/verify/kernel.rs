//! One kernel against its twin, in memory that is poisoned and guarded.

use std::ops::Range;

use super::cases::Case;
use super::compare::Comparison;
use super::lengths;
use crate::error::{Error, Result};
use crate::gpu::{BufferSlice, Gpu, Resource};
use crate::kernels::{Access, Binding, Cost, Grid, Kernel, Launch};
use crate::plan::POISON;
use crate::real::{Precision, Real, Tracked};
use crate::reference::Twin;
use crate::tensor::{DType, Data, Shape};

/// Bytes of guard on both sides of every buffer of a case.
const GUARD: u64 = 256;

/// Runs `kernel` on the GPU over `inputs`, one host array a binding (written ones: what they hold before, or empty), and compares
/// every written array with the CPU twin's.
///
/// # Errors
/// When inputs are not the bindings', or the kernel cannot be made or run. A difference is no error but a [`Comparison`] that did not
/// pass.
pub fn kernel(gpu: &Gpu, kernel: &dyn Twin, inputs: &[Data]) -> Result<Comparison> {
    Trial::of_twin(gpu, kernel, inputs)?.run(kernel, 1, Fill::Poison)
}

/// What a kernel's twin makes of its inputs, an array a binding; of what is only read there is none.
pub(super) fn expected(kernel: &dyn Twin, inputs: &[Data]) -> Result<Vec<Data>> {
    let bindings = kernel.bindings();
    check(kernel.family(), &bindings, inputs)?;
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
    for (binding, expected) in bindings.iter().zip(&mut expected) {
        if binding.access == Access::Read {
            *expected = Data::U8(Vec::new());
        }
    }
    Ok(expected)
}

/// A kernel's inputs, and what it must make of them.
pub(super) struct Trial<'a> {
    pub(super) gpu: &'a Gpu,
    /// One a binding; what is only written has any.
    pub(super) inputs: &'a [Data],
    /// One a binding; of what is only read nothing is asked.
    pub(super) expected: Vec<Data>,
    /// Of each binding, where there are any: how its places are named.
    pub(super) shapes: &'a [Shape],
    /// See [`Comparison`].
    pub(super) strict: bool,
}

impl<'a> Trial<'a> {
    /// What a kernel's twin says.
    fn of_twin(gpu: &'a Gpu, kernel: &dyn Twin, inputs: &'a [Data]) -> Result<Self> {
        Ok(Self {
            gpu,
            inputs,
            expected: expected(kernel, inputs)?,
            shapes: &[],
            strict: false,
        })
    }

    /// Runs the kernel as it is, and if it was right then, in memory that holds other things, cut into three and folded, where its grid
    /// may be.
    pub(super) fn all_grids(&self, kernel: &dyn Kernel) -> Result<Comparison> {
        let mut comparison = self.run(kernel, 1, Fill::Poison)?;
        if comparison.passed() {
            // A NaN that is read is lost in `max(NaN, x)`, and where a compiler takes `0 x` for 0.
            comparison.merge(
                "memory filled with numbers",
                self.run(kernel, 1, Fill::Numbers)?,
            );
        }
        let launch = kernel.launch();
        check_grid(kernel.family(), &launch)?;
        let groups: u64 = launch.workgroups.map(u64::from).iter().product();
        if comparison.passed() && launch.grid != Grid::Whole && groups > 1 {
            // Three parts: some begin in the middle of the grid, and the last is shorter.
            comparison.merge("grid cut in three", self.run(kernel, 3, Fill::Poison)?);
        }
        let line = matches!(launch.grid, Grid::Line { .. });
        if comparison.passed() && line && launch.workgroups[0] > 1 && launch.workgroups[1] == 1 {
            comparison.merge("grid folded", self.run(&Refolded(kernel), 1, Fill::Poison)?);
        }
        Ok(comparison)
    }

    /// Runs the kernel in memory that is filled and guarded, its grid cut into up to `parts` dispatches, and compares.
    fn run(&self, kernel: &dyn Kernel, parts: usize, fill: Fill) -> Result<Comparison> {
        let gpu = self.gpu;
        let bindings = kernel.bindings();
        let measured = lengths::asked(gpu, kernel)?;
        let mut slices = Vec::new();
        let mut buffers = Vec::new();
        let mut textures = Vec::new();
        for (i, (binding, input)) in bindings.iter().zip(self.inputs).enumerate() {
            if let Access::Texture {
                texel,
                width,
                height,
            } = binding.access
            {
                let texture = gpu.create_texture(&binding.name, width, height, texel)?;
                textures.push((i, texel, [width, height], texture.clone()));
                slices.push(Resource::Texture(texture));
                buffers.push((gpu.create_buffer("unused", 16)?, Vec::new()));
                continue;
            }
            let size = binding.bytes().max(16).next_multiple_of(16);
            let buffer = gpu.create_buffer(&binding.name, size + 2 * GUARD)?;
            let words = guarded(binding, i, input, buffer.size() as usize / 4, fill);
            gpu.write(&(&buffer).into(), bytemuck::cast_slice(&words))?;
            // The guard behind the tensor is bound with it: a kernel that does not keep to its count reads or writes poison. One that asks
            // for the array's length is told its own.
            let bound = if measured.contains(&(i as u32)) {
                binding.bytes().max(4)
            } else {
                size + GUARD
            };
            slices.push(Resource::Buffer(BufferSlice {
                buffer: buffer.clone(),
                offset: GUARD,
                size: bound,
            }));
            buffers.push((buffer, words));
        }
        for part in gpu.bind_parts(kernel, &slices, parts)? {
            gpu.dispatch(&part);
        }
        let read: Vec<BufferSlice> = buffers.iter().map(|(b, _)| b.into()).collect();
        let after = gpu.read(&read)?;

        let mut comparison = Comparison {
            strict: self.strict,
            ..Comparison::default()
        };
        for (i, texel, [width, height], texture) in &textures {
            let got = Data::F32(texel.decode(&gpu.read_texture(texture)?));
            let expected = Tracked::of(&self.expected[*i]).iter();
            let stored = Data::Tracked(expected.map(|&e| texel.stored(e)).collect());
            let shape = [*height as usize, *width as usize, 4].into();
            comparison.tensor(&bindings[*i].name, &shape, &got, &stored);
        }
        for (i, (before, after)) in buffers.iter().map(|(_, b)| b).zip(&after).enumerate() {
            let before: &[u8] = bytemuck::cast_slice(before);
            self.compare(&mut comparison, &bindings[i], i, before, after);
        }
        Ok(comparison)
    }

    /// Compares buffer number `i` with its guards.
    fn compare(
        &self,
        comparison: &mut Comparison,
        binding: &Binding,
        i: usize,
        before: &[u8],
        after: &[u8],
    ) {
        let name = &binding.name;
        match binding.access {
            Access::Texture { .. } => return,
            Access::Read => {
                return comparison.require(after == before, || {
                    format!("'{name}' is only read, and changed")
                });
            }
            Access::Write | Access::ReadWrite | Access::Atomic => {}
        }
        let (start, end) = (GUARD as usize, GUARD as usize + binding.bytes() as usize);
        let outside = after[..start] == before[..start] && after[end..] == before[end..];
        comparison.require(outside, || {
            let bytes = |range: Range<usize>| {
                let (before, after) = (before[range.clone()].iter(), after[range].iter());
                before.zip(after).filter(|(b, a)| a != b).count()
            };
            let (behind, ahead) = (bytes(end..before.len()), bytes(0..start));
            format!(
                "wrote outside of '{name}': {behind} bytes behind its end, {ahead} before its begin"
            )
        });
        let got = Data::from_device_bytes(binding.dtype, binding.count, &after[start..end]);
        match self.shapes.get(i) {
            Some(shape) => comparison.tensor(name, shape, &got, &self.expected[i]),
            None => comparison.array(name, &got, &self.expected[i]),
        }
    }
}

/// Whether the words that a cut grid begins with are there.
fn check_grid(family: &str, launch: &Launch) -> Result<()> {
    let words: &[usize] = match &launch.grid {
        Grid::Whole => &[],
        Grid::Line { first } => &[*first],
        Grid::Box { first_y, first_z } => &[*first_y, *first_z],
    };
    let given = launch.params.len();
    match words.iter().find(|&&word| word >= given) {
        None => Ok(()),
        Some(word) => Err(Error::Usage(format!(
            "{family}: its grid begins at word {word} of its `params`, of which there are {given}"
        ))),
    }
}

/// Whether arrays are those of the bindings that are read.
fn check(family: &str, bindings: &[Binding], inputs: &[Data]) -> Result<()> {
    if inputs.len() != bindings.len() {
        let (wanted, got) = (bindings.len(), inputs.len());
        return Err(Error::Usage(format!(
            "{family} has {wanted} bindings, got {got} inputs"
        )));
    }
    let read = bindings
        .iter()
        .zip(inputs)
        .filter(|(b, _)| b.access.reads());
    read.into_iter()
        .try_for_each(|(binding, input)| fits(family, binding, input))
}

/// Whether an array is what a binding holds.
pub(super) fn fits(family: &str, binding: &Binding, input: &Data) -> Result<()> {
    let name = &binding.name;
    let (wanted, got) = (binding.count, input.len());
    if wanted != got {
        return Err(Error::Usage(format!(
            "{family}: '{name}' has {wanted} elements, its input {got}"
        )));
    }
    let same = match binding.dtype {
        DType::F32 | DType::F16 => matches!(input, Data::F32(_) | Data::F64(_) | Data::Tracked(_)),
        DType::U32 => matches!(input, Data::U32(_)),
        DType::U8 => matches!(input, Data::U8(_)),
    };
    if !same {
        let dtype = binding.dtype.name();
        return Err(Error::Usage(format!(
            "{family}: '{name}' is of {dtype}, its input is not"
        )));
    }
    Ok(())
}

/// What a buffer that is only written holds before.
#[derive(Clone, Copy)]
enum Fill {
    /// A NaN that nobody computes.
    Poison,
    /// Large numbers of either sign; integers of all bits but one.
    Numbers,
}

impl Fill {
    fn word(self, dtype: DType, i: usize) -> u32 {
        match (self, dtype) {
            (Self::Poison, _) => POISON,
            // 1e30, and -1e30.
            (Self::Numbers, DType::F32) => 0x7149_f2ca | (i as u32 & 1) << 31,
            // 3e4 twice, one of them negative: f16.
            (Self::Numbers, DType::F16) => 0x7753_f753,
            (Self::Numbers, DType::U32 | DType::U8) => 0xfffe_ffff,
        }
    }
}

/// What buffer number `position` holds before the kernel runs: `count` words, guards around the input, or around `fill` where the kernel
/// writes alone.
fn guarded(binding: &Binding, position: usize, input: &Data, count: usize, fill: Fill) -> Vec<u32> {
    let mut words: Vec<u32> = (0..count).map(|i| fill.word(binding.dtype, i)).collect();
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
struct Refolded<'a>(&'a dyn Kernel);

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

/// Runs one case, also with its grid folded where that may happen. A shader that the driver refuses is a failure of the case; a lost device is an error.
///
/// # Errors
/// When the device is lost or memory exhausted.
pub fn run(gpu: &Gpu, case: &Case) -> Result<Comparison> {
    let inputs = case.inputs();
    let kernel = case.kernel.as_ref();
    match Trial::of_twin(gpu, kernel, &inputs).and_then(|trial| trial.all_grids(kernel)) {
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
