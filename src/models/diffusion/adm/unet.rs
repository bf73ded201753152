//! guided-diffusion's `UNetModel`, and its `SuperResModel`, which sees a small image beside x.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::kernels::philox::Domain;
//! use wgen::models::diffusion::adm::{Config, UNetConfig, UNetModel};
//! use wgen::models::diffusion::{Conditions, Denoiser};
//! use wgen::nn::Pass;
//! use wgen::tensor::{ImageShape, TensorType};
//!
//! let image = ImageShape { height: 16, width: 16, channels: 3 };
//! let network = Config { channel_mult: vec![1.0, 2.0], num_res_blocks: 1, ..Config::of(32) };
//! let network = Config { attention_resolutions: vec![2], num_head_channels: Some(16), ..network };
//! let config = UNetConfig { out_channels: 6, num_classes: Some(4), ..UNetConfig::of(image, network) };
//! let net = UNetModel::new(config)?;
//! let parameters = net.parameters();
//! assert_eq!(parameters.len(), 145);
//! assert_eq!(parameters.iter().map(|p| p.shape.count()).sum::<usize>(), 828_870);
//!
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([2, 768]));
//! let t = graph.input("t", TensorType::u32([2]));
//! let classes = graph.input("classes", TensorType::f32([2, 4]));
//! let told = Conditions { classes: Some(classes), ..Conditions::default() };
//! let prediction = net.predict(&Pass::evaluation(&graph), x, t.into(), told);
//! assert_eq!(prediction.shape().dims(), [2, 256, 6]);
//! graph.check()?;
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::half::{Builder, EPSILON, Entry, InputHalf, parameters_of, through};
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::kernels::resize::Interpolation;
use crate::models::diffusion::blocks::Resample;
use crate::models::diffusion::denoiser::{Conditions, Denoiser, Timestep};
use crate::nn::{Conv2d, GroupNorm, Pass};
use crate::tensor::ImageShape;

/// What a `UNetModel` or `SuperResModel` is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// What x is.
    pub image: ImageShape,
    /// Channels of the prediction: twice x's where the variance is learned (`learn_sigma`).
    pub out_channels: usize,
    /// Classes, the null class of guidance among them as the last where there is one.
    pub num_classes: Option<usize>,
    /// Height and width of the image that the network sees beside x, brought to x's size bilinearly: it is a `SuperResModel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_res: Option<[usize; 2]>,
    /// The rest.
    pub network: Config,
}

impl UNetConfig {
    /// For images without classes, the variance not learned.
    pub fn of(image: ImageShape, network: Config) -> Self {
        Self {
            image,
            out_channels: image.channels,
            num_classes: None,
            low_res: None,
            network,
        }
    }

    /// What lies beside x, of a `SuperResModel`.
    pub fn low_res(&self) -> Option<ImageShape> {
        let [height, width] = self.low_res?;
        Some(ImageShape {
            height,
            width,
            ..self.image
        })
    }

    /// Refuses what cannot be built, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("ADM: {why}")));
        self.network.check(self.image)?;
        if self.out_channels == 0 || self.out_channels > 1 << 11 {
            return wrong(format!(
                "`out_channels` {} must be from 1 to {}",
                self.out_channels,
                1 << 11
            ));
        }
        if let Some(classes) = self.num_classes
            && !(1..=1 << 20).contains(&classes)
        {
            return wrong(format!(
                "`num_classes` {classes} must be from 1 to {}",
                1 << 20
            ));
        }
        if let Some([height, width]) = self.low_res {
            let divides = |small: usize, large: usize| small > 0 && large.is_multiple_of(small);
            if !divides(height, self.image.height) || !divides(width, self.image.width) {
                return wrong(format!(
                    "`low_res` {height} x {width} must divide the image's {} x {}: in training it is the mean of so many pixels",
                    self.image.height, self.image.width
                ));
            }
        }
        Ok(())
    }
}

/// A `UNetModel`, or a `SuperResModel`.
#[derive(Clone, Debug)]
pub struct UNetModel {
    config: UNetConfig,
    half: InputHalf,
    output: Vec<Entry>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

const LABEL_EMB: &str = "label_emb.weight";

impl UNetModel {
    /// A network of this configuration.
    ///
    /// # Errors
    /// As [`UNetConfig::check`].
    pub fn new(config: UNetConfig) -> Result<Self> {
        config.check()?;
        let network = &config.network;
        let inputs = config.image.channels * if config.low_res.is_some() { 2 } else { 1 };
        let half = InputHalf::new(network, inputs, "")?;
        let channels = network.channels()?;
        let first = channels.first().copied().unwrap_or(network.model_channels);
        Ok(Self {
            output: output_blocks(network, &channels, &half.widths),
            norm_out: GroupNorm {
                name: "out.0".to_owned(),
                channels: first,
                groups: network.groups,
                epsilon: EPSILON,
            },
            conv_out: Conv2d::new("out.2", first, config.out_channels, [3, 1, 1]),
            half,
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The prediction `[batch, height, width, out_channels]` from `x` `[batch, height, width, channels]` at `t`; of `told` the classes are
    /// `[batch, num_classes]`, the low resolution `[batch, its height, its width, channels]`.
    pub fn forward<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Timestep<'g>,
        told: Conditions<'g>,
    ) -> Var<'g> {
        let graph = pass.graph();
        let mut embedding = self.half.embedding(t);
        if let (Some(rows), Some(classes)) = (told.classes, self.config.num_classes) {
            let table = graph.parameter(LABEL_EMB, [classes, self.time()]);
            embedding = embedding + rows.matmul(table);
        }
        let ImageShape { height, width, .. } = self.config.image;
        let x = match told.low_res {
            Some(small) => graph.concat(
                3,
                &[x, small.resize([height, width], Interpolation::Bilinear)],
            ),
            None => x,
        };
        let down = self.half.forward(pass, x, embedding);
        let mut kept = down.entries;
        let mut h = down.middle;
        for entry in &self.output {
            let skipped = kept.pop().unwrap_or(h);
            h = through(entry, pass, graph.concat(3, &[h, skipped]), down.embedding);
        }
        self.conv_out.forward(self.norm_out.forward(h, true))
    }

    /// Size of the embedding of time.
    fn time(&self) -> usize {
        4 * self.config.network.model_channels
    }
}

/// The entries on the way up; `widths` are the channels of what those on the way down give.
fn output_blocks(network: &Config, channels: &[usize], widths: &[usize]) -> Vec<Entry> {
    let builder = Builder::new(network);
    let mut skips = widths.iter().rev();
    let mut before = widths.last().copied().unwrap_or(0);
    let mut entries: Vec<Entry> = Vec::new();
    for (level, &own) in channels.iter().enumerate().rev() {
        for i in 0..=network.num_res_blocks {
            let name = format!("output_blocks.{}", entries.len());
            let skipped = skips.next().copied().unwrap_or(0);
            let sizes = [before + skipped, own];
            let mut entry = vec![builder.residual(format!("{name}.0"), sizes, Resample::None)];
            if network.attention_resolutions.contains(&(1 << level)) {
                entry.push(builder.attention(&format!("{name}.1"), own));
            }
            if level > 0 && i == network.num_res_blocks {
                let name = format!("{name}.{}", entry.len());
                entry.push(builder.doubling(name, own));
            }
            entries.push(entry);
            before = own;
        }
    }
    entries
}

impl Denoiser for UNetModel {
    /// Its tensors, in the order of guided-diffusion's state dict. What ends a residual branch begins as zero, as does the last convolution.
    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.half.time_parameters();
        if let Some(classes) = self.config.num_classes {
            let (shape, init) = ([classes, self.time()], Init::Normal(0.0, 1.0));
            parameters.push(Parameter::new(LABEL_EMB, shape, init));
        }
        parameters.extend(self.half.entry_parameters());
        parameters.extend(parameters_of(self.output.iter()));
        parameters.extend(self.norm_out.parameters());
        let zero = |parameter| Parameter {
            init: Init::Constant(0.0),
            ..parameter
        };
        parameters.extend(self.conv_out.parameters().into_iter().map(zero));
        parameters
    }

    fn predict<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Timestep<'g>,
        told: Conditions<'g>,
    ) -> Var<'g> {
        let rows = x.shape().dims()[0];
        let as_images = |v: Var<'g>, image: ImageShape| {
            let rows = v.shape().dims()[0];
            v.reshape([rows, image.height, image.width, image.channels])
        };
        let low_res = told.low_res.zip(self.config.low_res());
        let told = Conditions {
            low_res: low_res.map(|(v, image)| as_images(v, image)),
            ..told
        };
        let ImageShape { height, width, .. } = self.config.image;
        let outputs = self.config.out_channels;
        self.forward(pass, as_images(x, self.config.image), t, told)
            .reshape([rows, height * width, outputs])
    }

    fn outputs(&self) -> usize {
        self.config.out_channels
    }
}
