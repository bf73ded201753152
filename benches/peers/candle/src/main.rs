//! candle on the CPU as a peer.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{
    AdamW, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, ops::sigmoid,
};
use peer_protocol::{Case, Layout, Run, serve};

const BATCH: usize = 128;
const ROWS: usize = 12_800;

struct Vae {
    fc1: Linear,
    fc21: Linear,
    fc22: Linear,
    fc3: Linear,
    fc4: Linear,
}

impl Vae {
    fn loss(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.fc1.forward(x)?.relu()?;
        let (mu, log_variance) = (self.fc21.forward(&h)?, self.fc22.forward(&h)?);
        let noise = Tensor::randn(0f32, 1.0, (BATCH, 20), x.device())?;
        let z = (&mu + noise * (&log_variance * 0.5)?.exp()?)?;
        let y = sigmoid(&self.fc4.forward(&self.fc3.forward(&z)?.relu()?)?)?;
        let ones = x.ones_like()?;
        let cross =
            ((x * (&y + 1e-7)?.log()?)? + ((&ones - x)? * (((&ones - &y)? + 1e-7)?.log())?)?)?;
        let kl =
            ((((&log_variance + 1.0)? - mu.sqr()?)? - log_variance.exp()?)?.sum_all()? * -0.5)?;
        kl - cross.sum_all()?
    }
}

fn prepare(case: Case) -> Result<Run> {
    let device = Device::Cpu;
    let random = |m: usize, n: usize| Tensor::rand(-1f32, 1.0, (m, n), &Device::Cpu);
    fn repeat(work: impl Fn() -> Result<Tensor> + 'static) -> Run {
        Box::new(move |times| {
            (0..times).for_each(|_| drop(std::hint::black_box(work().expect("candle computes"))))
        })
    }
    Ok(match case {
        Case::Matmul(layout, m, n, k) => {
            let a = if layout == Layout::Tn {
                random(k, m)?
            } else {
                random(m, k)?
            };
            let b = if layout == Layout::Nt {
                random(n, k)?
            } else {
                random(k, n)?
            };
            repeat(move || match layout {
                Layout::Nn => a.matmul(&b),
                Layout::Nt => a.matmul(&b.t()?),
                Layout::Tn => a.t()?.matmul(&b),
            })
        }
        Case::Add(n) => {
            let (x, y) = (random(n / 1024, 1024)?, random(n / 1024, 1024)?);
            repeat(move || &x + &y)
        }
        Case::Chain(n) => {
            let (x, y) = (random(n / 1024, 1024)?, random(n / 1024, 1024)?);
            repeat(move || (sigmoid(&x)? * &y)? + &x)
        }
        Case::RowSums(m, n) => {
            let x = random(m, n)?;
            repeat(move || x.sum(1))
        }
        Case::ColumnSums(m, n) => {
            let x = random(m, n)?;
            repeat(move || x.sum(0))
        }
        Case::Conv(..) | Case::DcganStep | Case::DiffusionStep | Case::DiffusionSample => {
            return None;
        }
        Case::VaeStep => {
            let variables = VarMap::new();
            let vb = VarBuilder::from_varmap(&variables, DType::F32, &device);
            let model = Vae {
                fc1: linear(784, 400, vb.pp("fc1"))?,
                fc21: linear(400, 20, vb.pp("fc21"))?,
                fc22: linear(400, 20, vb.pp("fc22"))?,
                fc3: linear(20, 400, vb.pp("fc3"))?,
                fc4: linear(400, 784, vb.pp("fc4"))?,
            };
            let parameters = ParamsAdamW {
                lr: 1e-3,
                weight_decay: 0.0,
                ..Default::default()
            };
            let mut optimizer = AdamW::new(variables.all_vars(), parameters)?;
            let data = Tensor::rand(0f32, 1.0, (ROWS, 784), &device)?;
            let mut step = 0;
            Box::new(move |times| {
                for _ in 0..times {
                    let x = data
                        .narrow(0, step % (ROWS / BATCH) * BATCH, BATCH)
                        .expect("within the data");
                    let loss = model.loss(&x).expect("candle computes");
                    optimizer.backward_step(&loss).expect("candle computes");
                    step += 1;
                }
            })
        }
    })
}

fn main() {
    serve("candle 0.11.1 cpu", |case| prepare(case).ok());
}
