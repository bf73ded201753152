//! Element-wise chains, random numbers, the reparameterised sample.

use super::{Case, Values, case, state_words};
use crate::kernels::Caps;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::kernels::functions::{Distribution, Function};
use crate::kernels::map::Map;
use crate::kernels::philox::Key;
use crate::kernels::reparameterize::Reparameterize;
use crate::tensor::{Data, Shape};

/// A chain of `functions` over operands that broadcast in `domain`, each function taking the last value.
pub(super) fn chain(domain: &Shape, operands: &[Shape], functions: &[Function]) -> Expression {
    let mut terms: Vec<Term> = (0..operands.len()).map(Term::Operand).collect();
    let mut last = 0;
    let mut next = 1;
    for &function in functions {
        let mut arguments = vec![last];
        while arguments.len() < function.arity() {
            arguments.push(next % operands.len());
            next += 1;
        }
        terms.push(Term::Call(function, arguments));
        last = terms.len() - 1;
    }
    let operands = operands
        .iter()
        .map(|o| Indexing::broadcast(domain, o))
        .collect();
    Expression {
        terms,
        operands,
        results: vec![last],
    }
}

pub(super) fn map(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    for &function in Function::ALL {
        for (count, values) in [
            (257, Values::Normal),
            (256, Values::Normal),
            (64, Values::Large),
            (100, Values::Small),
        ] {
            // Where a function is not defined, or overflows, is not where it is tested.
            let values = match function {
                Function::Log | Function::Sqrt | Function::Div => Values::Positive,
                Function::Exp | Function::ExpMinusOne | Function::LogOnePlus
                    if values == Values::Large =>
                {
                    Values::Positive
                }
                _ => values,
            };
            let shape = Shape::from([count]);
            let built = case(
                format!("{} of {count} {values:?}", function.name()),
                Map::new(
                    caps,
                    count,
                    chain(&shape, &vec![shape.clone(); function.arity()], &[function]),
                ),
                values,
            );
            let change = move |inputs: &mut [Data]| match (function, inputs) {
                // Bounds in order, a condition that is sometimes 0, equal operands now and then, an argument in its range.
                (Function::Clamp, [_, low, high, ..]) => {
                    *low = Data::F32(vec![-0.5; count]);
                    *high = Data::F32(vec![0.7; count]);
                }
                (Function::Select, [condition, ..]) => {
                    *condition = Data::F32((0..count).map(|i| (i % 3) as f32).collect());
                }
                (Function::Equal | Function::Greater, [a, b, ..]) => {
                    *a = Data::F32((0..count).map(|i| (i % 5) as f32).collect());
                    *b = Data::F32((0..count).map(|i| (i % 7) as f32).collect());
                }
                (Function::LogOnePlus, [x, ..]) => {
                    *x = Data::F32(
                        (0..count)
                            .map(|i| (i as f32 / (count - 1) as f32).powi(3))
                            .collect(),
                    );
                }
                _ => {}
            };
            cases.push(built.changed(change));
        }
    }
    let functions = [Function::Add, Function::Tanh, Function::Mul, Function::Sub];
    for domain in [[3, 4, 5, 8], [2, 3, 5, 7], [1, 16, 4, 4], [4, 2, 6, 4]].map(Shape::from) {
        let d = domain.dims();
        let operands = [
            domain.clone(),
            [d[3]].into(),
            [d[2], 1].into(),
            [d[1], 1, d[3]].into(),
            Shape::scalar(),
            [d[0], 1, 1, 1].into(),
        ];
        let expression = chain(&domain, &operands, &functions);
        cases.push(case(
            format!("broadcast in {domain:?}"),
            Map::new(caps, domain.count(), expression),
            Values::Normal,
        ));
    }
    // Several results, and enough elements for four vec4 an invocation and a last workgroup that is not full.
    let count = if quick {
        (1 << 16) + 12
    } else {
        (1 << 18) + 12
    };
    let shape = Shape::from([count]);
    let mut expression = chain(
        &shape,
        &[shape.clone(), shape.clone()],
        &[Function::Mul, Function::Sigmoid],
    );
    expression.results = vec![2, 3];
    cases.push(case(
        format!("two results of {count}"),
        Map::new(caps, count, expression),
        Values::Normal,
    ));
}

pub(super) fn random(caps: &Caps, cases: &mut Vec<Case>) {
    // A probability that one of the numbers hits exactly: 0 there, for it is not below itself.
    let state = crate::reference::random_state(state_words().as_u32());
    let hit = (state.word(Key::Step, 0x0bad_cafe, 9) >> 8) as f32 / 16_777_216.0;
    let bernoulli = [0.3, hit].map(Distribution::Bernoulli);
    for distribution in [Distribution::Uniform, Distribution::Normal]
        .into_iter()
        .chain(bernoulli)
    {
        let keys = [
            (Key::Step, 256),
            (Key::Step, 259),
            (
                Key::Example {
                    examples: 5,
                    draws: 3,
                    width: 7,
                },
                105,
            ),
            (
                Key::Example {
                    examples: 4,
                    draws: 2,
                    width: 20,
                },
                160,
            ),
        ];
        for (key, count) in keys {
            let term = Term::Random {
                distribution,
                key,
                stream: 0x0bad_cafe,
            };
            let expression = Expression {
                terms: vec![term],
                operands: Vec::new(),
                results: vec![0],
            };
            let name = format!("{} of {count} by {key:?}", distribution.name());
            cases.push(case(
                name,
                Map::new(caps, count, expression),
                Values::Normal,
            ));
        }
    }
}

pub(super) fn reparameterize(cases: &mut Vec<Case>) {
    for (count, key) in [
        (1, Key::Step),
        (260, Key::Step),
        (1023, Key::Step),
        (2052, Key::Step),
        // Several units an invocation.
        (65_604, Key::Step),
        (
            60,
            Key::Example {
                examples: 6,
                draws: 2,
                width: 5,
            },
        ),
        (
            80,
            Key::Example {
                examples: 4,
                draws: 1,
                width: 20,
            },
        ),
    ] {
        let kernel = Reparameterize {
            count,
            key,
            stream: 0x1357_9bdf,
        };
        cases.push(case(format!("{count} by {key:?}"), kernel, Values::Normal));
    }
}
