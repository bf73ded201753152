//! Fields as flags: the library's messages name the one, who typed a command knows the other.

use crate::error::Error;

/// The flag of each field that a message names.
const FLAGS: &[(&str, &str)] = &[
    ("attention_resolutions", "--attention-resolutions"),
    ("background", "--background"),
    ("batch", "--batch"),
    ("beta", "--beta"),
    ("beta1", "--beta1"),
    ("beta2", "--beta2"),
    ("beta_end", "--beta-end"),
    ("beta_schedule", "--beta-schedule"),
    ("beta_start", "--beta-start"),
    ("bound", "--bound"),
    ("box", "--box"),
    ("cascades", "--cascades"),
    ("channel_mult", "--channel-mult"),
    ("channels", "--channels"),
    ("class", "--class"),
    ("classifier_scale", "--classifier-scale"),
    ("clip", "--clip"),
    ("clip_guided", "--clip-guided"),
    ("crop", "--crop"),
    ("data", "--data"),
    ("device", "--device"),
    ("discriminator_norm", "--discriminator-norm"),
    ("dropout", "--dropout"),
    ("ema", "--ema"),
    ("epochs", "--epochs"),
    ("eta", "--eta"),
    ("fill", "--fill"),
    ("filter", "--filter"),
    ("folder", "--out"),
    ("grey", "--grey"),
    ("groups", "--groups"),
    ("guidance", "--guidance"),
    ("half_side", "--half-side"),
    ("held_out", "--held-out"),
    ("held_out_seed", "--held-out-seed"),
    ("image_size", "--image-size"),
    ("importance_samples", "--importance-samples"),
    ("jump_length", "--jump-length"),
    ("jump_n_sample", "--jump-samples"),
    ("largest", "--largest"),
    ("last_sigma", "--last-sigma"),
    ("learning_rate", "--lr"),
    ("log2_entries", "--log2-entries"),
    ("loss", "--loss"),
    ("low_res", "--low-res"),
    ("mask", "--mask"),
    ("model_channels", "--model-channels"),
    ("momentum", "--momentum"),
    ("n", "--n"),
    ("num_head_channels", "--num-head-channels"),
    ("num_heads", "--num-heads"),
    ("num_res_blocks", "--num-res-blocks"),
    ("original_steps", "--original-steps"),
    ("patience", "--patience"),
    ("pool", "--pool"),
    ("precision", "--precision"),
    ("precrop", "--precrop"),
    ("prediction", "--prediction"),
    ("raw_noise", "--raw-noise"),
    ("resolution", "--resolution"),
    ("resume", "--resume"),
    ("rounds", "--rounds"),
    ("sampler", "--sampler"),
    ("scene_background", "--scene-background"),
    ("scene_downscale", "--downscale"),
    ("scene_format", "--scene-format"),
    ("scene_scale", "--scene-scale"),
    ("shift", "--shift"),
    ("sigma_data", "--sigma-data"),
    ("sigma_max", "--sigma-max"),
    ("sigma_min", "--sigma-min"),
    ("size", "--size"),
    ("skip_broken", "--skip-broken"),
    ("solver_type", "--solver-type"),
    ("spacing", "--spacing"),
    ("steps", "--steps"),
    ("strength", "--strength"),
    ("stride", "--stride"),
    ("threshold", "--threshold"),
    ("threshold_max", "--threshold-max"),
    ("use_clipped_model_output", "--use-clipped-model-output"),
    ("use_new_attention_order", "--new-attention-order"),
    ("validation", "--validation"),
    ("variance", "--variance"),
    ("weight_decay", "--weight-decay"),
    ("write_share", "--write-share"),
    ("zero_terminal_snr", "--zero-terminal-snr"),
];

fn flag(field: &str) -> Option<&'static str> {
    FLAGS
        .iter()
        .find(|(f, _)| *f == field)
        .map(|(_, flag)| *flag)
}

/// A text of the library with a flag for each field in backquotes; other words in backquotes stay.
pub(super) fn flags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        out.push_str(before);
        match after.split_once('`').map(|(word, end)| (flag(word), end)) {
            Some((Some(flag), end)) => {
                out.push_str(flag);
                rest = end;
            }
            // The second backquote may be the first of a field.
            _ => {
                out.push('`');
                rest = after;
            }
        }
    }
    out + rest
}

/// What the command line says of an error. What wgpu, the driver or a file's parser said stays as it is: their backquotes are others'.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::Field { field, message } => {
            format!("{} {}", flag(field).unwrap_or(field), flags(message))
        }
        Error::Usage(_) | Error::NotFinite { .. } | Error::Shape { .. } | Error::NoAdapter(_) => {
            flags(&error.to_string())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_flags_and_other_words_stay() {
        let text = "gan: `bench` or `learning_rate` 3, `size`; `open";
        assert_eq!(flags(text), "gan: `bench` or --lr 3, --size; `open");
        let error = Error::field("learning_rate", "-1 needs `steps`");
        assert_eq!(error.to_string(), "learning_rate -1 needs `steps`");
        assert_eq!(message(&error), "--lr -1 needs --steps");
        let error = Error::field("unknown", "1 is none");
        assert_eq!(message(&error), "unknown 1 is none");
        let error = Error::format("config.json", "unknown field, expected `steps`");
        assert!(message(&error).ends_with("expected `steps`"));
    }
}
