//! The kernels that measure a device: a ceiling from wrong arithmetic would be no ceiling.

use super::{Case, Values, case};
use crate::kernels::ceiling::{Copy, MultiplyAdd};
use crate::tensor::Data;

pub(super) fn ceilings(cases: &mut Vec<Case>) {
    for (invocations, rounds, chains) in [(1, 4, 1), (77, 12, 4), (300, 64, 8)] {
        for fused in [false, true] {
            let kernel = MultiplyAdd {
                invocations,
                rounds,
                chains,
                fused,
                workgroup: 64,
            };
            let name = format!("{} {invocations} times {rounds}", chains);
            let factors = |inputs: &mut [Data]| inputs[1] = Data::F32(vec![-0.96875, 0.4375]);
            cases.push(case(name, kernel, Values::Normal).changed(factors));
        }
    }
    for (count, vector) in [(1, false), (1030, false), (2052, true)] {
        for per_thread in [1, 4] {
            let kernel = Copy {
                count,
                vector,
                per_thread,
                workgroup: 64,
            };
            let name = format!("copy {count}, vec4: {vector}, {per_thread}");
            cases.push(case(name, kernel, Values::Large));
        }
    }
}
