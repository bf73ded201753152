//! Evaluates an element-wise expression at one element, in any precision.

use super::functions::apply;
use super::random;
use crate::kernels::expression::{Expression, Term};
use crate::kernels::philox::RandomState;
use crate::real::Real;

/// An expression with its operands, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Evaluator<'a, T> {
    expression: &'a Expression,
    operands: Vec<&'a [T]>,
    state: RandomState,
    values: Vec<T>,
}

impl<'a, T: Real> Evaluator<'a, T> {
    /// `operands` in the expression's order; `state` for its random terms.
    pub(crate) fn new(
        expression: &'a Expression,
        operands: Vec<&'a [T]>,
        state: RandomState,
    ) -> Self {
        Self {
            expression,
            operands,
            state,
            values: Vec::with_capacity(expression.terms.len()),
        }
    }

    /// The values of all terms at element `index` of the domain.
    fn evaluate(&mut self, index: usize, accumulator: T) {
        let operand = |i: usize, at: usize| self.operands[i][at];
        evaluate(
            self.expression,
            &self.state,
            (index, accumulator),
            operand,
            &mut self.values,
        );
    }

    /// The results at element `index`.
    pub(crate) fn results(&mut self, index: usize, accumulator: T) -> impl Iterator<Item = T> + '_ {
        self.evaluate(index, accumulator);
        self.expression.results.iter().map(|&r| self.values[r])
    }

    /// The only result at element `index`.
    pub(crate) fn value(&mut self, index: usize) -> T {
        self.evaluate(index, T::from_f64(0.0));
        self.values[self.expression.results[0]]
    }
}

/// Writes to `values` those of all terms at element `index` of the domain; `operand(i, at)` is element `at` of operand `i`.
pub(crate) fn evaluate<T: Real>(
    expression: &Expression,
    state: &RandomState,
    (index, accumulator): (usize, T),
    operand: impl Fn(usize, usize) -> T,
    values: &mut Vec<T>,
) {
    values.clear();
    for term in &expression.terms {
        let value = match term {
            Term::Accumulator => accumulator,
            Term::Operand(i) => operand(*i, expression.operands[*i].source(index)),
            Term::Constant(x) => T::from_f64(*x),
            Term::Random {
                distribution,
                key,
                stream,
            } => random::draw(*distribution, state, *key, *stream, index),
            Term::Call(function, arguments) => match *arguments.as_slice() {
                [a] => apply(*function, &[values[a]]),
                [a, b] => apply(*function, &[values[a], values[b]]),
                [a, b, c] => apply(*function, &[values[a], values[b], values[c]]),
                _ => accumulator,
            },
        };
        values.push(value);
    }
}
