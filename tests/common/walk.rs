//! A baked program as a program of somebody else's would take it: from its JSON alone. Nothing of wgen is used here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use serde_json::Value;

/// WebGPU's guarantees.
const WORKGROUPS: u64 = 65_535;
const OFFSET_ALIGNMENT: u64 = 256;

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

/// Bytes that `count` elements take.
fn bytes_of(dtype: &str, count: u64) -> u64 {
    match dtype {
        "f32" | "u32" => 4 * count,
        "f16" => 4 * count.div_ceil(2),
        "u8" => 4 * count.div_ceil(4),
        other => panic!("elements of {other}"),
    }
}

/// What a caller of a shader has to know of it.
struct Shader {
    /// Name, access and element type of each storage binding.
    bindings: Vec<(String, String, String)>,
    /// Bytes of the uniform's struct.
    uniform: u64,
}

/// Compiles a shader and compares its WGSL with what is said of it.
fn shader(json: &Value) -> Shader {
    let (name, source) = (text(&json["name"]), text(&json["wgsl"]));
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
    let mut capabilities = Capabilities::empty();
    if json["f16"] == true {
        capabilities |= Capabilities::SHADER_FLOAT16;
    }
    if !json["subgroups"].is_null() {
        assert!(number(&json["subgroups"]).is_power_of_two(), "{name}");
        capabilities |= Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));

    // Every constant is an override, and every override has a value.
    let constants: BTreeMap<String, f64> = json["constants"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_f64().unwrap()))
        .collect();
    let overrides: BTreeMap<&str, bool> = module
        .overrides
        .iter()
        .map(|(_, o)| (o.name.as_deref().unwrap(), o.init.is_some()))
        .collect();
    for constant in constants.keys() {
        assert!(
            overrides.contains_key(constant.as_str()),
            "{name}: {constant}"
        );
    }
    for (constant, given) in &overrides {
        assert!(
            *given || constants.contains_key(*constant),
            "{name}: {constant}"
        );
    }

    // Its bindings are those of the source, with their access and elements.
    let rows = list(&json["bindings"]);
    let uniform = number(&json["uniform"]);
    assert_eq!(uniform, rows.len() as u64, "{name}");
    let mut uniform_bytes = None;
    let mut seen = BTreeSet::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else {
            continue;
        };
        assert_eq!(binding.group, 0, "{name}");
        assert!(seen.insert(u64::from(binding.binding)), "{name}");
        let inner = &module.types[variable.ty].inner;
        if u64::from(binding.binding) == uniform {
            assert_eq!(variable.space, naga::AddressSpace::Uniform, "{name}");
            let naga::TypeInner::Struct { span, .. } = inner else {
                panic!("{name}: {inner:?}");
            };
            uniform_bytes = Some(u64::from(*span));
            continue;
        }
        let row = &rows[binding.binding as usize];
        assert_eq!(variable.name.as_deref(), Some(text(&row["name"])), "{name}");
        let naga::AddressSpace::Storage { access } = variable.space else {
            panic!("{name}: {:?}", variable.space);
        };
        let writes = access.contains(naga::StorageAccess::STORE);
        assert_eq!(writes, row["access"] != "read", "{name}: {row}");
        let naga::TypeInner::Array { base, .. } = inner else {
            panic!("{name}: {inner:?}");
        };
        let scalar = match module.types[*base].inner {
            naga::TypeInner::Scalar(scalar) | naga::TypeInner::Vector { scalar, .. } => scalar,
            naga::TypeInner::Atomic(scalar) => scalar,
            ref other => panic!("{name}: {other:?}"),
        };
        let wgsl = match (scalar.kind, scalar.width) {
            (naga::ScalarKind::Float, 4) => "f32",
            (naga::ScalarKind::Float, 2) => "f16",
            (naga::ScalarKind::Uint, 4) => "u32",
            other => panic!("{name}: {other:?}"),
        };
        let dtype = text(&row["dtype"]);
        // Bytes come four to a word; kernels that only move words take any.
        let fits = wgsl == dtype || wgsl == "u32" && matches!(dtype, "u8" | "f32");
        assert!(fits, "{name}: {wgsl} for {row}");
    }
    assert_eq!(seen, (0..=uniform).collect(), "{name}");

    // With its constants it is a pipeline within limits.
    let constants = constants.into_iter().collect();
    let (module, _) =
        naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let entry = module
        .entry_points
        .iter()
        .find(|e| e.name == text(&json["entry"]))
        .unwrap_or_else(|| panic!("{name} has no {}", json["entry"]));
    let threads: u32 = entry.workgroup_size.iter().product();
    assert!((1..=1024).contains(&threads), "{name}: {threads}");

    Shader {
        bindings: rows
            .iter()
            .map(|b| {
                let of = |key: &str| text(&b[key]).to_owned();
                (of("name"), of("access"), of("dtype"))
            })
            .collect(),
        uniform: uniform_bytes.unwrap(),
    }
}

/// Ranges of elements that were written, in order and apart.
#[derive(Default)]
struct Written(Vec<(u64, u64)>);

impl Written {
    fn add(&mut self, first: u64, end: u64) {
        self.0.push((first, end));
        self.0.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for &(first, end) in &self.0 {
            match merged.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((first, end)),
            }
        }
        self.0 = merged;
    }

    fn covers(&self, first: u64, end: u64) -> bool {
        first == end || self.0.iter().any(|&(a, b)| a <= first && end <= b)
    }
}

/// Walks a program. Returns the names of its inputs without a value of their own.
pub(crate) fn program(json: &Value) -> BTreeSet<String> {
    assert_eq!(json["format"], 1);
    let shaders: Vec<Shader> = list(&json["shaders"]).iter().map(shader).collect();
    let (buffers, dispatches) = (list(&json["buffers"]), list(&json["dispatches"]));
    let needed = fills(json);
    let kind = |buffer: usize| text(&buffers[buffer]["fill"]["kind"]);
    let update = number(&json["update"]) as usize;
    assert!(update <= dispatches.len());

    let mut written: HashMap<usize, Written> = HashMap::new();
    let mut lives: HashMap<usize, (usize, usize)> = HashMap::new();
    let mut used = BTreeSet::new();
    for (i, dispatch) in dispatches.iter().enumerate() {
        let at = number(&dispatch["shader"]) as usize;
        used.insert(at);
        let shader = &shaders[at];
        let label = format!("dispatch {i}, {}", dispatch["family"]);
        let params = list(&dispatch["params"]).len() as u64;
        let span = shader.uniform.next_multiple_of(16);
        assert_eq!(4 * params, span, "{label}");
        for n in list(&dispatch["workgroups"]) {
            assert!(number(n) <= WORKGROUPS, "{label}");
        }
        if dispatch["grid"]["kind"] != "whole" {
            let words = dispatch["grid"].as_object().unwrap().iter();
            for (_, word) in words.filter(|(key, _)| *key != "kind") {
                assert!(number(word) < params, "{label}");
            }
        }
        let bindings = list(&dispatch["bindings"]);
        assert_eq!(bindings.len(), shader.bindings.len(), "{label}");
        let mut writes = Vec::new();
        for (bound, (name, access, dtype)) in bindings.iter().zip(&shader.bindings) {
            let label = format!("{label}: {name}");
            let buffer = number(&bound["buffer"]) as usize;
            let (first, count) = (number(&bound["first"]), number(&bound["count"]));
            let own = &buffers[buffer];
            assert_eq!(text(&own["dtype"]), dtype, "{label}");
            let offset = bytes_of(dtype, first);
            assert!(offset.is_multiple_of(OFFSET_ALIGNMENT), "{label}");
            assert!(
                offset + bytes_of(dtype, count) <= number(&own["bytes"]),
                "{label}"
            );
            let life = lives.entry(buffer).or_insert((i, i));
            life.1 = i;
            let made_here = matches!(kind(buffer), "transient" | "output");
            if access != "write" && made_here {
                let covered = written
                    .get(&buffer)
                    .is_some_and(|w| w.covers(first, first + count));
                assert!(covered, "{label} is read before it is written");
            }
            if access != "read" {
                writes.push((buffer, first, first + count));
                // What lasts is changed in its half of the step alone.
                let lasts = matches!(
                    kind(buffer),
                    "segment" | "state" | "schedule" | "control" | "ring"
                );
                assert!(
                    !lasts || i >= update,
                    "{label} is changed before the update"
                );
                assert!(
                    !matches!(kind(buffer), "parameter" | "table"),
                    "{label} is written"
                );
            }
        }
        for (buffer, first, end) in writes {
            written.entry(buffer).or_default().add(first, end);
        }
    }
    assert_eq!(used, (0..shaders.len()).collect(), "a shader is of no use");
    slots(json, &lives);
    for output in list(&json["outputs"]) {
        let buffer = number(&output["buffer"]) as usize;
        let count = list(&buffers[buffer]["shape"]).iter().map(number).product();
        assert_eq!(kind(buffer), "output");
        let own: u64 = list(&output["shape"]).iter().map(number).product();
        assert_eq!(own, count, "{output} in {}", buffers[buffer]);
        assert!(written[&buffer].covers(0, count), "{output} is not written");
    }
    needed
}

/// Every buffer says what is in it. Returns the names of the inputs that the caller has to give.
fn fills(json: &Value) -> BTreeSet<String> {
    let tensors = list(&json["store"]["tensors"]);
    let segments = list(&json["store"]["segments"]);
    let mut needed = BTreeSet::new();
    for buffer in list(&json["buffers"]) {
        let count: u64 = list(&buffer["shape"]).iter().map(number).product();
        let bytes = number(&buffer["bytes"]);
        assert_eq!(bytes, bytes_of(text(&buffer["dtype"]), count), "{buffer}");
        let fill = &buffer["fill"];
        match text(&fill["kind"]) {
            "transient" => assert!(fill["slot"].is_u64(), "{buffer}"),
            "output" => assert!(!text(&fill["name"]).is_empty()),
            "input" if fill["words"].is_null() => {
                needed.insert(text(&fill["name"]).to_owned());
            }
            "input" => assert_eq!(4 * list(&fill["words"]).len() as u64, bytes),
            "parameter" | "gradient" => {
                let tensor = &tensors[number(&fill["tensor"]) as usize];
                assert_eq!(number(&tensor["count"]), count, "{tensor}");
            }
            "segment" => {
                let segment = &segments[number(&fill["segment"]) as usize];
                assert_eq!(number(&segment["count"]), count, "{segment}");
                let flats = ["parameters", "gradients", "moment1", "moment2", "ema"];
                assert!(flats.contains(&text(&fill["flat"])), "{fill}");
            }
            "state" | "schedule" | "table" | "control" | "ring" => {}
            other => panic!("a buffer is filled with {other}"),
        }
    }
    for tensor in tensors {
        let segment = &segments[number(&tensor["segment"]) as usize];
        let (offset, count) = (number(&tensor["offset"]), number(&tensor["count"]));
        assert!(offset + count <= number(&segment["count"]), "{tensor}");
        assert!((4 * offset).is_multiple_of(OFFSET_ALIGNMENT), "{tensor}");
        for key in ["shape", "file_shape"] {
            let sizes: u64 = list(&tensor[key]).iter().map(number).product();
            assert_eq!(sizes, count, "{tensor}");
        }
        assert!(!text(&tensor["name"]).is_empty());
        assert!(tensor["initial"]["kind"].is_string() && tensor["role"].is_object());
    }
    needed
}

/// Transients lie in slots that are large enough, and two in one slot are never alive at once.
fn slots(json: &Value, lives: &HashMap<usize, (usize, usize)>) {
    let sizes = list(&json["slots"]);
    let mut tenants: HashMap<u64, Vec<(usize, usize)>> = HashMap::new();
    for (i, buffer) in list(&json["buffers"]).iter().enumerate() {
        if buffer["fill"]["kind"] != "transient" {
            continue;
        }
        let slot = number(&buffer["fill"]["slot"]);
        assert!(
            number(&buffer["bytes"]) <= number(&sizes[slot as usize]),
            "{buffer}"
        );
        let (first, last) = lives[&i];
        for &(a, b) in tenants.get(&slot).into_iter().flatten() {
            assert!(
                last < a || b < first,
                "slot {slot} holds two tensors at once"
            );
        }
        tenants.entry(slot).or_default().push((first, last));
    }
}

/// Walks a routine: its programs, and whether everything that they read is there when they read it.
pub(crate) fn routine(json: &Value) {
    assert_eq!(json["format"], 1);
    let programs = list(&json["programs"]);
    let mut needed = BTreeSet::new();
    for each in programs {
        needed.extend(program(each));
    }
    let start = list(&json["start"]);
    for name in &needed {
        let given = |w: &Value| w["to"]["kind"] == "input" && w["to"]["name"] == name.as_str();
        assert!(start.iter().any(given), "input '{name}' is not given");
    }
    let turn: Vec<usize> = list(&json["turn"])
        .iter()
        .flat_map(|t| {
            let program = number(&t["program"]) as usize;
            assert!(program < programs.len());
            (0..number(&t["repeats"])).map(move |_| program)
        })
        .collect();
    let updates = |program: usize| {
        let program = &programs[program];
        (number(&program["update"]) as usize) < list(&program["dispatches"]).len()
    };
    let runs = number(&json["runs"]);
    let mut refills = list(&json["refills"]).iter().peekable();
    // Rows of the table that wait to be read; the words of the state.
    let mut rows: BTreeSet<u64> = BTreeSet::new();
    let mut state = [0_u64; 8];
    let mut schedule = false;
    let mut put = |writes: &[Value], rows: &mut BTreeSet<u64>, state: &mut [u64; 8]| {
        for write in writes {
            let (first, words) = (number(&write["first"]), list(&write["words"]));
            let end = first + words.len() as u64;
            match text(&write["to"]["kind"]) {
                "state" => {
                    for (i, word) in words.iter().enumerate() {
                        state[first as usize + i] = number(word);
                    }
                }
                "schedule" => {
                    schedule = true;
                    assert_eq!((first, end), (0, 8));
                }
                "table" => {
                    assert!(end <= 8 * 1024 && first.is_multiple_of(8) && end.is_multiple_of(8));
                    for row in first / 8..end / 8 {
                        assert!(rows.insert(row), "row {row} is replaced before it is read");
                    }
                }
                "input" => {
                    let name = text(&write["to"]["name"]);
                    let of = |b: &&Value| b["fill"]["kind"] == "input" && b["fill"]["name"] == name;
                    let inputs = programs.iter().flat_map(|p| list(&p["buffers"]));
                    let inputs: Vec<&Value> = inputs.filter(of).collect();
                    assert!(!inputs.is_empty(), "nothing reads '{name}'");
                    for input in inputs {
                        assert!(4 * end <= number(&input["bytes"]), "{name}");
                    }
                }
                other => panic!("{other} is written"),
            }
        }
    };
    put(start, &mut rows, &mut state);
    for run in 0..runs {
        if let Some(refill) = refills.next_if(|r| number(&r["before"]) == run) {
            put(list(&refill["writes"]), &mut rows, &mut state);
        }
        if updates(turn[run as usize % turn.len()]) {
            // The step ends by making the row of the next one the current row.
            state[0] += 1;
            let row = state[0] % 1024;
            assert!(rows.remove(&row), "row {row} is not there after run {run}");
        }
    }
    assert!(refills.peek().is_none(), "a refill comes too late");
    assert!(rows.is_empty(), "rows are never read");
    assert!(schedule || !(0..programs.len()).any(updates));
}
