//! Where in a saved object its table of tensors is: it is one, or training scripts keep one in it beside other things.

use std::path::Path;

use super::objects::{Objects, Value};
use super::{Budget, Checked, shown, wrong};

/// Keys under which scripts keep tables of tensors, the one that is taken first, and what its names begin with here. A moving average is what
/// one samples from. The last two are the coarse and the fine network of nerf-pytorch, which are one model here.
const NESTED: [(&str, &str); 6] = [
    ("ema", ""),
    ("state_dict", ""),
    ("model_state_dict", ""),
    ("model", ""),
    (COARSE, "network_fn."),
    ("network_fine_state_dict", "network_fine."),
];
const COARSE: &str = "network_fn_state_dict";

/// Containers of a state dict are in each other but a few times.
const DEEPEST: usize = 64;

/// So many names are listed in a message.
const LISTED: usize = 8;

/// The tables of tensors that are to be read, each with what its names begin with.
///
/// # Errors
/// When there are none, saying what is there, or something contains itself.
pub(super) fn dicts(
    path: &Path,
    objects: &Objects,
    root: Value,
    budget: &mut Budget,
) -> Checked<Vec<(&'static str, u32)>> {
    check_nesting(objects, root, budget)?;
    let Value::Dict(mut dict) = root else {
        return wrong(match root {
            Value::Tensor(_) => "holds one tensor without a name; save a state_dict".to_owned(),
            _ => "holds no table of tensors; save a state_dict".to_owned(),
        });
    };
    // It ends, since nothing contains itself.
    let found = loop {
        let nested = |&(key, prefix): &(&'static str, &'static str)| match objects.get(dict, key) {
            Some(Value::Dict(dict)) => Some((key, prefix, dict)),
            _ => None,
        };
        let there: Vec<_> = NESTED.iter().filter_map(nested).collect();
        match there[..] {
            [] => break vec![("", dict)],
            [(COARSE, prefix, coarse), (_, fine_prefix, fine)] => {
                break vec![(prefix, coarse), (fine_prefix, fine)];
            }
            [(COARSE, prefix, coarse)] => break vec![(prefix, coarse)],
            [(key, _, inner), ref others @ ..] => {
                if !others.is_empty() {
                    let others: Vec<&str> = others.iter().map(|(key, ..)| *key).collect();
                    log::warn!(
                        "{}: has tables of tensors under {key} and {}; {key} is read",
                        path.display(),
                        others.join(", ")
                    );
                }
                dict = inner;
            }
        }
    };
    for (_, dict) in &found {
        look(path, objects, *dict)?;
    }
    Ok(found)
}

/// Refuses a dictionary without tensors, and says what beside tensors is passed over.
fn look(path: &Path, objects: &Objects, dict: u32) -> Checked<()> {
    let pairs = objects.dict(dict);
    let is_tensor =
        |(key, value): &&(Value, Value)| matches!((key, value), (Value::Text(_), Value::Tensor(_)));
    let others = pairs.iter().filter(|pair| !is_tensor(pair));
    let count = others.clone().count();
    let mut names: Vec<String> = others
        .take(LISTED)
        .map(|(key, _)| match key {
            Value::Text(key) => shown(objects.text(*key)),
            Value::Int(key) => key.to_string(),
            _ => "...".to_owned(),
        })
        .collect();
    if count > LISTED {
        names.push(format!("and {} more", count - LISTED));
    }
    let names = names.join(", ");
    if count == pairs.len() && count > 0 {
        return wrong(format!(
            "holds no table of tensors that is known: its keys are {names}; save a state_dict alone, or under 'state_dict'"
        ));
    }
    if count > 0 {
        log::warn!(
            "{}: what are no tensors is passed over: {names}",
            path.display()
        );
    }
    Ok(())
}

/// Refuses what contains itself, or is nested deeper than anything that is meant.
fn check_nesting(objects: &Objects, root: Value, budget: &mut Budget) -> Checked<()> {
    /// Of a container: not seen, being looked through, done with.
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Within,
        Done,
    }
    let (tuples, lists) = (objects.tuples.len(), objects.lists.len());
    let all = tuples + lists + objects.dicts.len();
    budget.charge(all)?;
    let mut seen = vec![Seen::Not; all];
    let place = |value: Value| match value {
        Value::Tuple(i) => Some(i as usize),
        Value::List(i) => Some(tuples + i as usize),
        Value::Dict(i) => Some(tuples + lists + i as usize),
        _ => None,
    };
    // Item by item: of a dictionary keys and values take turns.
    let item = |value: Value, at: usize| match value {
        Value::Tuple(i) => objects.tuple(i).get(at).copied(),
        Value::List(i) => objects.lists[i as usize].get(at).copied(),
        Value::Dict(i) => {
            let pair = objects.dict(i).get(at / 2)?;
            Some(if at.is_multiple_of(2) { pair.0 } else { pair.1 })
        }
        _ => None,
    };
    if let Some(place) = place(root) {
        seen[place] = Seen::Within;
    }
    let mut within = vec![(root, 0)];
    while let Some((container, at)) = within.last_mut() {
        let (container, next) = (*container, item(*container, *at));
        *at += 1;
        let Some(next) = next else {
            if let Some(place) = place(container) {
                seen[place] = Seen::Done;
            }
            within.pop();
            continue;
        };
        let Some(place) = place(next) else {
            continue;
        };
        match seen[place] {
            Seen::Done => continue,
            Seen::Within => {
                return wrong("holds an object that contains itself, which no state_dict does");
            }
            Seen::Not => {}
        }
        if within.len() >= DEEPEST {
            return wrong(format!(
                "holds objects that are nested more than {DEEPEST} deep"
            ));
        }
        seen[place] = Seen::Within;
        within.push((next, 0));
    }
    Ok(())
}
