//! burn as a peer: `peer-burn wgpu` (fusion and autotune) or `peer-burn flex` (its fastest CPU backend).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::module::{conv_transpose2d, conv2d, conv2d_weight_backward};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, DeviceKind, Distribution, Tensor};
use peer_protocol::{Case, Layout, Product, Run, serve};

const BATCH: usize = 128;
const ROWS: usize = 12_800;

#[derive(Module, Debug)]
struct Vae {
    fc1: Linear,
    fc21: Linear,
    fc22: Linear,
    fc3: Linear,
    fc4: Linear,
}

impl Vae {
    fn new(device: &Device) -> Self {
        let linear = |i, o| LinearConfig::new(i, o).init(device);
        Self {
            fc1: linear(784, 400),
            fc21: linear(400, 20),
            fc22: linear(400, 20),
            fc3: linear(20, 400),
            fc4: linear(400, 784),
        }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        let h = relu(self.fc1.forward(x.clone()));
        let (mu, log_variance) = (self.fc21.forward(h.clone()), self.fc22.forward(h));
        let noise = Tensor::random([BATCH, 20], Distribution::Normal(0.0, 1.0), &x.device());
        let z = mu.clone() + noise * (log_variance.clone() * 0.5).exp();
        let y = sigmoid(self.fc4.forward(relu(self.fc3.forward(z))));
        let cross = x.clone() * (y.clone() + 1e-7).log() + (-x + 1.0) * (-y + (1.0 + 1e-7)).log();
        let kl = (log_variance.clone() + 1.0 - mu.powi_scalar(2) - log_variance.exp()).sum() * -0.5;
        kl - cross.sum()
    }
}

/// Reads one number: what is fused is not computed before somebody wants a result, and a wait alone does not.
fn finish(results: &[Tensor<2>]) {
    if let Some(last) = results.last() {
        last.clone().slice([0..1, 0..1]).into_data();
    }
}

fn prepare(case: Case, device: &Device) -> Option<Run> {
    let random =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), device);
    let wait = {
        let device = device.clone();
        move || device.sync().expect("the device works")
    };
    Some(match case {
        Case::Matmul(layout, m, n, k) => {
            let a = random(if layout == Layout::Tn { [k, m] } else { [m, k] });
            let b = random(if layout == Layout::Nt { [n, k] } else { [k, n] });
            Box::new(move |times| {
                let product = || {
                    let (a, b) = (a.clone(), b.clone());
                    match layout {
                        Layout::Nn => a.matmul(b),
                        Layout::Nt => a.matmul(b.transpose()),
                        Layout::Tn => a.transpose().matmul(b),
                    }
                };
                let kept: Vec<_> = (0..times).map(|_| product()).collect();
                finish(&kept);
                wait();
            })
        }
        Case::Add(n) => {
            let (x, y) = (random([n / 1024, 1024]), random([n / 1024, 1024]));
            Box::new(move |times| {
                // Kept to the end: a result that nobody wants is not computed.
                let kept: Vec<_> = (0..times).map(|_| x.clone() + y.clone()).collect();
                finish(&kept);
                wait();
            })
        }
        Case::Chain(n) => {
            let (x, y) = (random([n / 1024, 1024]), random([n / 1024, 1024]));
            Box::new(move |times| {
                let kept: Vec<_> = (0..times)
                    .map(|_| sigmoid(x.clone()) * y.clone() + x.clone())
                    .collect();
                finish(&kept);
                wait();
            })
        }
        Case::RowSums(m, n) => {
            let x = random([m, n]);
            Box::new(move |times| {
                let kept: Vec<_> = (0..times).map(|_| x.clone().sum_dim(1)).collect();
                finish(&kept);
                wait();
            })
        }
        Case::ColumnSums(m, n) => {
            let x = random([m, n]);
            Box::new(move |times| {
                let kept: Vec<_> = (0..times).map(|_| x.clone().sum_dim(0)).collect();
                finish(&kept);
                wait();
            })
        }
        Case::DcganStep | Case::DiffusionStep | Case::DiffusionSample => return None,
        Case::Conv(product, side) => {
            let random = |shape: [usize; 4]| {
                Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), device)
            };
            let (image, weight) = (random([16, 64, side, side]), random([64, 64, 3, 3]));
            let upstream = random([16, 64, side, side]);
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            Box::new(move |times| {
                let one = || match product {
                    Product::Forward => {
                        conv2d(image.clone(), weight.clone(), None, options.clone())
                    }
                    Product::Input => {
                        // Which is the transposed convolution of the gradient.
                        let options = ConvTransposeOptions::new([1, 1], [1, 1], [0, 0], [1, 1], 1);
                        conv_transpose2d(upstream.clone(), weight.clone(), None, options)
                    }
                    Product::Weight => conv2d_weight_backward(
                        image.clone(),
                        weight.clone(),
                        upstream.clone(),
                        options.clone(),
                    ),
                };
                let kept: Vec<_> = (0..times).map(|_| one()).collect();
                if let Some(last) = kept.last() {
                    last.clone().slice([0..1, 0..1, 0..1, 0..1]).into_data();
                }
                wait();
            })
        }
        Case::VaeStep => {
            let differentiable = device.clone().autodiff();
            let data = Tensor::<2>::random(
                [ROWS, 784],
                Distribution::Uniform(0.0, 1.0),
                &differentiable,
            );
            let mut model = Vae::new(&differentiable);
            let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
            let mut step = 0;
            Box::new(move |times| {
                for _ in 0..times {
                    let at = step % (ROWS / BATCH) * BATCH;
                    let loss = model.loss(data.clone().slice([at..at + BATCH, 0..784]));
                    let gradients = GradientsParams::from_grads(loss.backward(), &model);
                    model = optimizer.step(1e-3, model.clone(), gradients);
                    step += 1;
                }
                wait();
            })
        }
    })
}

fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    let device = match which.as_str() {
        "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
        "flex" => Device::flex(),
        other => panic!("expected 'wgpu' or 'flex', got '{other}'"),
    };
    serve(&format!("burn 0.22.1 {which}"), |case| {
        prepare(case, &device)
    });
}
