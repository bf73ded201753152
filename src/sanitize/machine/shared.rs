//! Instructions that have to do with what invocations share: memory and textures.

use super::super::code::{NONE, Num, Op};
use super::lane::Context;
use super::memory::Word;

impl Context<'_> {
    /// The same for what has to do with memory.
    pub(super) fn execute_shared(&mut self, op: &Op) -> bool {
        match *op {
            Op::Load {
                to,
                variable,
                at,
                n,
                num,
            } => self.load(to, variable, at, n, num),
            Op::Store {
                variable,
                at,
                from,
                n,
                num,
            } => {
                self.store(variable, at, from, n, num);
                true
            }
            Op::LoadAtomic { to, variable, at } => {
                self.atomic(None, Num::U32, to, (variable, at), NONE, NONE);
                true
            }
            Op::StoreAtomic { variable, at, from } => {
                let exchange = naga::AtomicFunction::Exchange { compare: None };
                self.atomic(Some(exchange), Num::U32, NONE, (variable, at), from, NONE);
                true
            }
            Op::Atomic {
                fun,
                num,
                to,
                variable,
                at,
                value,
                compare,
            } => {
                self.atomic(Some(fun), num, to, (variable, at), value, compare);
                true
            }
            Op::ArrayLength {
                to,
                variable,
                offset,
                stride,
            } => {
                let length = self.length(variable, offset, stride);
                self.put(to, Word::sound(length));
                false
            }
            ref other => self.execute_image(other),
        }
    }

    /// The same for textures.
    fn execute_image(&mut self, op: &Op) -> bool {
        match *op {
            Op::ImageLoad { to, texel, n } => self.image_load(to, &texel, n),
            Op::ImageStore {
                texel,
                from,
                n,
                num,
            } => {
                self.image_store(&texel, from, n, num);
                true
            }
            Op::ImageAtomic {
                texel,
                fun,
                num,
                value,
            } => {
                self.image_atomic(&texel, fun, num, value);
                true
            }
            Op::ImageSample {
                to,
                texel,
                sampling,
                n,
            } => {
                self.image_sample(to, &texel, sampling, n);
                false
            }
            Op::ImageSize {
                to,
                image,
                level,
                n,
            } => {
                let level = if level == NONE {
                    0
                } else {
                    self.get(level).bits
                };
                let size = self.image(image).size_of(level);
                for (i, n) in (0..n).zip(size) {
                    self.put(to + i, Word::sound(n));
                }
                false
            }
            Op::ImageLevels { to, image } => {
                let n = self.image(image).levels;
                self.put(to, Word::sound(n));
                false
            }
            Op::ImageLayers { to, image } => {
                let n = self.image(image).layers;
                self.put(to, Word::sound(n));
                false
            }
            Op::ImageSamples { to } => {
                self.put(to, Word::sound(1));
                false
            }
            ref other => unreachable!("{other:?} is not executed here"),
        }
    }
}
