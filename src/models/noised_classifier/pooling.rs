//! From the middle of the network to logits, in the four ways that guided-diffusion has.

use serde::{Deserialize, Serialize};

use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::models::diffusion::adm::{Down, EPSILON};
use crate::models::diffusion::blocks::{Qkv, as_convolution};
use crate::nn::{GroupNorm, Linear};

/// How pixels become one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "cli",
    derive(clap::ValueEnum),
    value(rename_all = "snake_case")
)]
pub enum Pool {
    /// By attention of their mean to them and to itself, as in CLIP (Radford et al. 2021): what is published.
    #[default]
    Attention,
    /// By their mean.
    Adaptive,
    /// By the means of what every entry on the way down gives, the middle's among them, and two linear layers.
    Spatial,
    /// The same with a normalisation and silu between the layers instead of relu.
    SpatialV2,
}

/// Elements between the two layers of [`Pool::Spatial`].
pub(super) const HIDDEN: usize = 2048;

/// The layers `out`.
#[derive(Clone, Debug)]
pub(super) enum Pooling {
    Attention {
        norm: GroupNorm,
        positions: Parameter,
        qkv: Qkv,
        out: Linear,
    },
    Adaptive {
        norm: GroupNorm,
        out: Linear,
    },
    Spatial {
        first: Linear,
        norm: Option<GroupNorm>,
        second: Linear,
    },
}

/// What the layers are for.
#[derive(Clone, Debug)]
pub(super) struct Sizes<'a> {
    pub(super) prefix: &'a str,
    pub(super) classes: usize,
    /// Groups of each normalisation.
    pub(super) groups: usize,
    /// Channels of the middle, and of a head of attention there.
    pub(super) channels: usize,
    pub(super) head: usize,
    /// Pixels of the middle.
    pub(super) pixels: usize,
    /// Channels of all entries and the middle.
    pub(super) features: usize,
}

impl Pooling {
    pub(super) fn new(pool: Pool, sizes: &Sizes<'_>) -> Self {
        let name = |layer: &str| format!("{}out.{layer}", sizes.prefix);
        let Sizes {
            classes, channels, ..
        } = *sizes;
        let norm = |layer: &str, channels: usize| GroupNorm {
            name: name(layer),
            channels,
            groups: sizes.groups,
            epsilon: EPSILON,
        };
        let spatial = |norm: Option<GroupNorm>, second: &str| Self::Spatial {
            first: Linear::new(name("0"), sizes.features, HIDDEN),
            norm,
            second: Linear::new(name(second), HIDDEN, classes),
        };
        match pool {
            Pool::Attention => {
                // In files the channels come first.
                let deviation = 1.0 / (channels as f32).sqrt();
                let positions = Parameter::new(
                    name("2.positional_embedding"),
                    [1 + sizes.pixels, channels],
                    Init::Normal(0.0, deviation),
                );
                Self::Attention {
                    norm: norm("0", channels),
                    positions: positions.with_border(&[1, 0]),
                    // In this order whatever the blocks' is.
                    qkv: Qkv {
                        name: name("2.qkv_proj"),
                        channels,
                        head: sizes.head,
                        by_head: false,
                    },
                    out: Linear::new(name("2.c_proj"), channels, classes),
                }
            }
            Pool::Adaptive => Self::Adaptive {
                norm: norm("0", channels),
                out: Linear {
                    init: Some(Init::Constant(0.0)),
                    ..Linear::new(name("3"), channels, classes)
                },
            },
            Pool::Spatial => spatial(None, "2"),
            Pool::SpatialV2 => spatial(Some(norm("1", HIDDEN)), "3"),
        }
    }

    /// Its tensors, in the order of guided-diffusion's state dict.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        match self {
            Self::Attention {
                norm,
                positions,
                qkv,
                out,
            } => [
                norm.parameters(),
                vec![positions.clone()],
                qkv.parameters(),
                as_convolution(out.parameters(), 1),
            ]
            .concat(),
            Self::Adaptive { norm, out } => {
                [norm.parameters(), as_convolution(out.parameters(), 2)].concat()
            }
            Self::Spatial {
                first,
                norm,
                second,
            } => {
                let norm = norm.iter().flat_map(GroupNorm::parameters).collect();
                [first.parameters(), norm, second.parameters()].concat()
            }
        }
    }

    /// Logits `[batch, classes]`.
    pub(super) fn forward<'g>(&self, down: &Down<'g>) -> Var<'g> {
        let x = down.middle;
        let &[batch, height, width, channels] = x.shape().dims() else {
            return x;
        };
        let graph = x.graph();
        match self {
            Self::Attention {
                norm,
                positions,
                qkv,
                out,
            } => {
                let tokens = 1 + height * width;
                let x = norm.forward(x, true);
                let mean = x.mean(&[1, 2]).reshape([batch, 1, channels]);
                let pixels = x.reshape([batch, height * width, channels]);
                let positions = graph.parameter(&positions.name, positions.shape.clone());
                let rows = graph.concat(1, &[mean, pixels]) + positions;
                // Of what comes out the mean's row alone is looked at: no other asks.
                let asking = rows.slice(1, 0, 1).reshape([batch, channels]);
                let [query, key, value] =
                    qkv.forward(asking, rows.reshape([batch * tokens, channels]));
                let by_head = |v: Var<'g>, tokens: usize| {
                    v.reshape([batch, tokens, channels / qkv.head, qkv.head])
                };
                let pooled =
                    by_head(query, 1).attention(by_head(key, tokens), by_head(value, tokens));
                out.forward(pooled.reshape([batch, channels]))
            }
            Self::Adaptive { norm, out } => out.forward(norm.forward(x, true).mean(&[1, 2])),
            Self::Spatial {
                first,
                norm,
                second,
            } => {
                let all = down.entries.iter().chain([&down.middle]);
                let means: Vec<Var<'g>> = all.map(|x| x.mean(&[1, 2])).collect();
                let h = first.forward(graph.concat(1, &means));
                let h = match norm {
                    Some(norm) => norm
                        .forward(h.reshape([batch, 1, HIDDEN]), true)
                        .reshape([batch, HIDDEN]),
                    None => h.relu(),
                };
                second.forward(h)
            }
        }
    }
}
