//! The training steps of every model: small sizes that no tile divides, every loss and option that makes other kernels.

use super::Comparison;
use super::step::{self, Setup};
use crate::data::digits::digits;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::layout::{Init, Layout, Role};
use crate::graph::update::{Rule, Update};
use crate::kernels::Caps;
use crate::kernels::philox::RandomState;
use crate::kernels::schedule;
use crate::models::autoencoder::contractive::{self, Contractive};
use crate::models::autoencoder::sparse::{self, Sparse, Sparsity};
use crate::models::autoencoder::{self, Autoencoder, Corruption};
use crate::models::classifier::{self, Classifier};
use crate::models::diffusion::process::{Prediction, Variance};
use crate::models::diffusion::{self, Diffusion, mlp, unet};
use crate::models::gan::{self, Gan, Loss, Networks};
use crate::models::vae::{self, Decoder, Vae};
use crate::models::{DataType, Model};
use crate::nn::{Activation, init};
use crate::program::PlanOptions;
use crate::tensor::ImageShape;
use crate::tensor::{DType, Data, Value};

/// Verifies a model's plans; `true` for a quick run.
pub type Run = fn(&Gpu, bool) -> Result<Vec<(String, Comparison)>>;

/// The models whose training steps are verified.
pub const MODELS: &[(&str, Run)] = &[
    ("vae", |gpu, quick| each(gpu, vae(gpu.caps(), quick)?)),
    ("ae", |gpu, quick| each(gpu, ae(quick)?)),
    ("sparse-ae", |gpu, _| each(gpu, sparse_ae()?)),
    ("contractive-ae", |gpu, _| each(gpu, contractive_ae()?)),
    ("classifier", |gpu, _| each(gpu, a_classifier()?)),
    ("gan", |gpu, quick| each(gpu, gans(quick)?)),
    ("diffusion", |gpu, quick| each(gpu, diffusions(quick)?)),
    ("chains", super::chains::random_chains),
];

/// The steps of each model that are verified on a device of these capabilities.
///
/// # Errors
/// Never in practice: the sizes are sound.
pub fn steps(caps: &Caps, quick: bool) -> Result<Vec<(&'static str, Vec<Step>)>> {
    Ok(vec![
        ("vae", vae(caps, quick)?),
        ("ae", ae(quick)?),
        ("sparse-ae", sparse_ae()?),
        ("contractive-ae", contractive_ae()?),
        ("classifier", a_classifier()?),
        ("gan", gans(quick)?),
        ("diffusion", diffusions(quick)?),
    ])
}

/// A training step to be verified.
#[derive(Debug)]
pub struct Step {
    /// What is special about it.
    pub name: String,
    /// The model.
    pub model: Box<dyn Model>,
    /// Which of its updates.
    pub phase: usize,
    /// Examples.
    pub batch: usize,
    /// The optimiser.
    pub rule: Rule,
    /// Gradients are scaled down to this norm; 0 for never.
    pub max_norm: f32,
    /// How its plan is compiled.
    pub options: PlanOptions,
}

impl Step {
    fn new(name: impl Into<String>, model: impl Model + 'static, batch: usize) -> Self {
        Self {
            name: name.into(),
            model: Box::new(model),
            phase: 0,
            batch,
            rule: Rule::ADAM,
            max_norm: 0.0,
            options: PlanOptions::default(),
        }
    }
}

/// 28x28 grey images.
const IMAGE: ImageShape = ImageShape {
    height: 28,
    width: 28,
    channels: 1,
};

/// Classes of the drawn digits.
const CLASSES: usize = 10;

/// The VAE: Bernoulli and Gaussian decoders, sizes that are no multiple of four, clipping, EMA, without subgroups, convolutional,
/// conditional.
fn vae(caps: &Caps, quick: bool) -> Result<Vec<Step>> {
    let model = |hidden: &[usize], latent, decoder| {
        Vae::new(vae::Config {
            width: 784,
            hidden: hidden.to_vec(),
            latent,
            decoder,
            ..vae::Config::mnist()
        })
    };
    let small = || model(&[36], 5, Decoder::Bernoulli);
    let with = |options: PlanOptions| -> Result<Step> {
        Ok(Step {
            options,
            ..Step::new(format!("36-5 batch 13, {options:?}"), small()?, 13)
        })
    };
    let rmsprop = Rule::Rmsprop {
        alpha: 0.99,
        epsilon: 1e-8,
        momentum: 0.9,
        decay: 0.01,
    };
    let usual = PlanOptions::default();
    let mut steps = vec![
        Step {
            max_norm: 1.0,
            ..Step::new("36-5 batch 13, clipped", small()?, 13)
        },
        Step {
            rule: rmsprop,
            ..Step::new(
                "24-17-2 batch 8, Gaussian, RMSprop",
                model(&[24, 17], 2, Decoder::Gaussian)?,
                8,
            )
        },
        with(PlanOptions {
            subgroups: false,
            ..usual
        })?,
        // One example: products with one row are reductions.
        Step::new("36-5 batch 1", small()?, 1),
        Step::new(
            "convolutional 4-6, conditional, batch 5",
            Vae::new(vae::Config {
                hidden: Vec::new(),
                channels: vec![4, 6],
                image: Some(IMAGE),
                latent: 5,
                classes: CLASSES,
                ..vae::Config::mnist()
            })?,
            5,
        ),
    ];
    if !quick {
        let full = || model(&[400], 20, Decoder::Bernoulli);
        steps.push(Step::new("400-20 batch 128", full()?, 128));
        steps.push(Step::new("400-20 batch 1", full()?, 1));
        steps.push(with(PlanOptions {
            fuse: false,
            ..usual
        })?);
        steps.push(Step::new(
            "36-5, conditional, batch 9",
            Vae::new(vae::Config {
                hidden: vec![36],
                latent: 5,
                classes: CLASSES,
                ..vae::Config::mnist()
            })?,
            9,
        ));
    }
    if caps.f16 {
        let options = PlanOptions {
            half: true,
            ..usual
        };
        steps.push(Step {
            max_norm: 1.0,
            options,
            ..Step::new("36-5 batch 16, f16", small()?, 16)
        });
        steps.push(Step {
            options,
            ..Step::new(
                "64-32-4 batch 16, Gaussian, f16",
                model(&[64, 32], 4, Decoder::Gaussian)?,
                16,
            )
        });
    }
    // Activations larger than a binding: every kernel of the step on ranges of its tensors.
    let cut = PlanOptions {
        binding_bytes: Some(64 << 10),
        ..usual
    };
    steps.push(Step {
        options: cut,
        ..Step::new(
            "64-8 batch 64, ranges",
            model(&[64], 8, Decoder::Bernoulli)?,
            64,
        )
    });
    Ok(steps)
}

fn ae(quick: bool) -> Result<Vec<Step>> {
    let dense = autoencoder::Config {
        hidden: vec![30, 18],
        latent: 7,
        ..autoencoder::Config::deep(IMAGE)
    };
    let convolutional = autoencoder::Config {
        hidden: Vec::new(),
        channels: vec![4, 6],
        ..dense.clone()
    };
    let mut steps = vec![
        Step::new(
            "30-18-7, Gaussian corruption, batch 11",
            Autoencoder::new(autoencoder::Config {
                corruption: Corruption::Gaussian(0.3),
                ..dense.clone()
            })?,
            11,
        ),
        Step::new(
            "convolutional 4-6, batch 6",
            Autoencoder::new(convolutional)?,
            6,
        ),
    ];
    if !quick {
        for corruption in [Corruption::Masking(0.4), Corruption::SaltAndPepper(0.4)] {
            let config = autoencoder::Config {
                corruption,
                activation: Activation::Silu,
                output: Activation::Identity,
                ..dense.clone()
            };
            let name = format!("30-18-7, {corruption:?}, batch 8");
            steps.push(Step::new(name, Autoencoder::new(config)?, 8));
        }
    }
    Ok(steps)
}

fn sparse_ae() -> Result<Vec<Step>> {
    let kinds = [
        Sparsity::L1 { penalty: 0.1 },
        Sparsity::Kl {
            rho: 0.1,
            penalty: 0.5,
        },
        Sparsity::TopK { k: 9 },
    ];
    let step = |sparsity: Sparsity| {
        let config = sparse::Config {
            image: IMAGE,
            latent: 70,
            sparsity,
            revival: 0.2,
            corruption: Corruption::None,
        };
        Ok(Step::new(
            format!("70 units, {sparsity:?}, batch 9"),
            Sparse::new(config)?,
            9,
        ))
    };
    kinds.into_iter().map(step).collect()
}

fn contractive_ae() -> Result<Vec<Step>> {
    let config = |layers: &[usize], norm| contractive::Config {
        layers: layers.to_vec(),
        norm,
        ..contractive::Config::single(IMAGE, 0.1)
    };
    use contractive::Norm::{Exact, Hutchinson};
    let kinds = [
        (&[21][..], Exact),
        (&[18, 10][..], Exact),
        (&[18, 10][..], Hutchinson),
    ];
    let step = |(layers, norm): (&[usize], contractive::Norm)| {
        Ok(Step::new(
            format!("{layers:?}, {norm:?}, batch 7"),
            Contractive::new(config(layers, norm))?,
            7,
        ))
    };
    kinds.into_iter().map(step).collect()
}

fn a_classifier() -> Result<Vec<Step>> {
    let config = classifier::Config {
        channels: [4, 8],
        features: 14,
        ..classifier::Config::mnist(IMAGE, CLASSES)
    };
    Ok(vec![Step::new(
        "4-8-14, batch 6",
        Classifier::new(config)?,
        6,
    )])
}

/// Both phases of each: losses, normalisations, conditional, and the penalty that differentiates a gradient.
fn gans(quick: bool) -> Result<Vec<Step>> {
    let mlp = gan::Config {
        networks: Networks::Mlp {
            hidden: vec![20, 12],
        },
        latent: 5,
        ..gan::Config::for_data(IMAGE, true)
    };
    let dcgan = |norm| gan::Config {
        networks: Networks::Dcgan {
            generator_channels: 4,
            discriminator_channels: 4,
            discriminator_norm: norm,
        },
        latent: 6,
        ..gan::Config::for_data(IMAGE, true)
    };
    let mut configs = vec![
        ("DCGAN 4", dcgan(true)),
        (
            "perceptrons, Wasserstein",
            gan::Config {
                loss: Loss::Wasserstein,
                ..mlp.clone()
            },
        ),
        (
            "perceptrons, minimax, smoothed, spectral norm",
            gan::Config {
                loss: Loss::Minimax,
                smoothing: 0.1,
                spectral_norm: true,
                ..mlp.clone()
            },
        ),
    ];
    if !quick {
        configs.extend([
            (
                "DCGAN 4, conditional, spectral norm, hinge",
                gan::Config {
                    loss: Loss::Hinge,
                    spectral_norm: true,
                    classes: CLASSES,
                    ..dcgan(false)
                },
            ),
            (
                "DCGAN 4, Wasserstein",
                gan::Config {
                    loss: Loss::Wasserstein,
                    ..dcgan(false)
                },
            ),
            (
                "perceptrons, conditional, least squares",
                gan::Config {
                    loss: Loss::LeastSquares,
                    classes: CLASSES,
                    ..mlp
                },
            ),
        ]);
    }
    let mut steps = Vec::new();
    for (name, config) in configs {
        for phase in 0..2 {
            let model = Gan::new(config.clone())?;
            let whose = model.phases()[phase].name;
            steps.push(Step {
                phase,
                ..Step::new(format!("{name}, {whose}, batch 6"), model, 6)
            });
        }
    }
    Ok(steps)
}

/// The U-Net with all that its configuration may ask for, and the perceptron; each prediction and loss.
fn diffusions(quick: bool) -> Result<Vec<Step>> {
    let unet = |channels: &[usize], attention: &[usize]| unet::Config {
        norm_num_groups: 4,
        attention_head_dim: Some(4),
        ..unet::Config::of(IMAGE, channels, 1, attention)
    };
    let images = |unet: unet::Config| {
        diffusion::Config::of(IMAGE, true, diffusion::Network::Unet(Box::new(unet)))
    };
    let points = |outputs: usize, classes: usize| {
        let network = mlp::Config {
            width: IMAGE.count(),
            hidden: 20,
            blocks: 2,
            outputs,
            classes,
        };
        diffusion::Config::of(IMAGE, true, diffusion::Network::Mlp(network))
    };
    let mut configs = vec![
        (
            "U-Net 8-12, conditional",
            diffusion::Config {
                classes: CLASSES,
                null_share: 0.4,
                ..images(unet::Config {
                    num_class_embeds: Some(CLASSES + 1),
                    dropout: 0.1,
                    ..unet(&[8, 12], &[])
                })
            },
            3,
        ),
        (
            "perceptron, v, min-SNR",
            diffusion::Config {
                prediction: Prediction::Velocity,
                loss: diffusion::Loss::MinSnr(5.0),
                ..points(IMAGE.count(), 0)
            },
            7,
        ),
        (
            "perceptron, x_0, variational bound",
            diffusion::Config {
                prediction: Prediction::Sample,
                loss: diffusion::Loss::Vlb,
                variance: Variance::FixedLarge,
                ..points(IMAGE.count(), 0)
            },
            5,
        ),
    ];
    if !quick {
        configs.push((
            "U-Net 4-8-8, scale-shift, resnet samplers, hybrid",
            diffusion::Config {
                variance: Variance::LearnedRange,
                loss: diffusion::Loss::Hybrid,
                ..images(unet::Config {
                    out_channels: 2,
                    // Groups of one channel would make the gradients of biases before them zero, and rounding all that is left.
                    norm_num_groups: 2,
                    resnet_time_scale_shift: "scale_shift".to_owned(),
                    downsample_type: "resnet".to_owned(),
                    upsample_type: "resnet".to_owned(),
                    downsample_padding: 0,
                    flip_sin_to_cos: false,
                    freq_shift: 1.0,
                    ..unet(&[4, 8, 8], &[14])
                })
            },
            2,
        ));
        configs.push((
            "perceptron, conditional, hybrid",
            diffusion::Config {
                variance: Variance::LearnedRange,
                loss: diffusion::Loss::Hybrid,
                classes: CLASSES,
                ..points(2 * IMAGE.count(), CLASSES)
            },
            6,
        ));
    }
    let step = |(name, config, batch): (&str, diffusion::Config, usize)| {
        Ok(Step::new(
            format!("{name}, batch {batch}"),
            Diffusion::new(config)?,
            batch,
        ))
    };
    configs.into_iter().map(step).collect()
}

fn each(gpu: &Gpu, steps: Vec<Step>) -> Result<Vec<(String, Comparison)>> {
    let verified = |step: Step| {
        let comparison = verify(gpu, &step)?;
        Ok((step.name, comparison))
    };
    steps.into_iter().map(verified).collect()
}

fn verify(gpu: &Gpu, case: &Step) -> Result<Comparison> {
    const ROWS: usize = 200;
    let model = case.model.as_ref();
    let data = digits(ROWS, 7);
    let labels = Data::U8(data.one_hot(CLASSES)?);
    let ty = DataType {
        rows: ROWS,
        width: IMAGE.count(),
        dtype: DType::U8,
        indices: ROWS,
        scale: 1.0 / 255.0,
        shift: 0.0,
        classes: CLASSES,
    };
    let phase = model.phases().swap_remove(case.phase);
    let update = Update {
        rule: case.rule,
        max_norm: case.max_norm,
        ema: true,
        metrics: phase.metrics,
        set: phase.set,
        takes_data: phase.takes_data,
        batch: case.batch,
        loss_scale: case.options.half,
    };
    let graph = model.training(case.phase, &ty, &update)?;
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes)?;
    let weights = layout
        .parameters
        .iter()
        .map(|p| match (p.init, p.role) {
            // DCGAN's weights are so small that gradients drown in rounding, and a U-Net's branches end in zeros; what is verified is
            // the arithmetic.
            (Init::Normal(..) | Init::Constant(_), Role::Trained(_)) if p.shape.rank() > 1 => {
                let wide = Init::Normal(0.0, 0.15);
                init::draw(
                    &crate::graph::layout::Parameter {
                        init: wide,
                        ..p.clone()
                    },
                    5,
                )
            }
            // Not zero, where a wrong sign would not show.
            (Init::Constant(_), Role::Trained(_)) => vec![0.3; p.shape.count()],
            _ => init::draw(p, 5),
        })
        .collect();
    let index: Vec<u32> = (0..ROWS as u32)
        .map(|i| (i * 77 + 3) % ROWS as u32)
        .collect();
    let state = RandomState {
        seed: 0x0123_4567_89ab_cdef,
        step: 41,
        cursor: 9,
    };
    let row = |i: u64| {
        let mut row = case.rule.schedule_row(41 + i, 1e-3, 0.9, 0.7);
        row[schedule::LOSS_SCALE] = if case.options.half { 8.0 } else { 1.0 };
        row
    };
    let inputs = [
        ("data", Value::new([ROWS, IMAGE.count()], data.values)?),
        ("labels", Value::new([ROWS, CLASSES], labels)?),
        ("index", Value::new([ROWS], Data::U32(index))?),
    ];
    let setup = Setup {
        graph: &graph,
        layout,
        weights,
        inputs: inputs
            .into_iter()
            .filter(|(name, _)| graph.has_input(name))
            .collect(),
        state,
        schedule: (0..4).map(row).collect(),
    };
    step::graph(gpu, &setup, case.options)
}
