//! Times training steps of the default VAE (784-400-20, batch 128, Adam, data resident): milliseconds a step, one line a round.
//! `scripts/step_beside_pytorch.py` runs it beside PyTorch.
//!
//! cargo run --release --example step_time -- ROUNDS STEPS

use std::time::Instant;

use wgen::data::digits::digits;
use wgen::gpu::{Choice, Gpu};
use wgen::graph::layout::Layout;
use wgen::graph::update::{Rule, Update};
use wgen::models::vae::{Config, Vae};
use wgen::models::{DataType, Model};
use wgen::plan::program::Flat;
use wgen::plan::{Plan, PlanOptions, Store, StoreOptions};
use wgen::tensor::{DType, Data};

fn main() -> wgen::Result<()> {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|a| a.parse::<usize>().expect("a number"));
    let (rounds, steps) = (numbers.next().unwrap_or(9), numbers.next().unwrap_or(50));
    let gpu = Gpu::new(&Choice::Auto)?;
    let model = Vae::new(Config::mnist())?;
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes)?;
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
    )?;
    store.write(Flat::Parameters, &weights)?;
    let data = DataType {
        rows: 12_800,
        width: 784,
        dtype: DType::U8,
        indices: 12_800,
        scale: 1.0 / 255.0,
        shift: 0.0,
    };
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: model.metrics(),
        batch: 128,
    };
    let plan = Plan::compile(
        &model.training(&data, &update)?,
        &store,
        &[],
        PlanOptions::default(),
    )?;
    plan.write("data", &digits(12_800, 1).values)?;
    plan.write("index", &Data::U32((0..12_800).collect()))?;
    store.set_state(0, 1, 0)?;
    store.write_schedule(
        0,
        &vec![Rule::ADAM.schedule_row(500, 1e-3, 0.0, 1.0); 1024],
        true,
    )?;
    plan.run(5)?;
    gpu.wait()?;
    // A round begins when the caller says so, so that two programs can take turns.
    for _ in 0..rounds {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok();
        let begin = Instant::now();
        plan.run(steps)?;
        gpu.wait()?;
        println!("{:.4}", begin.elapsed().as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(())
}
