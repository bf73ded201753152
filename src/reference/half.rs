//! A kernel some of whose buffers hold f16: half the traffic, arithmetic and sums in f32 as before.
//!
//! Not a kernel of its own: the templates convert what they load and store, and this says between which types.

use std::sync::Arc;

use serde_json::Value as Json;

use super::piece::Piece;
use super::{Sample, Twin};
use crate::kernels::{Access, Binding, Caps, Cost, Kernel, Launch, bytes_of, wgsl_bindings};
use crate::real::{Real, Tracked, UNIT_ROUNDOFF};
use crate::tensor::{DType, Data};

/// `inner` with f16 in the buffers that `half` marks: bindings that may hold it, see [`Binding::or_half`].
#[derive(Clone, Debug)]
pub struct Half {
    inner: Arc<dyn Twin>,
    half: Vec<bool>,
}

impl Half {
    /// `inner` with f16 where `half` says so.
    pub fn new(inner: Arc<dyn Twin>, half: Vec<bool>) -> Self {
        Self { inner, half }
    }

    fn marked(&self, position: usize) -> bool {
        self.half.get(position) == Some(&true)
    }
}

impl Kernel for Half {
    fn family(&self) -> &'static str {
        self.inner.family()
    }

    fn variant(&self) -> String {
        format!("{} +f16", self.inner.variant())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = self.inner.bindings();
        for (i, binding) in bindings.iter_mut().enumerate() {
            if self.marked(i) {
                binding.dtype = DType::F16;
            }
        }
        bindings
    }

    fn launch(&self) -> Launch {
        let mut launch = self.inner.launch();
        launch.context["bindings"] = wgsl_bindings(&self.bindings());
        launch.context["half"] = Json::from(true);
        launch
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.inner.cost().flops,
            bytes: bytes_of(&self.bindings()),
        }
    }
}

impl Twin for Half {
    fn reference(&self, buffers: &mut [Data]) {
        let bindings = self.inner.bindings();
        let marked = |access: Access| {
            let bindings = &bindings;
            (0..bindings.len()).filter(move |&i| self.marked(i) && bindings[i].access == access)
        };
        for i in marked(Access::Read) {
            buffers[i] = held(std::mem::replace(&mut buffers[i], Data::U8(Vec::new())));
        }
        self.inner.reference(buffers);
        for i in marked(Access::Write) {
            buffers[i] = stored(&buffers[i]);
        }
    }

    fn samples(&self, buffers: &[Data], each: usize) -> Vec<Sample> {
        let bindings = self.inner.bindings();
        let marked = |i: usize, access: Access| self.marked(i) && bindings[i].access == access;
        let given: Vec<Data> = buffers
            .iter()
            .enumerate()
            .map(|(i, b)| {
                if marked(i, Access::Read) {
                    held(b.clone())
                } else {
                    b.clone()
                }
            })
            .collect();
        let mut samples = self.inner.samples(&given, each);
        for sample in &mut samples {
            if marked(sample.binding, Access::Write) {
                sample.value = rounded(&sample.value);
            }
        }
        samples
    }

    fn rounded_terms(&self) -> Option<usize> {
        self.inner.rounded_terms()
    }

    fn pieces(&self, limit: usize) -> Option<Vec<Piece>> {
        let pieces = self.inner.pieces(limit)?.into_iter();
        let half = |piece: Piece| Piece {
            kernel: Arc::new(Self::new(piece.kernel, self.half.clone())),
            ..piece
        };
        Some(pieces.map(half).collect())
    }

    fn alternatives(&self, caps: &Caps) -> Vec<Arc<dyn Twin>> {
        let alternatives = self.inner.alternatives(caps).into_iter();
        alternatives
            .map(|inner| -> Arc<dyn Twin> { Arc::new(Self::new(inner, self.half.clone())) })
            .collect()
    }
}

/// The f16 nearest to a number, as the number that it is.
fn nearest(x: f64) -> f64 {
    half::f16::from_f64(x).to_f64()
}

/// Numbers as an f16 buffer holds them, nothing uncertain. In place: there may be tens of millions.
pub(crate) fn held(mut data: Data) -> Data {
    hold(&mut data);
    data
}

/// The same of an array where it is.
pub(crate) fn hold(data: &mut Data) {
    match data {
        Data::F32(values) => each(values, |x| nearest(f64::from(x)) as f32),
        Data::F64(values) => each(values, nearest),
        Data::Tracked(values) => each(values, |x| Tracked::from_f64(nearest(x.to_f64()))),
        Data::U32(_) | Data::U8(_) => {}
    }
}

fn each<T: Copy>(values: &mut [T], change: impl Fn(T) -> T) {
    values.iter_mut().for_each(|x| *x = change(*x));
}

/// A number after a store to an f16 buffer. A device may round to either neighbour, at most 2^-10 of the number away, or the smallest subnormal.
fn rounded(t: &Tracked) -> Tracked {
    if t.tolerance() == 0.0 && nearest(t.to_f64()) == t.to_f64() {
        return *t;
    }
    // What was chosen otherwise is rounded at its own magnitude.
    t.or_within((t.to_f64().abs() + t.choice()) / 1024.0 + 6e-8)
}

/// An operand of a product on matrix units, whose sums have so many terms; unchanged where `terms` is `None`. It is rounded to f16. Products of two are exact in f32, sums
/// are not: the units cut what they add to the largest term (Fasi, Higham, Mikaitis & Pranesh 2021, "Numerical behavior of NVIDIA tensor cores", section 3), an ULP at each
/// of the additions, in any order. All of them together are at most an ULP of each product for each term, of which either operand has a half here.
pub(crate) fn operand(t: Tracked, terms: Option<usize>) -> Tracked {
    let Some(terms) = terms else { return t };
    let cut = terms as f64 * UNIT_ROUNDOFF * t.to_f64().abs();
    if cut > 0.0 {
        rounded(&t) + Tracked::with_bias(0.0, cut)
    } else {
        // A comparison with an exact 0 stays certain.
        rounded(&t)
    }
}

/// All operands on one side of such products.
pub(crate) fn operands(data: &Data, terms: usize) -> Data {
    match data {
        Data::Tracked(values) => {
            let of = |&t: &Tracked| operand(t, Some(terms));
            Data::Tracked(values.iter().map(of).collect())
        }
        other => held(other.clone()),
    }
}

/// Numbers as they are after a store to an f16 buffer.
pub(crate) fn stored(data: &Data) -> Data {
    match data {
        Data::Tracked(values) => Data::Tracked(values.iter().map(rounded).collect()),
        other => held(other.clone()),
    }
}
