//! Configurations as diffusers writes them, of this release and others: keys that are known, and the names of those that are not.

use std::collections::HashSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

/// The object that a configuration file has; some editors begin it with a byte order mark. Python writes `-Infinity` (`lambda_min_clipped` of
/// diffusers' solvers), which is no JSON; such a value is null here.
pub(crate) fn object(text: &str) -> Result<Map<String, Json>, String> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text)
        .or_else(|e| json5::from_str(text).map_err(|_| format!("is malformed: {e}")))
}

/// The keys that `T` has, with `T`'s defaults for those that are missing, and the names of the others.
///
/// As diffusers reads them: what begins with `_` says where the file came from, and keys of `_use_default_values` had no value of their own.
pub(crate) fn known<T>(mut fields: Map<String, Json>) -> Result<(T, Vec<String>), String>
where
    T: Default + Serialize + DeserializeOwned,
{
    if let Some(Json::Array(defaults)) = fields.remove("_use_default_values") {
        let names: HashSet<&str> = defaults.iter().filter_map(Json::as_str).collect();
        fields.retain(|name, _| !names.contains(name.as_str()));
    }
    fields.retain(|name, _| !name.starts_with('_'));
    let own = serde_json::to_value(T::default()).map_err(|e| e.to_string())?;
    let (known, others): (Map<_, _>, Map<_, _>) = fields
        .into_iter()
        .partition(|(name, _)| own.get(name).is_some());
    for (name, value) in &known {
        // One by one, so that the message can name it.
        let one = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<T>(Json::Object(one))
            .map_err(|e| format!("{name} {value} is not supported: {e}"))?;
    }
    let read = serde_json::from_value(Json::Object(known)).map_err(|e| e.to_string())?;
    Ok((read, others.into_iter().map(|(name, _)| name).collect()))
}
