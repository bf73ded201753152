//! Criterion benchmark of the matrix products and of a whole VAE training step on the default adapter.
//!
//! cargo bench --bench kernels
//!
//! It prints times and asserts none. The machine is what it is: compare only what ran in one go.

#![allow(missing_docs, reason = "criterion_group makes functions of its own")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgen::data::digits::digits;
use wgen::gpu::{Choice, Gpu};
use wgen::graph::layout::Layout as ParameterLayout;
use wgen::graph::update::{Rule, Update};
use wgen::kernels::Kernel;
use wgen::kernels::matmul::{Layout, Matmul, Variant};
use wgen::models::vae::{Config, Vae};
use wgen::models::{DataType, Model};
use wgen::plan::program::Flat;
use wgen::plan::{Plan, PlanOptions, Store, StoreOptions};
use wgen::tensor::{DType, Data};

/// Kernels a submission, so that its cost is spread.
const REPEATS: u32 = 10;

fn products(c: &mut Criterion) {
    let gpu = Gpu::new(&Choice::Auto).expect("an adapter");
    let mut group = c.benchmark_group(format!("matmul on {}", gpu.summary().name));
    for layout in [Layout::Nn, Layout::Nt, Layout::Tn] {
        for (m, n, k) in [(512, 512, 512), (128, 400, 784), (64, 1024, 1024)] {
            // Every body that can run here, the one that is chosen first.
            for variant in Variant::candidates(gpu.caps(), m, n, layout) {
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
    let model = Vae::new(Config::mnist()).expect("a model");
    let layout =
        ParameterLayout::new(model.parameters(), gpu.caps().binding_bytes).expect("a layout");
    let weights: Vec<_> = layout
        .parameters
        .iter()
        .map(|p| wgen::nn::init::draw(p, 1))
        .collect();
    let store = Store::new(
        &gpu,
        layout,
        StoreOptions {
            training: true,
            ema: false,
        },
    )
    .expect("memory");
    store.write(Flat::Parameters, &weights).expect("written");
    let data = DataType {
        rows: 2000,
        width: 784,
        dtype: DType::U8,
        indices: 2000,
        scale: 1.0 / 255.0,
        shift: 0.0,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: model.metrics(),
        batch: 128,
        loss_scale: false,
    };
    let graph = model.training(&data, &update).expect("a graph");
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).expect("a plan");
    plan.write("data", &digits(2000, 1).values)
        .expect("written");
    plan.write("index", &Data::U32((0..2000).collect()))
        .expect("written");
    store.set_state(0, 1, 0).expect("written");
    store
        .write_schedule(
            0,
            &[Rule::ADAM.schedule_row(500, 1e-3, 0.0, 1.0); 1024],
            true,
        )
        .expect("written");
    let mut group = c.benchmark_group(format!("VAE on {}", gpu.summary().name));
    group.throughput(Throughput::Elements(10));
    group.bench_function(
        "10 training steps, 784-400-20, batch 128, Adam",
        |bencher| {
            bencher.iter(|| {
                plan.run(10).expect("a device");
                gpu.wait().expect("a device");
            });
        },
    );
    group.finish();
}

criterion_group!(benches, products, vae_step);
criterion_main!(benches);
