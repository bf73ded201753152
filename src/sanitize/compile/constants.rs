//! Constant expressions as words.

use naga::{Arena, Expression, Handle, Literal};

use super::{Compiler, Refused};

/// A literal as a word of a frame.
pub(super) fn literal(literal: Literal) -> Refused<u32> {
    Ok(match literal {
        Literal::F32(x) => x.to_bits(),
        Literal::F16(x) => x.to_f32().to_bits(),
        Literal::U32(x) => x,
        Literal::I32(x) => x as u32,
        Literal::Bool(x) => u32::from(x),
        Literal::AbstractInt(x) => x as u32,
        Literal::AbstractFloat(x) => (x as f32).to_bits(),
        other => {
            return Err(format!(
                "numbers of another width than 16 or 32 bits ({other:?})"
            ));
        }
    })
}

impl Compiler<'_> {
    /// The words of a global constant expression.
    pub(super) fn constant_words(&self, handle: Handle<Expression>) -> Refused<Vec<u32>> {
        self.constant_of(&self.module.global_expressions, handle)
    }

    /// The words of a constant expression among others.
    pub(super) fn constant_of(
        &self,
        among: &Arena<Expression>,
        handle: Handle<Expression>,
    ) -> Refused<Vec<u32>> {
        Ok(match &among[handle] {
            Expression::Literal(value) => vec![literal(*value)?],
            Expression::Constant(constant) => {
                self.constant_words(self.module.constants[*constant].init)?
            }
            Expression::ZeroValue(ty) => vec![0; self.words(*ty)? as usize],
            Expression::Compose { components, .. } => {
                let mut words = Vec::new();
                for component in components {
                    words.extend(self.constant_of(among, *component)?);
                }
                words
            }
            Expression::Splat { size, value } => {
                let word = self.constant_of(among, *value)?[0];
                vec![word; *size as usize]
            }
            other => return Err(format!("a constant that is not computed yet ({other:?})")),
        })
    }
}
