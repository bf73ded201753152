//! Twin of `shaders/ray_of.wgsl`.

use super::Twin;
use crate::kernels::ray_of::RayOf;
use crate::tensor::Data;

/// The ray of each sample, from where the samples of each begin; 0 for those that belong to none.
pub(crate) fn ray_of(kernel: &RayOf, base: &[u32]) -> Vec<u32> {
    let mut rays = vec![0; kernel.samples];
    for ray in 0..kernel.rays {
        let of_ray = base[ray] as usize..base[ray + 1] as usize;
        for sample in of_ray.filter(|&s| s < kernel.samples) {
            rays[sample] = ray as u32;
        }
    }
    rays
}

impl Twin for RayOf {
    fn reference(&self, buffers: &mut [Data]) {
        buffers[1] = Data::U32(ray_of(self, buffers[0].as_u32()));
    }
}
