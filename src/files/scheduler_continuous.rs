//! Schedulers of diffusers whose processes have no betas: `FlowMatchEulerDiscreteScheduler` and `EDMEulerScheduler`.

use super::scheduler::{LastSigmaType, Scheduler};
use super::scheduler_classes::{Class, EDM, FLOW};
use crate::models::diffusion::process::{Edm, Flow, Kind, Prediction, RHO};
use crate::models::diffusion::samplers::SamplerSettings;
use crate::models::diffusion::spacing::{SigmaSpacing, Spacing};

impl Scheduler {
    /// What x is made of.
    pub(super) fn kind(&self, class: &Class) -> Kind {
        match class.name {
            FLOW => Kind::Flow(Flow {
                shift: self.shift,
                ..Flow::default()
            }),
            EDM => {
                let usual = Edm::default();
                Kind::Edm(Edm {
                    sigma_data: self.sigma_data,
                    sigma_min: self.sigma_min.unwrap_or(usual.sigma_min),
                    sigma_max: self.sigma_max.unwrap_or(usual.sigma_max),
                    ..usual
                })
            }
            _ => Kind::VariancePreserving,
        }
    }

    /// What the network predicts.
    pub(super) fn prediction(&self, class: &Class) -> Prediction {
        match class.name {
            FLOW => Prediction::Flow,
            EDM => Prediction::Edm,
            _ => self.prediction_type,
        }
    }

    /// How such a class samples, from what it has of others.
    ///
    /// # Errors
    /// When it has an option that is not supported, with the nearest that is.
    pub(super) fn own_levels(
        &self,
        class: &Class,
        usual: SamplerSettings,
    ) -> Result<SamplerSettings, String> {
        self.refuse_of_continuous(class)?;
        let sigmas = match (class.name, self.sigma_schedule.as_str()) {
            (FLOW, _) => None,
            (_, "exponential") => Some(SigmaSpacing::Exponential),
            _ => Some(SigmaSpacing::Karras),
        };
        Ok(SamplerSettings {
            spacing: Spacing::Linspace,
            sigmas,
            // A shift of 1 changes nothing, once or twice.
            shift_twice: class.name == FLOW && self.shift != 1.0,
            ..usual
        })
    }

    /// Refuses what would change the result.
    fn refuse_of_continuous(&self, class: &Class) -> Result<(), String> {
        let is_flow = class.name == FLOW;
        let terminal = self.shift_terminal.unwrap_or(0.0);
        let of_flow = [
            (self.use_dynamic_shifting, "use_dynamic_shifting true is not supported: the shift would hang on the size of the image; the nearest is a shift of its own".to_owned()),
            (self.shift_terminal.is_some(), format!("shift_terminal {terminal} is not supported; the nearest is null")),
            (self.invert_sigmas, "invert_sigmas true is not supported: 1 would be the image; the nearest is false".to_owned()),
            (self.stochastic_sampling, "stochastic_sampling true is not supported; the nearest is false".to_owned()),
            (self.use_karras_sigmas == Some(true), "use_karras_sigmas true is not supported of flows; the nearest is false".to_owned()),
            (self.use_exponential_sigmas == Some(true), "use_exponential_sigmas true is not supported of flows; the nearest is false".to_owned()),
            (self.use_beta_sigmas == Some(true), "use_beta_sigmas true is not supported of flows; the nearest is false".to_owned()),
        ];
        let of_edm = [
            (self.prediction_type != Prediction::Epsilon, "prediction_type of an EDMEulerScheduler is not supported but for 'epsilon': diffusers takes what the network says of 'v_prediction' with the sign turned".to_owned()),
            (self.rho != RHO, format!("rho {} is not supported; the nearest is {RHO}", self.rho)),
            (!["karras", "exponential"].contains(&self.sigma_schedule.as_str()), format!("sigma_schedule '{}' is not supported; the nearest is 'karras'", self.sigma_schedule)),
            (self.final_sigmas_type == Some(LastSigmaType::SigmaMin), "final_sigmas_type 'sigma_min' is not supported of EDM; the nearest is 'zero'".to_owned()),
        ];
        let mut refused: Vec<(bool, String)> = Vec::new();
        if is_flow {
            refused.extend(of_flow);
        } else {
            refused.extend(of_edm);
        }
        match refused.into_iter().find(|(is, _)| *is) {
            Some((_, why)) => Err(why),
            None => Ok(()),
        }
    }

    /// The class and configuration by which diffusers samples such a process; nothing of others. Of a shift other than 1 diffusers 0.42.1 makes
    /// other levels than a run of ours does: it shifts their ends too.
    pub(super) fn of_continuous(
        kind: &Kind,
        timesteps: usize,
        sampling: &SamplerSettings,
    ) -> Option<(&'static str, Self)> {
        let usual = Self {
            num_train_timesteps: timesteps,
            ..Self::default()
        };
        match kind {
            Kind::VariancePreserving => None,
            Kind::Flow(flow) => Some((
                FLOW,
                Self {
                    shift: sampling.shift.unwrap_or(flow.shift),
                    ..usual
                },
            )),
            Kind::Edm(edm) => Some((
                EDM,
                Self {
                    sigma_data: edm.sigma_data,
                    sigma_min: Some(sampling.sigma_min.unwrap_or(edm.sigma_min)),
                    sigma_max: Some(sampling.sigma_max.unwrap_or(edm.sigma_max)),
                    sigma_schedule: match sampling.sigmas {
                        Some(SigmaSpacing::Exponential) => "exponential",
                        _ => "karras",
                    }
                    .to_owned(),
                    final_sigmas_type: Some(LastSigmaType::Zero),
                    ..usual
                },
            )),
        }
    }
}
