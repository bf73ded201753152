//! nerf-pytorch's network: a perceptron over encoded points, a density, and a colour that also sees the direction.

use super::Config;
use crate::graph::Var;
use crate::graph::layout::Parameter;
use crate::nn::Linear;

/// Its layers, named as there.
#[derive(Clone, Debug)]
pub(super) struct Network {
    points: Vec<Linear>,
    skips: Vec<usize>,
    point_octaves: Option<usize>,
    direction_octaves: Option<usize>,
    head: Head,
}

#[derive(Clone, Debug)]
enum Head {
    /// Colour by direction.
    Views(Box<Views>),
    /// Colour and density at once. `views_linears.0` stays in files, where nothing uses it.
    Plain(Box<Plain>),
}

#[derive(Clone, Debug)]
struct Views {
    feature: Linear,
    density: Linear,
    views: Linear,
    colour: Linear,
}

#[derive(Clone, Debug)]
struct Plain {
    output: Linear,
    unused: Linear,
}

/// What a network gives of `[R * N]` points.
pub(super) struct Raw<'g> {
    /// Before the sigmoid: `[R * N, 3]`.
    pub(super) colour: Var<'g>,
    /// Before the relu: `[R * N, 1]`.
    pub(super) density: Var<'g>,
}

/// Values of an encoded vector of three.
fn encoded_width(octaves: Option<usize>) -> usize {
    3 + 6 * octaves.unwrap_or(0)
}

fn encoded(x: Var<'_>, octaves: Option<usize>) -> Var<'_> {
    match octaves {
        Some(octaves) if octaves > 0 => x.frequency_encode(octaves),
        _ => x,
    }
}

impl Network {
    pub(super) fn new(prefix: &str, config: &Config) -> Self {
        let width = config.width;
        let points = encoded_width(config.point_octaves);
        let directions = encoded_width(config.direction_octaves);
        let linear = |name: &str, inputs: usize, outputs: usize| {
            Linear::new(format!("{prefix}.{name}"), inputs, outputs)
        };
        let inputs_of = |layer: usize| match layer {
            0 => points,
            layer if config.skips.contains(&(layer - 1)) => width + points,
            _ => width,
        };
        let layers =
            (0..config.depth).map(|i| linear(&format!("pts_linears.{i}"), inputs_of(i), width));
        let head = if config.view_directions {
            Head::Views(Box::new(Views {
                feature: linear("feature_linear", width, width),
                density: linear("alpha_linear", width, 1),
                views: linear("views_linears.0", directions + width, width / 2),
                colour: linear("rgb_linear", width / 2, 3),
            }))
        } else {
            // nerf-pytorch has a fifth output where there is a fine network, which nothing uses.
            let outputs = if config.fine > 0 { 5 } else { 4 };
            Head::Plain(Box::new(Plain {
                output: linear("output_linear", width, outputs),
                unused: linear("views_linears.0", directions + width, width / 2),
            }))
        };
        Self {
            points: layers.collect(),
            skips: config.skips.clone(),
            point_octaves: config.point_octaves,
            direction_octaves: config.direction_octaves,
            head,
        }
    }

    /// Its tensors in the order of nerf-pytorch's state dict.
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters: Vec<Parameter> =
            self.points.iter().flat_map(Linear::parameters).collect();
        let rest: Vec<&Linear> = match &self.head {
            Head::Views(v) => vec![&v.views, &v.feature, &v.density, &v.colour],
            Head::Plain(plain) => vec![&plain.unused, &plain.output],
        };
        parameters.extend(rest.into_iter().flat_map(Linear::parameters));
        parameters
    }

    /// Of points `[R * N, 3]` on rays with directions `view` `[R, 3]` of unit length.
    pub(super) fn forward<'g>(&self, points: Var<'g>, view: Var<'g>, samples: usize) -> Raw<'g> {
        let graph = points.graph();
        let inputs = encoded(points, self.point_octaves);
        let mut h = inputs;
        for (i, layer) in self.points.iter().enumerate() {
            h = layer.forward(h).relu();
            if self.skips.contains(&i) {
                h = graph.concat(1, &[inputs, h]);
            }
        }
        match &self.head {
            Head::Views(head) => {
                let directions = encoded(view, self.direction_octaves);
                let columns = directions.shape().dims().last().copied().unwrap_or(1);
                let rays = directions.shape().dims().first().copied().unwrap_or(1);
                let of_samples = directions
                    .reshape([rays, 1, columns])
                    .broadcast_to([rays, samples, columns])
                    .reshape([rays * samples, columns]);
                let seen = graph.concat(1, &[head.feature.forward(h), of_samples]);
                Raw {
                    colour: head.colour.forward(head.views.forward(seen).relu()),
                    density: head.density.forward(h),
                }
            }
            Head::Plain(plain) => {
                let raw = plain.output.forward(h);
                Raw {
                    colour: raw.slice(1, 0, 3),
                    density: raw.slice(1, 3, 4),
                }
            }
        }
    }
}
