//! Reductions: every mode, fused, in chunks.

use super::maps::chain;
use super::{Case, Values, case};
use crate::kernels::Caps;
use crate::kernels::expression::{Expression, Term};
use crate::kernels::functions::{Distribution, Function};
use crate::kernels::philox::Key;
use crate::kernels::reduce::{Combine, Reduce};
use crate::tensor::{Data, Shape};

pub(super) fn reduce(caps: &Caps, quick: bool, cases: &mut Vec<Case>) {
    let mut domains = vec![
        [1, 1, 1],
        [1, 37, 1],
        [5, 64, 1],
        [3, 7, 5],
        [2, 33, 12],
        [1, 129, 20],
        [6, 1, 4],
        [1, 600, 1],
        [71, 3, 1],
    ];
    if !quick {
        domains.extend([[1, 1 << 16, 1], [700, 3, 1], [1, 128, 784], [4, 1000, 3]]);
    }
    for combine in [
        Combine::Sum,
        Combine::Max,
        Combine::Min,
        Combine::Argmax,
        Combine::LogSumExp,
    ] {
        for &[outer, length, inner] in &domains {
            for cooperative in [false, true] {
                if cooperative && inner != 1 && inner % 4 != 0 {
                    continue;
                }
                let plain = Reduce::new(caps, combine, outer, length, inner);
                let kernel = if cooperative {
                    Reduce {
                        cooperative,
                        span: 1,
                        workgroup: 64,
                        ..plain
                    }
                } else {
                    Reduce {
                        cooperative,
                        ..plain
                    }
                };
                let name = format!(
                    "{} [{outer}, {length}, {inner}] tree: {cooperative}",
                    combine.name()
                );
                cases.push(case(name, kernel, Values::Normal));
            }
        }
        // Several fours an invocation, its neighbours' in between or not, and a few rows at a time.
        for (span, ahead, workgroup, domain) in [
            (2, 1, 8, [2, 9, 64]),
            (4, 4, 8, [2, 23, 48]),
            (8, 2, 64, [3, 7, 64]),
            (2, 4, 8, [1, 45, 128]),
        ] {
            let [outer, length, inner] = domain;
            let kernel = Reduce {
                cooperative: false,
                span,
                ahead,
                workgroup,
                ..Reduce::new(caps, combine, outer, length, inner)
            };
            let name = format!("{} {domain:?} span {span}, {ahead} ahead", combine.name());
            cases.push(case(name, kernel, Values::Normal));
        }
        if combine == Combine::Argmax {
            continue;
        }
        // In chunks, the last one shorter; fused before and after.
        for [outer, length, inner] in [
            [1, 130, 1],
            [2, 45, 4],
            [1, 50, 3],
            [1, 256, 1],
            [2, 50, 64],
        ] {
            let shape = Shape::from([outer, length, inner]);
            let results = Shape::from([outer, inner]);
            let prologue = chain(
                &shape,
                &[shape.clone(), [length, 1].into(), [inner].into()],
                &[Function::Mul, Function::Add],
            );
            let after = chain(
                &results,
                &[results.clone(), Shape::scalar()],
                &[Function::Mul],
            );
            let mut epilogue = Expression {
                terms: vec![Term::Accumulator],
                ..after.clone()
            };
            epilogue.terms.extend([
                Term::Operand(0),
                Term::Operand(1),
                Term::Call(Function::Mul, vec![0, 1]),
                Term::Call(Function::Add, vec![3, 2]),
            ]);
            epilogue.results = vec![0, 4];
            let fused = Reduce {
                prologue,
                epilogue,
                ..Reduce::new(caps, combine, outer, length, inner)
            };
            let name = format!("{} {shape:?} fused", combine.name());
            cases.push(case(name, fused.clone(), Values::Normal));
            let (first, second) = fused.in_two(caps, 3);
            cases.push(case(
                format!("{} {shape:?} in chunks", combine.name()),
                first,
                Values::Normal,
            ));
            cases.push(case(
                format!("{} {shape:?} of chunks", combine.name()),
                second,
                Values::Normal,
            ));
        }
    }
    if !quick {
        // Tens of millions of elements to one, in two dispatches.
        let whole = Reduce::new(caps, Combine::Sum, 1, 20_000_004, 1);
        let chunks = Reduce::split(caps, Combine::Sum, 1, 20_000_004, 1);
        let (first, second) = whole.in_two(caps, chunks);
        cases.push(case(
            "sum of 20,000,004".to_owned(),
            first,
            Values::Positive,
        ));
        cases.push(case(
            "sum of their chunks".to_owned(),
            second,
            Values::Positive,
        ));
    }
    // Random terms on both sides of a reduction, in each mode.
    for [outer, length, inner] in [[3, 20, 1], [2, 9, 4], [3, 7, 1]] {
        let noise = |stream| Term::Random {
            distribution: Distribution::Normal,
            key: Key::Step,
            stream,
        };
        let plain = Reduce::new(caps, Combine::Sum, outer, length, inner);
        let prologue = Expression {
            terms: vec![
                Term::Operand(0),
                noise(1),
                Term::Call(Function::Mul, vec![0, 1]),
            ],
            results: vec![2],
            ..plain.prologue.clone()
        };
        let epilogue = Expression {
            terms: vec![
                Term::Accumulator,
                noise(2),
                Term::Call(Function::Mul, vec![0, 1]),
            ],
            results: vec![2],
            ..Expression::default()
        };
        let kernel = Reduce {
            prologue,
            epilogue,
            ..plain
        };
        let name = format!("sum of [{outer}, {length}, {inner}] with noise");
        cases.push(case(name, kernel, Values::Normal));
    }
    // Equal values: the first place counts.
    let ties = case(
        "argmax with ties".to_owned(),
        Reduce::new(caps, Combine::Argmax, 4, 12, 3),
        Values::Normal,
    );
    cases.push(ties.changed(|inputs| {
        inputs[0] = Data::F32((0..144).map(|i| ((i * 7) % 4) as f32).collect());
    }));
    let ties = case(
        "argmax of rows with ties".to_owned(),
        Reduce::new(caps, Combine::Argmax, 4, 16, 1),
        Values::Normal,
    );
    cases.push(ties.changed(|inputs| {
        inputs[0] = Data::F32((0..64).map(|i| ((i * 5) % 3) as f32).collect());
    }));
    // Exponentials that would overflow.
    let large = Reduce::new(caps, Combine::LogSumExp, 3, 40, 1);
    cases.push(case(
        "log_sum_exp of large values".to_owned(),
        large,
        Values::Large,
    ));
}
