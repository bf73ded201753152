//! Textures in memory: texels of four words, mip levels one after the other.

use super::memory::{Memory, Word};

/// A texture, or a storage texture.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Columns, rows and slices of level 0, 1 where it has no such dimension.
    pub(crate) size: [u32; 3],
    pub(crate) layers: u32,
    pub(crate) levels: u32,
    /// Words of a texel that are sound beside those of its format: 0, 0, 0, 1.
    pub(crate) texels: Memory,
}

impl Image {
    /// A texture whose texels nobody wrote.
    pub(crate) fn new(size: [u32; 3], layers: u32, levels: u32, written: bool, from: u32) -> Self {
        let mut image = Self {
            size,
            layers,
            levels,
            texels: Memory::new(0, 4, false, 0),
        };
        let count = image.start(levels);
        image.texels = Memory::new(count * 16, 4, written, from);
        image
    }

    /// Size of a mip level.
    pub(crate) fn size_of(&self, level: u32) -> [u32; 3] {
        self.size.map(|n| (n >> level.min(31)).max(1))
    }

    fn start(&self, level: u32) -> u32 {
        let of = |level| self.size_of(level).iter().product::<u32>() * self.layers;
        (0..level).map(of).sum()
    }

    /// The byte at which a texel lies, if there is one.
    pub(crate) fn byte(&self, at: [i64; 3], layer: i64, level: i64) -> Option<u32> {
        if level < 0 || level >= i64::from(self.levels) {
            return None;
        }
        let size = self.size_of(level as u32);
        let inside = at
            .iter()
            .zip(size)
            .all(|(&x, n)| x >= 0 && x < i64::from(n));
        if !inside || layer < 0 || layer >= i64::from(self.layers) {
            return None;
        }
        let [x, y, z] = at.map(|x| x as u32);
        let place = ((layer as u32 * size[2] + z) * size[1] + y) * size[0] + x;
        Some((self.start(level as u32) + place) * 16)
    }

    /// The four words of a texel.
    pub(crate) fn get(&self, byte: u32) -> [Word; 4] {
        [0, 4, 8, 12].map(|i| self.texels.get(byte + i, 4).unwrap_or_default())
    }
}
