//! Criterion benchmark of the matrix products and of a whole VAE training step on the default adapter.
//!
//! cargo bench --bench kernels
//!
//! It prints times and asserts none. The machine is what it is: compare only what ran in one go.

#![allow(missing_docs, reason = "criterion_group makes functions of its own")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgen::bench::models;
use wgen::gpu::{Choice, Gpu};
use wgen::kernels::Kernel;
use wgen::kernels::matmul::{Layout, Matmul, Variant};

/// Kernels a submission, so that its cost is spread.
const REPEATS: u32 = 10;

fn products(c: &mut Criterion) {
    let gpu = Gpu::new(&Choice::Auto).expect("an adapter");
    let mut group = c.benchmark_group(format!("matmul on {}", gpu.summary().name));
    for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
        for (m, n, k) in [(512, 512, 512), (128, 400, 784), (64, 1024, 1024)] {
            // Every body that can run here, the one that is chosen first.
            for variant in Variant::candidates(gpu.caps(), [m, n, k], layout) {
                let plain = Matmul::new(gpu.caps(), layout, 1, m, n, k).expect("a kernel");
                let kernel = Matmul { variant, ..plain };
                let buffers: Vec<_> = kernel
                    .bindings()
                    .iter()
                    .map(|b| (&gpu.create_buffer(&b.name, b.bytes()).expect("memory")).into())
                    .collect();
                let bound = gpu.bind(&kernel, &buffers).expect("bound");
                group.throughput(Throughput::Elements(
                    (f64::from(REPEATS) * kernel.cost().flops) as u64,
                ));
                group.bench_function(format!("{m}x{n}x{k} {}", kernel.variant()), |bencher| {
                    bencher.iter(|| {
                        let mut encoder = gpu.device().create_command_encoder(&Default::default());
                        {
                            let mut pass = encoder.begin_compute_pass(&Default::default());
                            (0..REPEATS).for_each(|_| bound.record(&mut pass));
                        }
                        gpu.queue().submit([encoder.finish()]);
                        gpu.wait().expect("a device");
                    });
                });
            }
        }
    }
    group.finish();
}

fn vae_step(c: &mut Criterion) {
    let gpu = Gpu::new(&Choice::Auto).expect("an adapter");
    let ready = models::training(&gpu, "vae", Some(128), false).expect("a plan");
    let mut group = c.benchmark_group(format!("VAE on {}", gpu.summary().name));
    group.throughput(Throughput::Elements(10));
    group.bench_function(
        "10 training steps, 784-400-20, batch 128, Adam",
        |bencher| {
            bencher.iter(|| {
                ready.rewind().expect("a device");
                ready.plan.run(10).expect("a device");
                gpu.wait().expect("a device");
            });
        },
    );
    group.finish();
}

criterion_group!(benches, products, vae_step);
criterion_main!(benches);
