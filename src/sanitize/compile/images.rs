//! Textures: loads, stores, samples and questions about their size.

use naga::{Expression, Handle, ImageQuery, SampleLevel, TypeInner};

use super::{Compiler, Inlined, Refused, Value};
use crate::sanitize::code::{NONE, Num, Op, Reg, Sampling, Texel};

impl<'m> Compiler<'m> {
    fn resource(&mut self, inlined: &mut Inlined<'m>, handle: Handle<Expression>) -> Refused<u32> {
        match self.value(inlined, handle)? {
            Value::Resource(number) => Ok(number),
            Value::Words(_) | Value::Pointer(_) => Err("a value as a texture".to_owned()),
        }
    }

    /// Where in an image something is read or written.
    pub(super) fn texel(
        &mut self,
        inlined: &mut Inlined<'m>,
        image: Handle<Expression>,
        coordinate: Handle<Expression>,
        layer: Option<Handle<Expression>>,
        level: Option<Handle<Expression>>,
    ) -> Refused<Texel> {
        let mut optional = |c: &mut Self, handle: Option<Handle<Expression>>| match handle {
            Some(handle) => c.words_at(inlined, handle),
            None => Ok(NONE),
        };
        let (layer, level) = (optional(self, layer)?, optional(self, level)?);
        Ok(Texel {
            image: self.resource(inlined, image)?,
            dimensions: self.words_of(inlined, coordinate)?,
            signed: self.num_of(inlined, coordinate)? == Num::I32,
            coordinate: self.words_at(inlined, coordinate)?,
            layer,
            level,
        })
    }

    /// The value of an expression that reads or asks an image.
    pub(super) fn image(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
    ) -> Refused<Reg> {
        let n = self.words_of(inlined, handle)?;
        match inlined.function.expressions[handle] {
            Expression::ImageLoad {
                image,
                coordinate,
                array_index,
                sample,
                level,
            } => {
                if sample.is_some() {
                    return Err("multisampled textures".to_owned());
                }
                let texel = self.texel(inlined, image, coordinate, array_index, level)?;
                let to = self.reserve(n);
                self.emit(Op::ImageLoad { to, texel, n });
                Ok(to)
            }
            Expression::ImageQuery { image, query } => {
                let image = self.resource(inlined, image)?;
                let level = match query {
                    ImageQuery::Size { level: Some(level) } => self.words_at(inlined, level)?,
                    _ => NONE,
                };
                let to = self.reserve(n);
                self.emit(match query {
                    ImageQuery::Size { .. } => Op::ImageSize {
                        to,
                        image,
                        level,
                        n,
                    },
                    ImageQuery::NumLevels => Op::ImageLevels { to, image },
                    ImageQuery::NumLayers => Op::ImageLayers { to, image },
                    ImageQuery::NumSamples => Op::ImageSamples { to },
                });
                Ok(to)
            }
            _ => self.sample(inlined, handle, n),
        }
    }

    fn sample(
        &mut self,
        inlined: &mut Inlined<'m>,
        handle: Handle<Expression>,
        n: u32,
    ) -> Refused<Reg> {
        let Expression::ImageSample {
            image,
            gather,
            coordinate,
            array_index,
            offset,
            level,
            depth_ref,
            ..
        } = inlined.function.expressions[handle]
        else {
            return Err("an expression that is no sample".to_owned());
        };
        if let TypeInner::Image {
            dim: naga::ImageDimension::Cube,
            ..
        } = self.type_of(inlined, image)
        {
            return Err("samples of cube textures".to_owned());
        }
        let level = match level {
            SampleLevel::Exact(level) => Some(level),
            SampleLevel::Zero => None,
            SampleLevel::Auto | SampleLevel::Bias(_) | SampleLevel::Gradient { .. } => {
                if gather.is_none() {
                    return Err("samples whose level hangs on derivatives".to_owned());
                }
                None
            }
        };
        let mut shift = [0; 3];
        if let Some(offset) = offset {
            let words = self.constant_of(&inlined.function.expressions, offset)?;
            for (to, from) in shift.iter_mut().zip(words) {
                *to = from as i32;
            }
        }
        let texel = self.texel(inlined, image, coordinate, array_index, level)?;
        let sampling = Sampling {
            gather: gather.map(|c| c as u32),
            offset: shift,
            reference: match depth_ref {
                Some(reference) => self.words_at(inlined, reference)?,
                None => NONE,
            },
        };
        self.code.samplings.push(sampling);
        let sampling = self.code.samplings.len() as u32 - 1;
        let to = self.reserve(n);
        self.emit(Op::ImageSample {
            to,
            texel,
            sampling,
            n,
        });
        Ok(to)
    }
}
