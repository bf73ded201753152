//! The U-Net of Ho et al. 2020, which predicts the noise in images, as diffusers' `UNet2DModel` has it: its `config.json`, its tensors'
//! names, its outputs.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::kernels::philox::Domain;
//! use wgen::models::diffusion::Denoiser;
//! use wgen::models::diffusion::unet::{Config, UNet2DModel};
//! use wgen::nn::Pass;
//! use wgen::tensor::{ImageShape, TensorType};
//!
//! let image = ImageShape { height: 16, width: 16, channels: 1 };
//! let net = UNet2DModel::new(Config::of(image, &[8, 32], 1, &[]))?;
//! assert!(net.parameters().iter().any(|p| p.name == "down_blocks.0.resnets.0.conv1.weight"));
//! let json = net.config().to_diffusers().to_string();
//! assert_eq!(Config::from_diffusers(&json)?, *net.config());
//!
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([2, 16, 16, 1]));
//! let t = graph.input("t", TensorType::u32([2]));
//! let noise = net.forward(&Pass::evaluation(&graph), x, t, None);
//! assert_eq!(noise.shape(), x.shape());
//! graph.check()?;
//! # Ok::<(), wgen::Error>(())
//! ```

use super::blocks::{AttentionBlock, Resample, ResnetBlock, ResnetNames, ResnetOptions};
use super::denoiser::{Conditions, Denoiser, Timestep};
pub use super::unet_config::{Config, SampleSize};
use crate::error::Result;
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::graph::ops::conv2d::Conv2dOptions;
use crate::kernels::resize::Interpolation;
use crate::kernels::timestep_embedding::Convention;
use crate::nn::{Conv2d, GroupNorm, Linear, Pass};

/// Residual blocks of a level, each followed by attention where the level has it, and what changes the image's size.
#[derive(Clone, Debug)]
struct Stage {
    blocks: Vec<(ResnetBlock, Option<AttentionBlock>)>,
    sampler: Option<Sampler>,
}

#[derive(Clone, Debug)]
enum Sampler {
    Conv(Conv2d),
    Resnet(Box<ResnetBlock>),
}

/// A `UNet2DModel`.
#[derive(Clone, Debug)]
pub struct UNet2DModel {
    config: Config,
    conv_in: Conv2d,
    time: [Linear; 2],
    down: Vec<Stage>,
    middle: Option<(ResnetBlock, Option<AttentionBlock>, ResnetBlock)>,
    up: Vec<Stage>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

const CLASS_EMBEDDING: &str = "class_embedding.weight";

/// Makes blocks as a configuration says.
struct Builder<'a> {
    config: &'a Config,
    options: ResnetOptions,
    /// Channels of what is kept for the way up.
    kept: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            options: ResnetOptions {
                names: ResnetNames::DIFFUSERS,
                time: config.time_dim(),
                groups: config.norm_num_groups,
                epsilon: config.norm_eps,
                adaptive: config.resnet_time_scale_shift == "scale_shift",
                dropout: config.dropout,
            },
            kept: vec![config.block_out_channels[0]],
        }
    }

    fn resnet(&self, name: String, sizes: [usize; 2], resample: Resample) -> ResnetBlock {
        ResnetBlock::new(name, sizes, resample, &self.options)
    }

    fn attention(&self, name: &str, channels: usize, groups: Option<usize>) -> AttentionBlock {
        let head = self.config.attention_head_dim.unwrap_or(channels);
        let norm = groups.map(|groups| (groups, self.config.norm_eps));
        AttentionBlock::new(name, channels, head, norm)
    }

    fn down(&mut self) -> Result<Vec<Stage>> {
        let (config, levels) = (self.config, self.config.block_out_channels.len());
        let mut stages = Vec::new();
        let mut inputs = config.block_out_channels[0];
        for (i, name) in config.down_block_types.iter().enumerate() {
            let (level, outputs) = (Config::level(name)?, config.block_out_channels[i]);
            let prefix = format!("down_blocks.{i}");
            let mut blocks = Vec::new();
            for j in 0..config.layers_per_block {
                let name = format!("{prefix}.resnets.{j}");
                let block = self.resnet(name, [inputs, outputs], Resample::None);
                let name = format!("{prefix}.attentions.{j}");
                let groups = Some(config.norm_num_groups);
                let attends = level
                    .attention
                    .then(|| self.attention(&name, outputs, groups));
                blocks.push((block, attends));
                self.kept.push(outputs);
                inputs = outputs;
            }
            let sampler = (i + 1 < levels).then(|| {
                self.kept.push(outputs);
                let name = format!("{prefix}.downsamplers.0");
                if level.resnet || (level.attention && config.downsample_type == "resnet") {
                    let block = self.resnet(name, [outputs; 2], Resample::Down);
                    return Sampler::Resnet(Box::new(block));
                }
                let sizes = [3, 2, config.downsample_padding];
                let mut conv = Conv2d::new(format!("{name}.conv"), outputs, outputs, sizes);
                if config.downsample_padding == 0 {
                    conv.options = Conv2dOptions {
                        padding: [[0, 1]; 2],
                        ..conv.options
                    };
                }
                Sampler::Conv(conv)
            });
            stages.push(Stage { blocks, sampler });
        }
        Ok(stages)
    }

    fn middle(&self) -> Option<(ResnetBlock, Option<AttentionBlock>, ResnetBlock)> {
        let config = self.config;
        config.mid_block_type.as_ref()?;
        let last = *config.block_out_channels.last()?;
        let resnet = |i: usize| {
            let name = format!("mid_block.resnets.{i}");
            self.resnet(name, [last; 2], Resample::None)
        };
        let own = (!self.options.adaptive).then_some(config.norm_num_groups);
        let attends = config.add_attention.then(|| {
            let groups = config.attn_norm_num_groups.or(own);
            self.attention("mid_block.attentions.0", last, groups)
        });
        Some((resnet(0), attends, resnet(1)))
    }

    fn up(&mut self) -> Result<Vec<Stage>> {
        let config = self.config;
        let channels = &config.block_out_channels;
        let first = channels[0];
        let mut inputs = channels[channels.len() - 1];
        let mut stages = Vec::new();
        for (i, name) in config.up_block_types.iter().enumerate() {
            let level = Config::level(name)?;
            let outputs = channels[channels.len() - 1 - i];
            let prefix = format!("up_blocks.{i}");
            let mut blocks = Vec::new();
            for j in 0..=config.layers_per_block {
                let skipped = self.kept.pop().unwrap_or(first);
                let name = format!("{prefix}.resnets.{j}");
                let block = self.resnet(name, [inputs + skipped, outputs], Resample::None);
                let name = format!("{prefix}.attentions.{j}");
                let groups = Some(config.norm_num_groups);
                let attends = level
                    .attention
                    .then(|| self.attention(&name, outputs, groups));
                blocks.push((block, attends));
                inputs = outputs;
            }
            let sampler = (i + 1 < channels.len()).then(|| {
                let name = format!("{prefix}.upsamplers.0");
                if level.resnet || (level.attention && config.upsample_type == "resnet") {
                    let block = self.resnet(name, [outputs; 2], Resample::Up);
                    return Sampler::Resnet(Box::new(block));
                }
                let name = format!("{name}.conv");
                Sampler::Conv(Conv2d::new(name, outputs, outputs, [3, 1, 1]))
            });
            stages.push(Stage { blocks, sampler });
        }
        Ok(stages)
    }
}

impl UNet2DModel {
    /// A network of this configuration.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let first = config.block_out_channels[0];
        let time = config.time_dim();
        let mut builder = Builder::new(&config);
        let down = builder.down()?;
        let middle = builder.middle();
        let up = builder.up()?;
        Ok(Self {
            conv_in: Conv2d::new("conv_in", config.in_channels, first, [3, 1, 1]),
            time: [
                Linear::new("time_embedding.linear_1", first, time),
                Linear::new("time_embedding.linear_2", time, time),
            ],
            down,
            middle,
            up,
            norm_out: GroupNorm {
                name: "conv_norm_out".to_owned(),
                channels: first,
                groups: config.norm_num_groups,
                epsilon: config.norm_eps,
            },
            conv_out: Conv2d::new("conv_out", first, config.out_channels, [3, 1, 1]),
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn residual(&self) -> impl Iterator<Item = &ResnetBlock> {
        let stages = self.down.iter().chain(&self.up);
        let of_stages = stages.flat_map(|stage| {
            let sampler = match &stage.sampler {
                Some(Sampler::Resnet(block)) => Some(block.as_ref()),
                _ => None,
            };
            stage.blocks.iter().map(|(block, _)| block).chain(sampler)
        });
        let middle = self.middle.iter().flat_map(|(a, _, b)| [a, b]);
        of_stages.chain(middle)
    }

    fn attentions(&self) -> impl Iterator<Item = &AttentionBlock> {
        let stages = self.down.iter().chain(&self.up);
        let of_stages = stages.flat_map(|s| s.blocks.iter().filter_map(|(_, a)| a.as_ref()));
        of_stages.chain(self.middle.iter().filter_map(|(_, a, _)| a.as_ref()))
    }

    /// The prediction `[batch, height, width, out_channels]` from `x` `[batch, height, width, in_channels]` at `t`. `classes` is
    /// `[batch, num_class_embeds]`, 1 at the class.
    pub fn forward<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: impl Into<Timestep<'g>>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        let config = &self.config;
        let graph = pass.graph();
        let convention = Convention {
            cosine_first: config.flip_sin_to_cos,
            shift: config.freq_shift,
            max_period: 10_000.0,
        };
        let t: Timestep<'g> = t.into();
        let sinusoid = t.embedding(config.block_out_channels[0], convention);
        let mut embedding = self.time[1].forward(self.time[0].forward(sinusoid).silu());
        if let (Some(rows), Some(classes)) = (classes, config.num_class_embeds) {
            let table = graph.parameter(CLASS_EMBEDDING, [classes, config.time_dim()]);
            embedding = rows.matmul(table) + embedding;
        }
        // Every block begins with it.
        let embedding = embedding.silu();
        let x = if config.center_input_sample {
            x * 2.0 - 1.0
        } else {
            x
        };
        let mut h = self.conv_in.forward(x);
        let mut kept = vec![h];
        let with_attention = |block: &(ResnetBlock, Option<AttentionBlock>), h: Var<'g>| {
            let h = block.0.forward(pass, h, embedding);
            block.1.as_ref().map_or(h, |attention| attention.forward(h))
        };
        for stage in &self.down {
            for block in &stage.blocks {
                h = with_attention(block, h);
                kept.push(h);
            }
            if let Some(sampler) = &stage.sampler {
                h = match sampler {
                    Sampler::Conv(conv) => conv.forward(h),
                    Sampler::Resnet(block) => block.forward(pass, h, embedding),
                };
                kept.push(h);
            }
        }
        if let Some((first, attention, second)) = &self.middle {
            h = first.forward(pass, h, embedding);
            h = attention
                .as_ref()
                .map_or(h, |attention| attention.forward(h));
            h = second.forward(pass, h, embedding);
        }
        for stage in &self.up {
            for block in &stage.blocks {
                let skipped = kept.pop().unwrap_or(h);
                h = with_attention(block, graph.concat(3, &[h, skipped]));
            }
            h = match &stage.sampler {
                Some(Sampler::Conv(conv)) => {
                    let [_, height, width, _] = *h.shape().dims() else {
                        return h;
                    };
                    conv.forward(h.resize([2 * height, 2 * width], Interpolation::Nearest))
                }
                Some(Sampler::Resnet(block)) => block.forward(pass, h, embedding),
                None => h,
            };
        }
        self.conv_out.forward(self.norm_out.forward(h, true))
    }
}

impl Denoiser for UNet2DModel {
    /// Its tensors. What ends a residual branch begins as zero, as does the last convolution (Ho et al. 2020's code): at first the network
    /// predicts nothing and each block changes nothing.
    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.conv_in.parameters();
        parameters.extend(self.time.iter().flat_map(Linear::parameters));
        if let Some(classes) = self.config.num_class_embeds {
            let shape = [classes, self.config.time_dim()];
            parameters.push(Parameter::new(
                CLASS_EMBEDDING,
                shape,
                Init::Normal(0.0, 1.0),
            ));
        }
        parameters.extend(self.residual().flat_map(ResnetBlock::parameters));
        parameters.extend(self.attentions().flat_map(AttentionBlock::parameters));
        for stage in self.down.iter().chain(&self.up) {
            if let Some(Sampler::Conv(conv)) = &stage.sampler {
                parameters.extend(conv.parameters());
            }
        }
        parameters.extend(self.norm_out.parameters());
        parameters.extend(self.conv_out.parameters());
        for parameter in &mut parameters {
            let layer = parameter
                .name
                .trim_end_matches(".weight")
                .trim_end_matches(".bias");
            if layer == "conv_out" || layer.ends_with(".conv2") || layer.ends_with(".to_out.0") {
                parameter.init = Init::Constant(0.0);
            }
        }
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
        let [height, width] = self.config.size();
        let x = x.reshape([rows, height, width, self.config.in_channels]);
        let outputs = self.config.out_channels;
        self.forward(pass, x, t, told.classes)
            .reshape([rows, height * width, outputs])
    }

    fn outputs(&self) -> usize {
        self.config.out_channels
    }
}
