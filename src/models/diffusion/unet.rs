//! The U-Net of Ho et al. 2020, as diffusers' `UNet2DModel` has it: its `config.json`, its tensors' names, its outputs.

use super::blocks::{AttentionBlock, Resample, ResnetBlock};
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

impl UNet2DModel {
    /// A network of this configuration.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let time = config.time_dim();
        let norm = |name: String, channels: usize, groups: usize| GroupNorm {
            name,
            channels,
            groups,
            epsilon: config.norm_eps,
        };
        let resnet = |name: String, inputs: usize, outputs: usize, resample: Resample| {
            let adaptive = config.resnet_time_scale_shift == "scale_shift";
            let rows = if adaptive { 2 * outputs } else { outputs };
            ResnetBlock {
                norm1: norm(format!("{name}.norm1"), inputs, config.norm_num_groups),
                conv1: Conv2d::new(format!("{name}.conv1"), inputs, outputs, [3, 1, 1]),
                time: Linear::new(format!("{name}.time_emb_proj"), time, rows),
                norm2: norm(format!("{name}.norm2"), outputs, config.norm_num_groups),
                conv2: Conv2d::new(format!("{name}.conv2"), outputs, outputs, [3, 1, 1]),
                shortcut: (inputs != outputs).then(|| {
                    Conv2d::new(format!("{name}.conv_shortcut"), inputs, outputs, [1, 1, 0])
                }),
                adaptive,
                dropout: config.dropout,
                resample,
                name,
            }
        };
        let attention = |name: String, channels: usize, groups: Option<usize>| {
            let linear = |what: &str| Linear::new(format!("{name}.{what}"), channels, channels);
            AttentionBlock {
                norm: groups.map(|groups| norm(format!("{name}.group_norm"), channels, groups)),
                query: linear("to_q"),
                key: linear("to_k"),
                value: linear("to_v"),
                out: linear("to_out.0"),
                head: config.attention_head_dim.unwrap_or(channels),
            }
        };
        let groups = config.norm_num_groups;
        let mut down = Vec::new();
        let mut outputs = first;
        // Channels of what is kept for the way up.
        let mut kept = vec![first];
        for (i, name) in config.down_block_types.iter().enumerate() {
            let level = Config::level(name)?;
            let mut inputs = std::mem::replace(&mut outputs, channels[i]);
            let prefix = format!("down_blocks.{i}");
            let mut blocks = Vec::new();
            for j in 0..config.layers_per_block {
                let block = resnet(
                    format!("{prefix}.resnets.{j}"),
                    inputs,
                    outputs,
                    Resample::None,
                );
                let attends = level
                    .attention
                    .then(|| attention(format!("{prefix}.attentions.{j}"), outputs, Some(groups)));
                blocks.push((block, attends));
                kept.push(outputs);
                inputs = outputs;
            }
            let sampler = (i + 1 < channels.len()).then(|| {
                kept.push(outputs);
                let name = format!("{prefix}.downsamplers.0");
                if level.resnet || (level.attention && config.downsample_type == "resnet") {
                    return Sampler::Resnet(Box::new(resnet(
                        name,
                        outputs,
                        outputs,
                        Resample::Down,
                    )));
                }
                let mut conv = Conv2d::new(
                    format!("{name}.conv"),
                    outputs,
                    outputs,
                    [3, 2, config.downsample_padding],
                );
                if config.downsample_padding == 0 {
                    conv.options = Conv2dOptions {
                        padding: [[0, 1]; 2],
                        ..conv.options
                    };
                }
                Sampler::Conv(conv)
            });
            down.push(Stage { blocks, sampler });
        }
        let middle = config.mid_block_type.is_some().then(|| {
            let resnet =
                |i: usize| resnet(format!("mid_block.resnets.{i}"), last, last, Resample::None);
            let own = (config.resnet_time_scale_shift == "default").then_some(groups);
            let attends = config.add_attention.then(|| {
                let groups = config.attn_norm_num_groups.or(own);
                attention("mid_block.attentions.0".to_owned(), last, groups)
            });
            (resnet(0), attends, resnet(1))
        });
        let mut up = Vec::new();
        for (i, name) in config.up_block_types.iter().enumerate() {
            let level = Config::level(name)?;
            let outputs = channels[channels.len() - 1 - i];
            let mut inputs = if i == 0 {
                last
            } else {
                channels[channels.len() - i]
            };
            let prefix = format!("up_blocks.{i}");
            let mut blocks = Vec::new();
            for j in 0..=config.layers_per_block {
                let skipped = kept.pop().unwrap_or(first);
                let name = format!("{prefix}.resnets.{j}");
                let block = resnet(name, inputs + skipped, outputs, Resample::None);
                let attends = level
                    .attention
                    .then(|| attention(format!("{prefix}.attentions.{j}"), outputs, Some(groups)));
                blocks.push((block, attends));
                inputs = outputs;
            }
            let sampler = (i + 1 < channels.len()).then(|| {
                let name = format!("{prefix}.upsamplers.0");
                if level.resnet || (level.attention && config.upsample_type == "resnet") {
                    return Sampler::Resnet(Box::new(resnet(name, outputs, outputs, Resample::Up)));
                }
                Sampler::Conv(Conv2d::new(
                    format!("{name}.conv"),
                    outputs,
                    outputs,
                    [3, 1, 1],
                ))
            });
            up.push(Stage { blocks, sampler });
        }
        Ok(Self {
            conv_in: Conv2d::new("conv_in", config.in_channels, first, [3, 1, 1]),
            time: [
                Linear::new("time_embedding.linear_1", first, time),
                Linear::new("time_embedding.linear_2", time, time),
            ],
            down,
            middle,
            up,
            norm_out: norm("conv_norm_out".to_owned(), first, groups),
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

    /// Its tensors. What ends a residual branch begins as zero, as does the last convolution (Ho et al. 2020's code): at first the network
    /// predicts nothing and each block changes nothing.
    pub fn parameters(&self) -> Vec<Parameter> {
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

    /// The prediction `[batch, height, width, out_channels]` from `x` `[batch, height, width, in_channels]` at `t` `[batch]` or `[1]` (u32).
    /// `classes` is `[batch, num_class_embeds]`, 1 at the class.
    pub fn forward<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        let config = &self.config;
        let graph = pass.graph();
        let convention = Convention {
            cosine_first: config.flip_sin_to_cos,
            shift: config.freq_shift,
            max_period: 10_000.0,
        };
        let sinusoid = t.timestep_embedding(config.block_out_channels[0], convention);
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
