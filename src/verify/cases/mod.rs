//! The cases on which each kernel family is verified: shapes awkward on purpose, data from several distributions, every variant. Cases of
//! your own are made of the same numbers:
//!
//! ```
//! use std::sync::Arc;
//! use wgen::kernels::cast::Cast;
//! use wgen::tensor::DType;
//! use wgen::verify::cases::{Case, integers, unwritten};
//! use wgen::{Choice, Gpu, verify};
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let cast = Cast { count: 1001, from: DType::U32, to: DType::F32 };
//! let case = Case::new("words to reals, a count that no workgroup divides", Arc::new(cast), || {
//!     vec![integers(1, 50, 1001), unwritten(DType::F32)]
//! });
//! verify::run(&gpu, &case)?.expect();
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use crate::kernels::Caps;
use crate::reference::half::Half;

mod case;
mod ceilings;
mod convolutions;
mod cooperative;
mod diffusion;
mod images;
mod layers;
mod maps;
mod marching_cubes;
mod moves;
mod nerf_composite;
mod nerf_encodings;
pub(crate) mod nerf_hash;
mod nerf_march;
mod nerf_rays;
mod products;
mod reductions;
mod updates;

pub(crate) use case::drawn;
pub use case::{Case, Values, integers, numbers, unwritten};
use case::{case, state_words};

/// The cases of every family.
pub fn all(caps: &Caps, quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    products::matmul(caps, quick, &mut cases);
    convolutions::conv2d(caps, quick, &mut cases);
    cooperative::all(caps, quick, &mut cases);
    maps::map(caps, quick, &mut cases);
    maps::random(caps, &mut cases);
    reductions::reduce(caps, quick, &mut cases);
    maps::reparameterize(&mut cases);
    moves::rearrange(&mut cases);
    moves::concat(&mut cases);
    moves::cast(&mut cases);
    moves::gather(&mut cases);
    moves::scatter_add(quick, &mut cases);
    updates::updates(&mut cases);
    moves::present(&mut cases);
    images::pool(quick, &mut cases);
    images::top_k(caps, &mut cases);
    images::resize(&mut cases);
    layers::group_norm(caps, quick, &mut cases);
    layers::attention(caps, quick, &mut cases);
    diffusion::q_sample(&mut cases);
    diffusion::timestep_embedding(&mut cases);
    diffusion::predict_x0(quick, &mut cases);
    diffusion::reverse_step(quick, &mut cases);
    nerf_encodings::frequency_encode(&mut cases);
    nerf_encodings::spherical_harmonics(&mut cases);
    nerf_encodings::sample_pdf(caps, quick, &mut cases);
    nerf_rays::camera_rays(&mut cases);
    nerf_hash::hash_encoding(&mut cases);
    nerf_composite::composite(quick, &mut cases);
    nerf_march::all(quick, &mut cases);
    ceilings::ceilings(&mut cases);
    images::quantile(caps, &mut cases);
    marching_cubes::all(quick, &mut cases);
    // Last: which of the others are run in f16 too goes by their numbers.
    moves::rearrange_planes(&mut cases);
    if caps.f16 {
        in_f16(&mut cases);
    }
    cases
}

/// Some of the cases again with f16 in every buffer that may have it.
fn in_f16(cases: &mut Vec<Case>) {
    let mut again = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let kernel = case.kernel.as_ref();
        let marks: Vec<bool> = kernel.bindings().iter().map(|b| b.half).collect();
        // f16 ends at 65,504, and every third case is enough.
        let large = case.name.contains("Large") || case.name.contains("x 1000");
        if i % 3 == 0 && !large && marks.contains(&true) {
            let half = Half::new(case.kernel.clone(), marks);
            again.push(case.with_kernel(format!("{} in f16", case.name), Arc::new(half)));
        }
    }
    cases.extend(again);
}
