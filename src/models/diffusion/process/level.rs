//! A point of a forward process.

/// A point of a process: x = `a` x_0 + `s` epsilon, and what the network is told there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Of the image.
    pub a: f64,
    /// Of the noise.
    pub s: f64,
    /// The network's t; where there is no network to ask, 0.
    pub timestep: f64,
}

/// What diffusers takes as abar at T - 1 where the terminal SNR is zero and a sampler divides by it: the smallest number of f16.
const LEAST_ABAR: f64 = 1.0 / (1 << 24) as f64;

impl Level {
    /// The image itself.
    pub const IMAGE: Self = Self {
        a: 1.0,
        s: 0.0,
        timestep: 0.0,
    };

    pub(super) fn of_abar(abar: f64, timestep: f64) -> Self {
        Self {
            a: abar.sqrt(),
            s: (1.0 - abar).sqrt(),
            timestep,
        }
    }

    /// The point of a variance-preserving process where s / a is `sigma`.
    pub fn of_sigma(sigma: f64, timestep: f64) -> Self {
        let a = 1.0 / sigma.hypot(1.0);
        Self {
            a,
            s: sigma * a,
            timestep,
        }
    }

    /// s / a: diffusers' sigma. Infinite where nothing of the image is left.
    pub fn sigma(&self) -> f64 {
        self.s / self.a
    }

    /// -ln sigma: half the logarithm of the ratio of signal to noise (Lu et al. 2022, "DPM-Solver").
    pub fn lambda(&self) -> f64 {
        (self.a / self.s).ln()
    }

    /// The same, a little of the image left where there is nothing: samplers of second order divide by it.
    #[must_use]
    pub fn finite(self) -> Self {
        if self.a > 0.0 {
            self
        } else {
            Self::of_abar(LEAST_ABAR, self.timestep)
        }
    }
}
