//! Loads, stores and samples of textures.

use naga::{AtomicFunction, StorageFormat};

use super::super::code::{NONE, Num, Place, Reg, Texel};
use super::super::finding::Kind;
use super::access::change;
use super::lane::Context;
use super::memory::Word;
use super::{Image, NEVER};

/// What a format makes of a number.
#[derive(Clone, Copy, Debug)]
enum Stored {
    AsIs,
    /// In [0, 1], in so many steps.
    Unorm(f32),
    /// In [-1, 1], in so many steps.
    Snorm(f32),
    Half,
    Uint(u32),
    Sint(i32),
}

/// The channels of a format, and what each holds.
fn stored_as(format: StorageFormat) -> (u32, Stored) {
    use StorageFormat as F;
    match format {
        F::R8Unorm => (1, Stored::Unorm(255.0)),
        F::R8Snorm => (1, Stored::Snorm(127.0)),
        F::R8Uint => (1, Stored::Uint(255)),
        F::R8Sint => (1, Stored::Sint(127)),
        F::R16Uint => (1, Stored::Uint(65_535)),
        F::R16Sint => (1, Stored::Sint(32_767)),
        F::R16Float => (1, Stored::Half),
        F::R16Unorm => (1, Stored::Unorm(65_535.0)),
        F::R16Snorm => (1, Stored::Snorm(32_767.0)),
        F::R32Uint | F::R32Sint | F::R32Float | F::R64Uint => (1, Stored::AsIs),
        F::Rg8Unorm => (2, Stored::Unorm(255.0)),
        F::Rg8Snorm => (2, Stored::Snorm(127.0)),
        F::Rg8Uint => (2, Stored::Uint(255)),
        F::Rg8Sint => (2, Stored::Sint(127)),
        F::Rg16Uint => (2, Stored::Uint(65_535)),
        F::Rg16Sint => (2, Stored::Sint(32_767)),
        F::Rg16Float => (2, Stored::Half),
        F::Rg16Unorm => (2, Stored::Unorm(65_535.0)),
        F::Rg16Snorm => (2, Stored::Snorm(32_767.0)),
        F::Rg32Uint | F::Rg32Sint | F::Rg32Float => (2, Stored::AsIs),
        F::Rgba8Unorm | F::Bgra8Unorm => (4, Stored::Unorm(255.0)),
        F::Rgba8Snorm => (4, Stored::Snorm(127.0)),
        F::Rgba8Uint => (4, Stored::Uint(255)),
        F::Rgba8Sint => (4, Stored::Sint(127)),
        F::Rgb10a2Uint => (4, Stored::Uint(1023)),
        F::Rgb10a2Unorm => (4, Stored::Unorm(1023.0)),
        // Eleven bits have no sign and less precision than f16: not rounded.
        F::Rg11b10Ufloat => (3, Stored::AsIs),
        F::Rgba16Uint => (4, Stored::Uint(65_535)),
        F::Rgba16Sint => (4, Stored::Sint(32_767)),
        F::Rgba16Float => (4, Stored::Half),
        F::Rgba16Unorm => (4, Stored::Unorm(65_535.0)),
        F::Rgba16Snorm => (4, Stored::Snorm(32_767.0)),
        F::Rgba32Uint | F::Rgba32Sint | F::Rgba32Float => (4, Stored::AsIs),
    }
}

impl Stored {
    fn round(self, bits: u32) -> u32 {
        let x = f32::from_bits(bits);
        match self {
            Self::AsIs => bits,
            Self::Unorm(steps) => ((x.clamp(0.0, 1.0) * steps).round() / steps).to_bits(),
            Self::Snorm(steps) => ((x.clamp(-1.0, 1.0) * steps).round() / steps).to_bits(),
            Self::Half => half::f16::from_f32(x).to_f32().to_bits(),
            Self::Uint(most) => bits.min(most),
            Self::Sint(most) => (bits as i32).clamp(-most - 1, most) as u32,
        }
    }
}

impl Context<'_> {
    fn number(&self, variable: u32) -> usize {
        match self.code.variables[variable as usize].place {
            Place::Image(i) => i as usize,
            _ => unreachable!("what is sampled is an image"),
        }
    }

    pub(super) fn image(&self, variable: u32) -> &Image {
        &self.images[self.number(variable)]
    }

    fn coordinate(&self, texel: &Texel) -> [i64; 3] {
        let mut at = [0; 3];
        for (i, x) in (0..texel.dimensions).zip(&mut at) {
            let bits = self.get(texel.coordinate + i).bits;
            *x = if texel.signed {
                i64::from(bits as i32)
            } else {
                i64::from(bits)
            };
        }
        at
    }

    fn whole(&self, at: Reg) -> i64 {
        match at {
            NONE => 0,
            at => i64::from(self.get(at).bits as i32),
        }
    }

    /// The byte of a texel; where there is none, that is a finding.
    fn texel(&mut self, texel: &Texel) -> Option<u32> {
        for i in 0..texel.dimensions {
            let from = self.get(texel.coordinate + i).from;
            if from != 0 {
                self.matters(from, "and is taken for a texel's place");
            }
        }
        let (at, layer, level) = (
            self.coordinate(texel),
            self.whole(texel.layer),
            self.whole(texel.level),
        );
        let image = self.image(texel.image);
        let byte = image.byte(at, layer, level);
        if byte.is_none() {
            let (op, who, size) = (self.op, self.who(), image.size);
            let name = &self.code.variables[texel.image as usize].name;
            let [x, y, z] = at;
            self.log.add(Kind::OutOfBounds, op, None, |_| {
                let [w, h, d] = size;
                format!("{who} takes texel ({x}, {y}, {z}) of '{name}', which is {w} x {h} x {d}")
            });
        }
        byte
    }

    pub(super) fn image_load(&mut self, to: Reg, texel: &Texel, n: u32) -> bool {
        let Some(byte) = self.texel(texel) else {
            self.frame[to as usize..][..n as usize].fill(Word::sound(0));
            return false;
        };
        self.counts.texels_loaded += 1;
        let who = self.marked(self.epochs.texture);
        let number = self.number(texel.image);
        let memory = &mut self.images[number].texels;
        let conflict = memory.reads(byte, 4, &who);
        let shared = memory.is_shared();
        if let Some(conflict) = conflict {
            self.texel_race(Kind::Race, conflict.other.op, "reads", texel.image);
        }
        let words = self.images[number].get(byte);
        for (i, word) in (0..n).zip(words) {
            let name = &self.code.variables[texel.image as usize].name;
            let word = self.unwritten(word, || format!("a texel of '{name}'"));
            self.put(to + i, word);
        }
        shared
    }

    pub(super) fn image_store(&mut self, texel: &Texel, from: Reg, n: u32, num: Num) {
        let Some(byte) = self.texel(texel) else {
            return;
        };
        self.counts.texels_stored += 1;
        let who = self.marked(self.epochs.texture);
        let number = self.number(texel.image);
        let conflict = self.images[number].texels.writes(byte, 4, &who);
        let before = self.images[number].get(byte);
        let last = if num.is_float() { 1_f32.to_bits() } else { 1 };
        let format = self.code.variables[texel.image as usize].format;
        let (channels, stored) = format.map_or((4, Stored::AsIs), stored_as);
        for i in 0..4 {
            let mut word = match i {
                i if i < n && i < channels => self.get(from + i),
                3 => Word::sound(last),
                _ => Word::sound(0),
            };
            word.bits = stored.round(word.bits);
            self.images[number].texels.set(byte + 4 * i, 4, word);
        }
        if let Some(conflict) = conflict {
            let after = self.images[number].get(byte);
            let same = before.map(|w| w.bits) == after.map(|w| w.bits);
            let kind = if same && conflict.wrote {
                Kind::RaceOfEquals
            } else {
                Kind::Race
            };
            self.texel_race(kind, conflict.other.op, "writes", texel.image);
        }
    }

    fn texel_race(&mut self, kind: Kind, other: u32, does: &str, variable: u32) {
        let (op, who) = (self.op, self.who());
        let name = &self.code.variables[variable as usize].name;
        self.log.add(kind, op, Some(other), |lines| {
            let line = lines.line(other).number;
            format!(
                "{who} {does} a texel of '{name}' that another invocation accesses in line {line}: nothing orders the two"
            )
        });
    }

    pub(super) fn image_atomic(
        &mut self,
        texel: &Texel,
        fun: AtomicFunction,
        num: Num,
        value: Reg,
    ) {
        let Some(byte) = self.texel(texel) else {
            return;
        };
        let (number, op) = (self.number(texel.image), self.op);
        self.images[number].texels.changes(byte, 4, op);
        let old = self.images[number].texels.get(byte, 4).unwrap_or_default();
        let name = &self.code.variables[texel.image as usize].name;
        let old = self.unwritten(old, || format!("a texel of '{name}'"));
        let given = self.get(value);
        let bits = change(fun, num, old.bits, given.bits);
        let from = if old.from != 0 { old.from } else { given.from };
        self.images[number].texels.set(byte, 4, Word { bits, from });
    }

    /// The linear sample of a texture whose coordinates are clamped to its edge; comparisons are `reference <= depth`.
    pub(super) fn image_sample(&mut self, to: Reg, texel: &Texel, sampling: u32, n: u32) {
        let sampling = self.code.samplings[sampling as usize];
        self.counts.texels_loaded += 1;
        let level = match texel.level {
            NONE => 0.0,
            level => f32::from_bits(self.get(level).bits),
        };
        let image = self.image(texel.image);
        let level = (level.round().max(0.0) as u32).min(image.levels.saturating_sub(1));
        let size = image.size_of(level);
        let layer = self
            .whole(texel.layer)
            .clamp(0, i64::from(image.layers) - 1);
        let mut corners = [[0_i64; 2]; 3];
        let mut shares = [0_f32; 3];
        let mut origin = 0;
        for axis in 0..texel.dimensions as usize {
            let word = self.get(texel.coordinate + axis as u32);
            origin = if origin == 0 { word.from } else { origin };
            let x =
                f32::from_bits(word.bits) * size[axis] as f32 - 0.5 + sampling.offset[axis] as f32;
            let last = i64::from(size[axis]) - 1;
            let low = x.floor();
            shares[axis] = x - low;
            corners[axis] = [low as i64, low as i64 + 1].map(|x| x.clamp(0, last));
        }
        let reference = match sampling.reference {
            NONE => None,
            at => Some(f32::from_bits(self.get(at).bits)),
        };
        let mut found = [[Word::default(); 4]; 8];
        for (corner, words) in found.iter_mut().enumerate() {
            let at = [0, 1, 2].map(|axis| corners[axis][corner >> axis & 1]);
            if let Some(byte) = self.image(texel.image).byte(at, layer, i64::from(level)) {
                *words = self.image(texel.image).get(byte);
            }
            for word in words.iter_mut() {
                if word.from == NEVER {
                    let name = &self.code.variables[texel.image as usize].name;
                    *word = self.unwritten(*word, || format!("a texel of '{name}'"));
                }
                if let Some(reference) = reference {
                    let lit = reference <= f32::from_bits(word.bits);
                    word.bits = f32::from(lit).to_bits();
                }
            }
        }
        if let Some(component) = sampling.gather {
            // Counterclockwise from the lower left corner: (0, 1), (1, 1), (1, 0), (0, 0).
            for (i, corner) in (0..n).zip([2, 3, 1, 0]) {
                let mut word = found[corner][component as usize];
                word.from = if word.from == 0 { origin } else { word.from };
                self.put(to + i, word);
            }
            return;
        }
        for i in 0..n {
            let mut sum = 0.0;
            let mut from = origin;
            for (corner, words) in found.iter().enumerate() {
                let share = |axis: usize| match corner >> axis & 1 {
                    0 => 1.0 - shares[axis],
                    _ => shares[axis],
                };
                let weight: f32 = (0..3).map(share).product();
                if weight != 0.0 {
                    let word = words[i as usize];
                    sum += weight * f32::from_bits(word.bits);
                    from = if from == 0 { word.from } else { from };
                }
            }
            let bits = sum.to_bits();
            self.put(to + i, Word { bits, from });
        }
    }
}
