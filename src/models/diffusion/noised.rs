//! Examples on the way to noise, each at a point of its own: what training and evaluation show the network.

use super::Diffusion;
use super::denoiser::Timestep;
use super::process::{Density, Edm, Flow, Kind};
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::models::model::Model;

/// Where on the way each example is.
#[derive(Clone, Copy)]
pub(super) enum At<'g> {
    /// At a timestep `[batch]` (u32) of the process's tables.
    Timestep(Var<'g>),
    /// At any noise: x = `a` x_0 + `s` epsilon, `[batch, 1]`, and the network is told `t` `[batch]`.
    Noise {
        a: Var<'g>,
        s: Var<'g>,
        t: Timestep<'g>,
    },
}

/// Examples, what became of them, and the noise that came to them.
#[derive(Clone, Copy)]
pub(super) struct Noised<'g> {
    /// `[batch, width]`.
    pub(super) x0: Var<'g>,
    pub(super) xt: Var<'g>,
    pub(super) noise: Var<'g>,
    pub(super) at: At<'g>,
}

impl<'g> At<'g> {
    /// What the network is told.
    pub(super) fn told(self) -> Timestep<'g> {
        match self {
            Self::Timestep(t) => t.into(),
            Self::Noise { t, .. } => t,
        }
    }
}

/// `count` rows from `first` on; all where there are no more.
pub(super) fn part_of(v: Var<'_>, first: usize, count: usize) -> Var<'_> {
    if v.shape().dims()[0] == count {
        v
    } else {
        v.slice(0, first, first + count)
    }
}

impl<'g> Noised<'g> {
    /// `count` examples from `first` on.
    pub(super) fn part(self, first: usize, count: usize) -> Self {
        let of = |v| part_of(v, first, count);
        Self {
            x0: of(self.x0),
            xt: of(self.xt),
            noise: of(self.noise),
            at: match self.at {
                At::Timestep(t) => At::Timestep(of(t)),
                At::Noise { a, s, t } => At::Noise {
                    a: of(a),
                    s: of(s),
                    t: Timestep {
                        value: of(t.value),
                        ..t
                    },
                },
            },
        }
    }
}

impl Diffusion {
    /// Examples `[batch, width]` on the way to noise, each at a point of its own with its own noise, drawn anew in each step or, for an
    /// evaluation, `by_example`.
    pub(super) fn on_the_way<'g>(
        &self,
        graph: &'g Graph,
        x0: Var<'g>,
        by_example: bool,
    ) -> Noised<'g> {
        let [batch, width] = [x0.shape().dims()[0], self.width()];
        let kind = self.process.kind;
        let drawn = if by_example {
            let drawn = graph.random_by_example("t", kind.distribution(), 1, batch, 1);
            drawn.reshape([batch])
        } else {
            graph.random("t", kind.distribution(), [batch])
        };
        let [a, s, t] = match kind {
            Kind::VariancePreserving => {
                let t = self.process.drawn(drawn);
                return self.at_timesteps(graph, x0, t, by_example);
            }
            Kind::Flow(flow) => of_flow(flow, drawn, self.process.len()),
            Kind::Edm(edm) => of_edm(edm, drawn),
        };
        let noise = if by_example {
            graph.normal_by_example("q_sample", 1, batch, width)
        } else {
            graph.random("q_sample", Distribution::Normal, [batch, width])
        };
        let [a, s] = [a, s].map(|v| v.reshape([batch, 1]));
        let t = Timestep::real(t, self.process.len());
        Noised {
            x0,
            xt: a * x0 + s * noise,
            noise,
            at: At::Noise { a, s, t },
        }
    }

    /// The same at timesteps `[batch]` of the process's tables.
    pub(super) fn at_timesteps<'g>(
        &self,
        graph: &'g Graph,
        x0: Var<'g>,
        t: Var<'g>,
        by_example: bool,
    ) -> Noised<'g> {
        let jumps = self.process.jumps(graph);
        let (xt, noise) = if by_example {
            x0.q_sample_by_example("q_sample", t, jumps)
        } else {
            x0.q_sample("q_sample", t, jumps)
        };
        let at = At::Timestep(t);
        Noised { x0, xt, noise, at }
    }
}

/// a, s and what the network is told of a flow, from numbers `[batch]` of its distribution.
fn of_flow<'g>(flow: Flow, drawn: Var<'g>, timesteps: usize) -> [Var<'g>; 3] {
    let Flow { shift, density } = flow;
    let even = match density {
        Density::Uniform => drawn,
        Density::LogitNormal => drawn.sigmoid(),
    };
    let noise = if shift == 1.0 {
        even
    } else {
        even * shift / (even * (shift - 1.0) + 1.0)
    };
    let one = drawn.graph().constant(1.0);
    [one - noise, noise, noise * timesteps as f64]
}

/// The same of EDM.
fn of_edm(edm: Edm, drawn: Var<'_>) -> [Var<'_>; 3] {
    let log_sigma = drawn * edm.log_deviation + edm.log_mean;
    let sigma = log_sigma.exp();
    let one = drawn.graph().constant(1.0);
    let a = one / (sigma.square() + edm.sigma_data * edm.sigma_data).sqrt();
    [a, sigma * a, log_sigma * 0.25]
}
