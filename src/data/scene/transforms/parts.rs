//! What nerfstudio's lists of names say of which frames are learned from.

use std::collections::HashSet;

use serde_json::Value;

use crate::data::scene::listed::{Frame, Which};

/// Which frames the lists keep away from training, and what that part is called. Frames that are in no list leave, where there is a list of those to
/// train on and another of those held out.
pub(super) fn divide(
    frames: &mut Vec<Frame>,
    lists: [&Value; 3],
    which: Which,
    notes: &mut Vec<String>,
) -> (Option<Vec<bool>>, &'static str) {
    let names = lists.map(names_of);
    let (held, name) = held_out(frames, &names);
    let [Some(train), ..] = &names else {
        return (held, name);
    };
    let Some(mut held) = held.clone().filter(|_| which != Which::All) else {
        return (held, name);
    };
    let is_trained = |f: &Frame| train.contains(f.name.as_str());
    if frames.iter().any(is_trained) {
        let before = frames.len();
        let mut is_held = held.iter();
        frames.retain(|f| is_held.next() == Some(&true) || is_trained(f));
        if frames.len() < before {
            let left = before - frames.len();
            notes.push(format!("{left} of its {before} pictures are neither in train_filenames nor in {name}: they are left out"));
            held = held_out(frames, &names).0.unwrap_or_default();
        }
    }
    (Some(held), name)
}

/// The strings of a list; nothing where there is none.
fn names_of(list: &Value) -> Option<HashSet<&str>> {
    Some(list.as_array()?.iter().filter_map(Value::as_str).collect())
}

/// Which frames nerfstudio's lists of names keep away from training, and what that part is called: those to test on, else those to validate on, else
/// those that are not trained on.
fn held_out(
    frames: &[Frame],
    [train, val, test]: &[Option<HashSet<&str>>; 3],
) -> (Option<Vec<bool>>, &'static str) {
    let within = |names: &HashSet<&str>, wanted: bool| {
        let held = frames
            .iter()
            .map(|f| names.contains(f.name.as_str()) == wanted);
        Some(held.collect())
    };
    match (train, val, test) {
        (_, _, Some(test)) if !test.is_empty() => (within(test, true), "test_filenames"),
        (_, Some(val), _) if !val.is_empty() => (within(val, true), "val_filenames"),
        (Some(train), ..) if !train.is_empty() => (within(train, false), "not in train_filenames"),
        _ => (None, ""),
    }
}
