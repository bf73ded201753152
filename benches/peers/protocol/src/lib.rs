//! What every peer speaks with `run.py`: it prints who it is, then answers each case name on stdin with milliseconds a repetition,
//! or with `-` where it has no such case. A case is made ready at its first mention, so that no round pays for it but the first.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Instant;

/// How a product's operands lie: `nn`, `nt` (B is [n, k]) or `tn` (A is [k, m]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Nn,
    Nt,
    Tn,
}

/// One of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Forward,
    Input,
    Weight,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// C = A B in a layout, with m, n, k.
    Matmul(Layout, usize, usize, usize),
    /// x + y over this many floats.
    Add(usize),
    /// sigmoid(x) * y + x over this many floats.
    Chain(usize),
    /// Sums of the rows of a matrix.
    RowSums(usize, usize),
    /// Sums of its columns.
    ColumnSums(usize, usize),
    /// A 3x3 convolution of 64 to 64 channels over 16 images of this side, stride 1, padding 1: itself, its gradient by the images, by the
    /// weights.
    Conv(Product, usize),
    /// One training step of DCGAN 28x28, 64 channels, batch 32: discriminator and generator, Adam, data resident.
    DcganStep,
    /// One training step of the diffusion model of `diffusion::Config::mnist`, batch 16, Adam, data resident.
    DiffusionStep,
    /// One reverse step of its sampler, 16 images.
    DiffusionSample,
    /// One training step of the VAE 784-400-20, batch 128, Adam, data resident.
    VaeStep,
}

impl Case {
    /// Reads `matmul_nt_128_400_784`, `add_4194304`, `vae_step` and the like.
    pub fn parse(name: &str) -> Option<Self> {
        let numbers: Vec<usize> = name.split('_').filter_map(|w| w.parse().ok()).collect();
        let is = |prefix: &str| name.starts_with(prefix);
        Some(match numbers[..] {
            [m, n, k] if is("matmul_nn") => Self::Matmul(Layout::Nn, m, n, k),
            [m, n, k] if is("matmul_nt") => Self::Matmul(Layout::Nt, m, n, k),
            [m, n, k] if is("matmul_tn") => Self::Matmul(Layout::Tn, m, n, k),
            [n] if is("add") => Self::Add(n),
            [n] if is("chain") => Self::Chain(n),
            [m, n] if is("row_sums") => Self::RowSums(m, n),
            [m, n] if is("column_sums") => Self::ColumnSums(m, n),
            [side] if is("conv_forward") => Self::Conv(Product::Forward, side),
            [side] if is("conv_input") => Self::Conv(Product::Input, side),
            [side] if is("conv_weight") => Self::Conv(Product::Weight, side),
            [] if is("dcgan_step") => Self::DcganStep,
            [] if is("diffusion_step") => Self::DiffusionStep,
            [] if is("diffusion_sample") => Self::DiffusionSample,
            [] if is("vae_step") => Self::VaeStep,
            _ => return None,
        })
    }
}

/// Runs a case the given number of times and waits for the end.
pub type Run = Box<dyn FnMut(usize)>;

/// The peer's loop.
pub fn serve(who: &str, mut prepare: impl FnMut(Case) -> Option<Run>) {
    println!("{who}");
    let mut cases: HashMap<String, Option<(Run, usize)>> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(name) = line else { return };
        let case = cases.entry(name.clone()).or_insert_with(|| {
            let mut run = prepare(Case::parse(&name)?)?;
            // Tuning, compiling and the first touch of memory are not part of any round.
            run(3);
            let begin = Instant::now();
            run(3);
            let once = begin.elapsed().as_secs_f64() / 3.0;
            Some((run, ((0.08 / once) as usize).clamp(1, 500)))
        });
        match case {
            None => println!("-"),
            Some((run, times)) => {
                let begin = Instant::now();
                run(*times);
                println!("{:.6}", begin.elapsed().as_secs_f64() * 1e3 / *times as f64);
            }
        }
        std::io::stdout().flush().ok();
    }
}
