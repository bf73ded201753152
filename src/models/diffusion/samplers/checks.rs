//! What settings are refused, and who takes which.

use super::entry::Entry;
use super::settings::SamplerSettings;
use crate::error::{Error, Result};
use crate::models::diffusion::process::Kind;
use crate::models::diffusion::spacing::{Grid, LastSigma, Spacing};

impl SamplerSettings {
    /// Refuses numbers that are none, and options of other samplers.
    ///
    /// # Errors
    /// Naming the option.
    pub(crate) fn check(&self, entry: &Entry) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        if !(self.eta >= 0.0 && self.eta <= 1.0) {
            return wrong(format!("`eta` {} must be from 0 to 1", self.eta));
        }
        if !(self.guidance.is_finite() && self.guidance >= 0.0) {
            return wrong(format!(
                "`guidance` {} must be a number from 0 on",
                self.guidance
            ));
        }
        if !self.classifier_scale.is_finite() {
            return wrong(format!(
                "`classifier_scale` {} must be a finite number",
                self.classifier_scale
            ));
        }
        let usual = Self::default();
        let of_some = [
            ("eta", self.eta != usual.eta),
            (
                "use_clipped_model_output",
                self.use_clipped_model_output.is_some(),
            ),
            ("stride", self.stride),
            ("solver_type", self.solver_type != usual.solver_type),
            ("solver_order", self.solver_order != usual.solver_order),
            ("lower_order_final", !self.lower_order_final),
            ("euler_at_final", self.euler_at_final),
            ("lambda_min_clipped", self.lambda_min_clipped.is_some()),
            ("last_sigma", self.last_sigma != usual.last_sigma),
            ("original_steps", self.original_steps.is_some()),
        ];
        if let Some((name, _)) = of_some
            .into_iter()
            .find(|(name, given)| *given && !entry.own.contains(name))
        {
            return wrong(format!(
                "`{name}` is of {}, not of {}",
                having(name).join(", "),
                entry.name
            ));
        }
        if !(1..=2).contains(&self.solver_order) {
            return wrong(format!(
                "`solver_order` {} must be 1 or 2",
                self.solver_order
            ));
        }
        if self.stride && self.sigmas.is_some() {
            return wrong("`stride` counts timesteps; it goes with no spacing by noise".to_owned());
        }
        if entry.grid == Grid::Consistency && self.sigmas.is_some() {
            return wrong(format!(
                "{} visits timesteps that its model was distilled at; it goes with no `spacing` by noise",
                entry.name
            ));
        }
        self.check_threshold()?;
        if let Some(shift) = self.shift
            && !(shift > 0.0 && shift.is_finite())
        {
            return wrong(format!("`shift` {shift} must be above 0"));
        }
        if self.sigmas.is_none() && (self.sigma_min.is_some() || self.sigma_max.is_some()) {
            return wrong(
                "`sigma_min` and `sigma_max` are the ends of karras and exponential spacing"
                    .to_owned(),
            );
        }
        if self.classifier_scale != 0.0 && self.use_clipped_model_output == Some(false) {
            return wrong(
                "`use_clipped_model_output` false leaves a classifier's guidance out of the noise; leave it out with `classifier_scale`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Refuses a threshold that is none.
    fn check_threshold(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        if let Some(ratio) = self.threshold
            && !(ratio > 0.0 && ratio <= 1.0)
        {
            return wrong(format!("`threshold` {ratio} must be above 0 and at most 1"));
        }
        if self.threshold.is_some() && self.clip_guided == Some(true) {
            return wrong(
                "`clip_guided` true: with `threshold` x_0 is not clipped, after a classifier neither"
                    .to_owned(),
            );
        }
        match self.threshold_max {
            Some(_) if self.threshold.is_none() => wrong(
                "`threshold_max` is the most that `threshold` divides by; it goes with that"
                    .to_owned(),
            ),
            Some(most) if !(most >= 1.0 && most.is_finite()) => {
                wrong(format!("`threshold_max` {most} must be at least 1"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses samplers and options that mean nothing to a kind of process.
    ///
    /// # Errors
    /// Naming the option.
    pub(crate) fn check_kind(&self, entry: &Entry, kind: &Kind) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        let is_flow = matches!(kind, Kind::Flow(_));
        if !is_flow && (self.shift.is_some() || self.shift_twice) {
            return wrong(format!(
                "`shift` is of a flow, the process is {}",
                kind.name()
            ));
        }
        if kind.preserves_variance() {
            return Ok(());
        }
        if entry.only_variance_preserving {
            let others = super::ALL.iter().filter(|e| !e.only_variance_preserving);
            let names: Vec<&str> = others.map(|e| e.name).collect();
            return wrong(format!(
                "sampler {} is of variance-preserving processes, the process is {}; there is {}",
                entry.name,
                kind.name(),
                names.join(", ")
            ));
        }
        let of_timesteps = [
            ("`steps_offset`", self.steps_offset != 0),
            ("`stride`", self.stride),
            ("`lambda_min_clipped`", self.lambda_min_clipped.is_some()),
            (
                "`last_sigma` sigma-min",
                self.last_sigma == LastSigma::SigmaMin,
            ),
            (
                "`spacing` by timesteps other than linspace",
                self.spacing != Spacing::Linspace,
            ),
            ("`spacing` by noise", is_flow && self.sigmas.is_some()),
            (
                "`spacing` by timesteps",
                matches!(kind, Kind::Edm(_)) && self.sigmas.is_none(),
            ),
        ];
        match of_timesteps.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => wrong(format!(
                "{name} means nothing to the process {}, which has its own levels",
                kind.name()
            )),
            None => Ok(()),
        }
    }
}

/// The samplers that take a field.
fn having(field: &str) -> Vec<&'static str> {
    let all = super::ALL.iter();
    all.filter(|e| e.own.contains(&field))
        .map(|e| e.name)
        .collect()
}
