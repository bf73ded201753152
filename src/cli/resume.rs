//! Going on with a run: what was asked for now beside what it was begun with.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Parser};
use serde_json::Value;

use super::training::ModelArguments;
use super::{Cli, Command, models};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::{Config, Storage};

/// Flags whose fields have another name or place in the configuration.
const ELSEWHERE: &[(&str, &str)] = &[
    ("lr", "training.learning_rate.peak"),
    ("lr_schedule", "training.learning_rate.shape"),
    ("lr_warmup", "training.learning_rate.warmup"),
    ("weight_decay", "training.optimizer"),
    ("optimizer", "training.optimizer"),
    ("steps", "training.steps"),
    ("epochs", "training.epochs"),
    ("scene_background", "model.background"),
    ("lindisp", "model.inverse_distance"),
    ("no_view_directions", "model.view_directions"),
    ("precrop", "training.beta_warmup"),
    ("occupancy", "model.grid"),
    ("ray_steps", "model.steps"),
    ("samples", "model.target_samples"),
    ("schedule", "model.process.beta_schedule"),
    ("f32_tables", "model.process.rounding"),
    ("no_scale_shift", "model.network.use_scale_shift_norm"),
    ("no_resblock_updown", "model.network.resblock_updown"),
    ("no_conv_resample", "model.network.conv_resample"),
    (
        "new_attention_order",
        "model.network.use_new_attention_order",
    ),
];

/// Which optimiser it is, in a configuration.
const RULE: &str = "training.optimizer.rule";

/// The configuration that a run goes on with: its own, with its end where the arguments move that, and with when something is written.
///
/// # Errors
/// When the run is of another model, an option asks for something else than it was begun with, or it has gone further than it is now to
/// go: each difference is named.
pub(super) fn continued(
    wanted: &str,
    model: &dyn ModelArguments,
    mut run: Config,
    dataset: &Dataset,
) -> Result<Config> {
    let asked = model.training();
    let folder = asked.out.display();
    let own = models::trained_as(run.model.as_ref());
    if own != wanted {
        let typed = models::typed(own);
        return Err(Error::Usage(format!(
            "{folder}: the run there trains {own}, not {wanted}; continue it with wgen train {typed} --resume, or choose another --out"
        )));
    }
    let given = given();
    // What no bit depends on may change on the way; f16's loss scale is looked at where checkpoints are asked for.
    let written = [
        ("checkpoint_steps", run.training.precision == Storage::F32),
        ("preview_steps", true),
        ("write_share", true),
    ];
    let now = asked.config(model, dataset, run.reading.clone())?;
    for (name, free) in written {
        if free && given.iter().any(|g| g == name) {
            match name {
                "checkpoint_steps" => run.training.checkpoint_steps = now.training.checkpoint_steps,
                "preview_steps" => run.training.preview_steps = now.training.preview_steps,
                _ => run.training.write_share = now.training.write_share,
            }
        }
    }
    let usual = usual(wanted)?;
    let usual = usual.arguments();
    let usual = usual
        .training()
        .config(usual, dataset, run.reading.clone())?;
    let half = run.training.precision == Storage::F16;
    let tree = |config: &Config| tree(config, half);
    let differences = differences(&tree(&now), &tree(&usual), &tree(&run), &given);
    if !differences.is_empty() {
        return Err(Error::Usage(format!(
            "{folder}: the run was begun otherwise, and goes on as it was begun: {}; leave these out, or begin another in another --out",
            differences.join(", ")
        )));
    }
    if asked.epochs.is_some() || asked.steps.is_some() {
        (run.training.epochs, run.training.steps) = (asked.epochs, asked.steps);
    }
    Ok(run)
}

/// The arguments of `wgen train MODEL` with nothing asked for.
fn usual(model: &str) -> Result<models::Command> {
    let mut line = vec!["wgen", "train"];
    line.extend(models::typed(model).split(' '));
    line.extend(["--data", "digits", "--out", "run"]);
    match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Train(arguments)) => Ok(arguments.model),
        _ => Err(Error::Usage(format!(
            "{model}: wgen train has no such model"
        ))),
    }
}

/// Names of the options that this process was called with.
fn given() -> Vec<String> {
    fn walk(matches: &ArgMatches, names: &mut Vec<String>) {
        for id in matches.ids() {
            if matches.value_source(id.as_str()) == Some(ValueSource::CommandLine) {
                names.push(id.to_string());
            }
        }
        if let Some((_, inner)) = matches.subcommand() {
            walk(inner, names);
        }
    }
    let mut names = Vec::new();
    if let Ok(matches) = Cli::command().try_get_matches() {
        walk(&matches, &mut names);
    }
    names
}

/// What a training depends on, as a tree: its end, and where data lies, are no part of it.
fn tree(config: &Config, half: bool) -> Value {
    let mut tree = serde_json::to_value(config).unwrap_or_default();
    if let Some(fields) = tree.as_object_mut() {
        fields.retain(|name, _| name == "model" || name == "training");
    }
    if let Some(training) = tree["training"].as_object_mut() {
        for name in [
            "steps",
            "epochs",
            "checkpoint_steps",
            "preview_steps",
            "write_share",
        ] {
            if name != "checkpoint_steps" || !half {
                training.remove(name);
            }
        }
    }
    tree
}

/// Leaves in which `now` differs from the `run` because somebody asked for it: it differs from the `usual` too, or was `given`.
fn differences(now: &Value, usual: &Value, run: &Value, given: &[String]) -> Vec<String> {
    let (mut leaves, mut found) = (Vec::new(), Vec::new());
    collect(now, run, "", &mut leaves);
    // Another optimiser has other options.
    if leaves.iter().any(|path| path == RULE) {
        leaves.retain(|path| path == RULE || !path.starts_with("training.optimizer."));
    }
    for path in leaves {
        let at = |tree: &Value| {
            tree.pointer(&format!("/{}", path.replace('.', "/")))
                .cloned()
        };
        let (now, usual, run) = (at(now), at(usual), at(run));
        let flag = given.iter().find(|name| {
            let elsewhere = ELSEWHERE.iter().find(|(flag, _)| flag == &name.as_str());
            match elsewhere {
                Some((_, place)) => path.starts_with(place),
                None => path.split('.').any(|part| part == name.as_str()),
            }
        });
        if now != usual || flag.is_some() {
            let short = path.rsplit('.').next().unwrap_or(&path).to_owned();
            let name = flag.map_or(short, |f| format!("--{}", f.replace('_', "-")));
            let text = |value: Option<Value>| match value {
                None | Some(Value::Null) => "none".to_owned(),
                Some(Value::String(text)) => text,
                // f32s are kept as such, and said so.
                Some(Value::Number(x)) if x.is_f64() => {
                    let wide = x.as_f64().unwrap_or_default();
                    let narrow = wide as f32;
                    if f64::from(narrow) == wide {
                        narrow.to_string()
                    } else {
                        wide.to_string()
                    }
                }
                Some(other) => other.to_string(),
            };
            let line = format!("{name} {} (the run has {})", text(now), text(run));
            if !found.contains(&line) {
                found.push(line);
            }
        }
    }
    found
}

/// Paths of the leaves in which two trees differ; a list is a leaf.
fn collect(a: &Value, b: &Value, path: &str, leaves: &mut Vec<String>) {
    if a == b {
        return;
    }
    let (Some(one), Some(other)) = (a.as_object(), b.as_object()) else {
        leaves.push(path.to_owned());
        return;
    };
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(&a[name], &b[name], &path, leaves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_was_asked_for_is_a_difference() {
        let run = json!({"model": {"hidden": [64], "latent": 2}, "training": {"batch": 20, "learning_rate": {"peak": 0.01}}});
        let usual = json!({"model": {"hidden": [400], "latent": 20}, "training": {"batch": 128, "learning_rate": {"peak": 0.001}}});
        let given = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        // Nothing was asked for.
        assert!(differences(&usual, &usual, &run, &given(&["data", "resume"])).is_empty());
        // What the run has.
        let mut now = usual.clone();
        now["training"]["batch"] = json!(20);
        assert!(differences(&now, &usual, &run, &given(&["batch"])).is_empty());
        // Something else, and something usual that the run has not.
        now["training"]["batch"] = json!(32);
        assert_eq!(
            differences(&now, &usual, &run, &given(&["batch", "lr"])),
            [
                "--batch 32 (the run has 20)",
                "--lr 0.001 (the run has 0.01)"
            ]
        );
        now["model"]["hidden"] = json!([8, 8]);
        assert_eq!(
            differences(&now, &usual, &run, &given(&["hidden"]))[0],
            "--hidden [8,8] (the run has [64])"
        );
    }
}
