//! What the names and shapes of a file's tensors say of the network that it holds, and what they leave open.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use crate::error::{Error, Result};

/// Tensors' shapes in a file by their names.
pub(in crate::models) type Named<'a> = BTreeMap<&'a str, &'a [usize]>;

/// What kind of network it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Kind {
    /// `UNetModel` or `SuperResModel`, which differ in the channels of their input.
    UNet {
        /// Classes that it is conditional on; 0 for none.
        classes: usize,
        /// Channels of the prediction.
        outputs: usize,
    },
    /// `EncoderUNetModel` with attention as its pool.
    Encoder {
        /// Classes that it tells apart.
        classes: usize,
    },
}

/// What names and shapes say.
#[derive(Clone, Debug)]
pub(in crate::models) struct Shapes {
    /// As far as it is said: not heads, the order of rows, dropout.
    pub(in crate::models) network: Config,
    /// Channels of the input.
    pub(in crate::models) inputs: usize,
    pub(in crate::models) kind: Kind,
}

/// Numbers of the entries of `list`.
fn entries(tensors: &Named<'_>, list: &str) -> BTreeSet<usize> {
    let number = |name: &&str| {
        let rest = name.strip_prefix(list)?.strip_prefix('.')?;
        rest.split('.').next()?.parse().ok()
    };
    tensors.keys().filter_map(number).collect()
}

impl Shapes {
    /// Of a file. `num_res_blocks` is asked of classifiers alone, in whose names levels do not show.
    ///
    /// # Errors
    /// When they are those of no such network, saying what is missing.
    pub(in crate::models) fn of(
        tensors: &Named<'_>,
        num_res_blocks: Option<usize>,
    ) -> Result<Self> {
        let wrong = |why: String| Error::Usage(format!("ADM: {why}"));
        let size = |name: &str, axis: usize| {
            let shape = tensors.get(name).copied();
            let size = shape.and_then(|s| s.get(axis)).copied();
            match size {
                Some(size) if size > 0 => Ok(size),
                _ => Err(wrong(format!(
                    "there is no tensor '{name}' of {} axes or more, none of them empty",
                    axis + 1
                ))),
            }
        };
        let model_channels = size("time_embed.0.weight", 1)?;
        let inputs = size("input_blocks.0.0.weight", 1)?;
        let (down, up) = (
            entries(tensors, "input_blocks"),
            entries(tensors, "output_blocks"),
        );
        let kind = if up.is_empty() {
            Kind::Encoder {
                classes: size("out.2.c_proj.weight", 0)?,
            }
        } else {
            Kind::UNet {
                classes: match tensors.contains_key("label_emb.weight") {
                    true => size("label_emb.weight", 0)?,
                    false => 0,
                },
                outputs: size("out.2.weight", 0)?,
            }
        };
        // As many on the way up as on the way down; means have no tensors.
        let count = down.len().max(up.len());
        let levels = match (kind, num_res_blocks) {
            (Kind::UNet { .. }, _) => {
                let doubles = |entry: &&usize| {
                    let has = |layer: &str| {
                        tensors.contains_key(&*format!("output_blocks.{entry}.{layer}"))
                    };
                    let residual = |k: usize| has(&format!("{k}.in_layers.0.weight"));
                    let conv = |k: usize| has(&format!("{k}.conv.weight"));
                    (1..3).any(|k| residual(k) || conv(k))
                };
                let doubling = up.iter().filter(doubles).count();
                let means = (1..count).filter(|i| !down.contains(i)).count();
                1 + doubling.max(means)
            }
            (Kind::Encoder { .. }, Some(blocks)) => count / blocks.saturating_add(1),
            (Kind::Encoder { .. }, None) => {
                return Err(wrong(
                    "of a classifier the names do not say where a level ends; give `num_res_blocks`"
                        .to_owned(),
                ));
            }
        };
        if levels == 0 || !count.is_multiple_of(levels) || count / levels < 2 {
            return Err(wrong(format!(
                "{count} entries of input_blocks are not {levels} levels of as many blocks each"
            )));
        }
        let stride = count / levels;
        let first = |level: usize| format!("input_blocks.{}", 1 + level * stride);
        let mut channel_mult = Vec::new();
        let mut attention_resolutions = Vec::new();
        for level in 0..levels {
            let own = size(&format!("{}.0.out_layers.3.weight", first(level)), 0)?;
            channel_mult.push(own as f64 / model_channels as f64);
            if tensors.contains_key(&*format!("{}.1.qkv.weight", first(level))) {
                attention_resolutions.push(1_usize.checked_shl(level as u32).unwrap_or(0));
            }
        }
        let block = first(0);
        let rows = size(&format!("{block}.0.emb_layers.1.weight"), 0)?;
        let own = size(&format!("{block}.0.out_layers.3.weight"), 0)?;
        let halving = format!("input_blocks.{stride}");
        let conv = tensors.contains_key(&*format!("{halving}.0.op.weight"));
        let residual = tensors.contains_key(&*format!("{halving}.0.in_layers.0.weight"));
        Ok(Self {
            network: Config {
                channel_mult,
                num_res_blocks: stride - 1,
                attention_resolutions,
                num_head_channels: None,
                use_scale_shift_norm: rows == 2 * own,
                // One level has neither, and guided-diffusion's own have residual blocks.
                resblock_updown: residual || levels == 1,
                conv_resample: conv || residual || levels == 1,
                ..Config::of(model_channels)
            },
            inputs,
            kind,
        })
    }
}
