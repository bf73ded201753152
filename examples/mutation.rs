//! The harness against itself: changes one thing in a shader at a time and asks whether `verify`'s cases notice.
//!
//! cargo run --release --example mutation [-- --out mutants.jsonl] [--only conv2d,pool] [--per-template 40] [--barriers]
//!
//! A mutant is a template with one token changed: a constant times 1.001, a sign swapped, an index off by one, `<` for `<=`, a
//! tail dropped, an operand exchanged, a barrier removed. It is killed when a case fails or the shader is refused by the device at run time; what
//! survives that is examined by the sanitizer, which needs no luck with the order of lanes. Mutants that naga refuses are not counted. Survivors
//! are printed with their line; docs/verification.md explains each.
//!
//! Barriers are all removed in turn, the other places of a template sampled, at most so many; `--barriers` leaves those others out.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use wgen::gpu::{Choice, Gpu};
use wgen::kernels::devices;
use wgen::program::template::Templates;
use wgen::sanitize::Options;
use wgen::verify::cases::{self, Case};
use wgen::verify::{Sanitizer, run};

/// The rule of removed barriers.
const BARRIER: &str = "no barrier";

/// (name, what it finds, what it puts there)
const RULES: &[(&str, &str, &str)] = &[
    ("< for <=", " < ", " <= "),
    (">= for >", " >= ", " > "),
    ("> for >=", " > ", " >= "),
    ("+ for -", " - ", " + "),
    ("- for +", " + ", " - "),
    ("-= for +=", " += ", " -= "),
    ("* for /", " / ", " * "),
    ("+ for *", " * ", " + "),
    ("/ for %", " % ", " / "),
    ("|| for &&", " && ", " || "),
    ("& for |", " | ", " & "),
    ("index + 1", "[index]", "[index + 1u]"),
    ("index + 1", "[place]", "[place + 1u]"),
    ("index + 1", "[unit]", "[unit + 1u]"),
    ("index + 1", "[start]", "[start + 1u]"),
    ("max for min", "min(", "max("),
    ("min for max", "max(", "min("),
    ("x for y", ".y", ".x"),
    ("y for x", ".x", ".y"),
    ("w for z", ".z", ".w"),
    ("sine for cosine", "cosine", "sine"),
    ("no abs", "abs(", "("),
    ("no sqrt", "sqrt(", "("),
    ("no exp", "exp(", "("),
    ("1u for 0u", "0u", "1u"),
    ("2u for 1u", "1u", "2u"),
    ("shift", ">> 8u", ">> 9u"),
    (BARRIER, "workgroupBarrier();", ""),
    (BARRIER, "storageBarrier();", ""),
    ("early return dropped", "return;", ""),
];

/// Every place in `source` outside of comments where a rule or a changed constant applies: (line, rule, mutant).
fn mutants(source: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut start = 0;
    for (number, line) in source.split_inclusive('\n').enumerate() {
        let code = line.trim_start();
        let end = start + line.len();
        let is_code =
            !code.starts_with("//") && !code.starts_with('@') && !code.starts_with("enable");
        let text = line.split("//").next().unwrap_or_default();
        if is_code && !text.contains("array<") {
            // What stands inside of ${...} is the template's, not the shader's.
            let in_template = |at: usize| {
                text[..at].rfind("${").is_some_and(|open| {
                    text[open..]
                        .find('}')
                        .is_none_or(|close| open + close >= at)
                })
            };
            for (name, from, to) in RULES {
                for (at, _) in text.match_indices(from).filter(|(at, _)| !in_template(*at)) {
                    let mut mutant = source.to_owned();
                    mutant.replace_range(start + at..start + at + from.len(), to);
                    found.push((number + 1, (*name).to_owned(), mutant));
                }
            }
            for (at, literal) in constants(text)
                .into_iter()
                .filter(|(at, _)| !in_template(*at))
            {
                let changed = format!("({literal} * 1.001)");
                let mut mutant = source.to_owned();
                mutant.replace_range(start + at..start + at + literal.len(), &changed);
                found.push((number + 1, format!("{literal} times 1.001"), mutant));
            }
        }
        start = end;
    }
    found
}

/// Decimal float literals of a line that are not zero.
fn constants(line: &str) -> Vec<(usize, &str)> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let begins = bytes[i].is_ascii_digit()
            && (i == 0
                || !(bytes[i - 1].is_ascii_alphanumeric()
                    || bytes[i - 1] == b'_'
                    || bytes[i - 1] == b'.'));
        if !begins {
            i += 1;
            continue;
        }
        let mut j = i;
        while j < bytes.len()
            && (bytes[j].is_ascii_alphanumeric()
                || bytes[j] == b'.'
                || (matches!(bytes[j], b'+' | b'-') && matches!(bytes[j - 1], b'e' | b'p')))
        {
            j += 1;
        }
        let literal = &line[i..j];
        let decimal = literal.contains('.') && !literal.starts_with("0x");
        if decimal
            && literal
                .trim_end_matches('f')
                .parse::<f64>()
                .is_ok_and(|x| x != 0.0)
        {
            found.push((i, literal));
        }
        i = j;
    }
    found
}

struct Arguments {
    out: Option<std::fs::File>,
    per_template: u32,
    only: Option<Vec<String>>,
    barriers: bool,
}

fn arguments() -> Arguments {
    let mut arguments = std::env::args().skip(1);
    let mut found = Arguments {
        out: None,
        per_template: 40,
        only: None,
        barriers: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--out" => {
                found.out =
                    Some(std::fs::File::create(value()).expect("a file that can be written"));
            }
            "--per-template" => found.per_template = value().parse().expect("a number"),
            "--only" => found.only = Some(value().split(',').map(str::to_owned).collect()),
            "--barriers" => found.barriers = true,
            other => panic!(
                "unknown argument {other}; there are --out FILE, --per-template N, --only NAME,NAME and --barriers"
            ),
        }
    }
    found
}

/// The families whose cases exercise a template: shared functions by those that include them.
fn families(template: &str) -> Vec<&str> {
    match template {
        "shared/hash_grid" | "shared/fixed_point" => vec!["hash_encoding"],
        "shared/divide" => vec!["rearrange", "concat", "gather", "scatter_add"],
        "shared/four_normals" => vec!["reparameterize", "q_sample"],
        "shared/mul_wide" => vec!["hash_encoding", "reparameterize", "map"],
        "shared/philox" | "shared/normal" | "shared/noise" => vec!["reparameterize", "map"],
        "shared/noise_terms" | "shared/functions" => vec!["map"],
        "shared/operands" | "shared/finish" => vec!["map", "reduce", "matmul"],
        "shared/product" | "shared/tiles" | "shared/cooperative" | "shared/along_k"
        | "shared/across_k" => vec!["matmul", "conv2d"],
        "shared/moving" => vec!["rearrange", "concat", "cast", "gather", "reparameterize"],
        "shared/sine" => vec!["frequency_encode"],
        "shared/lens" => vec!["camera_rays"],
        "shared/update" => vec!["adam", "ema", "commit"],
        other => vec![
            wgen::program::template::families()
                .find(|t| *t == other)
                .expect("a template"),
        ],
    }
}

/// Those to examine of a template's mutants: all removed barriers, of the others at most so many, spread over the file, the same ones every time.
fn chosen(all: &[(usize, String, String)], arguments: &Arguments) -> Vec<(usize, String, String)> {
    let barrier = |m: &&(usize, String, String)| m.1 == BARRIER;
    let mut taken: Vec<_> = all.iter().filter(barrier).cloned().collect();
    if arguments.barriers {
        return taken;
    }
    let others: Vec<_> = all.iter().filter(|m| !barrier(m)).collect();
    let stride = (others.len() as f64 / f64::from(arguments.per_template)).max(1.0);
    let mut position = 0.0_f64;
    while (position as usize) < others.len() {
        taken.push(others[position as usize].clone());
        position += stride;
    }
    taken
}

/// Whoever examines mutants.
struct Harness {
    gpu: Gpu,
    /// Cases for the GPU, and for the sanitizer, which has matrix units and f16 too.
    on_gpu: Vec<Case>,
    anywhere: Vec<Case>,
    sanitizer: Sanitizer,
}

/// What became of a mutant.
enum Verdict {
    /// By which case.
    Killed(String),
    Survived,
    /// No case runs it, or no compiler takes it.
    None,
}

impl Harness {
    fn new() -> Self {
        let gpu = Gpu::new(&Choice::Auto).expect("an adapter");
        println!("adapter: {}", gpu.summary().name);
        let on_gpu = cases::all(gpu.caps(), true);
        let mut anywhere = cases::all(gpu.caps(), true);
        let amd = devices::find("amd").expect("a family of devices");
        anywhere.extend(cases::all(&amd.caps, true));
        let options = Options {
            zeroed_workgroup_memory: false,
            most_steps: 5_000_000,
            ..Options::default()
        };
        Self {
            gpu,
            on_gpu,
            anywhere,
            sanitizer: Sanitizer::default().options(options),
        }
    }

    /// Examines a mutant of the template `name`.
    fn examine(&mut self, name: &str, mutant: &str) -> Verdict {
        let mut changed = Templates::embedded();
        changed.set(name, mutant);
        let unchanged = Templates::embedded();
        // Only what includes the mutated text is worth running.
        let differs = |case: &&Case| {
            let launch = case.kernel.launch();
            families(name).contains(&case.kernel.family())
                && changed.expand(&launch).ok() != unchanged.expand(&launch).ok()
        };
        self.gpu.set_template(name, mutant);
        let mut cases: Vec<&Case> = self.on_gpu.iter().filter(differs).collect();
        // The variants interleaved: a mutant in one of them is met early.
        cases.sort_by_key(|c| c.name.len() % 7);
        let mut valid = false;
        for case in cases {
            match run(&self.gpu, case) {
                Ok(comparison) if comparison.passed() => valid = true,
                // Refused by the compiler: no mutant at all.
                Ok(comparison) if comparison.failures[0].starts_with("shader") => break,
                Ok(_) => return Verdict::Killed(case.name.clone()),
                Err(error) => return Verdict::Killed(error.to_string()),
            }
        }
        self.sanitizer.set_template(name, mutant);
        let mut cases: Vec<&Case> = self.anywhere.iter().filter(differs).collect();
        cases.sort_by_key(|c| c.name.len() % 7);
        for case in cases {
            match self.sanitizer.kernel(case.kernel.as_ref(), &case.inputs()) {
                Ok(sanitized) if sanitized.passed() => valid = true,
                Ok(sanitized) => {
                    let what = sanitized.findings.first().map(|f| f.kind.name());
                    let what = what.unwrap_or("another result");
                    return Verdict::Killed(format!("sanitizer, {what}: {}", case.name));
                }
                Err(_) => break,
            }
        }
        if valid {
            Verdict::Survived
        } else {
            Verdict::None
        }
    }

    fn restore(&mut self, name: &str, source: &str) {
        self.gpu.set_template(name, source);
        self.sanitizer.set_template(name, source);
    }
}

fn main() {
    let mut arguments = arguments();
    let mut harness = Harness::new();
    let templates = Templates::embedded();
    let begin = Instant::now();
    let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut survivors = 0;
    let wanted = |name: &&str| {
        let only = arguments.only.as_ref();
        *name != "shared/bindings" && only.is_none_or(|only| only.iter().any(|o| o == name))
    };
    let names: Vec<String> = templates
        .names()
        .filter(wanted)
        .map(str::to_owned)
        .collect();
    for name in names {
        let source = templates.source(&name).expect("a template").to_owned();
        for (line, rule, mutant) in chosen(&mutants(&source), &arguments) {
            let killed_by = match harness.examine(&name, &mutant) {
                Verdict::None => continue,
                Verdict::Survived => None,
                Verdict::Killed(by) => Some(by),
            };
            let text = source.lines().nth(line - 1).unwrap_or_default().trim();
            let count = counts.entry(name.clone()).or_default();
            count[0] += 1;
            count[1] += usize::from(killed_by.is_some());
            let sanitized = killed_by
                .as_ref()
                .is_some_and(|b| b.starts_with("sanitizer"));
            count[2] += usize::from(sanitized);
            if let Some(out) = &mut arguments.out {
                let record = serde_json::json!({
                    "template": name, "line": line, "rule": rule, "text": text, "killed_by": killed_by,
                });
                writeln!(out, "{record}").expect("the file can be written");
            }
            if killed_by.is_none() {
                println!("survived: {name}:{line} [{rule}] {text}");
                survivors += 1;
            }
        }
        harness.restore(&name, &source);
    }
    let all = counts
        .values()
        .fold([0; 3], |sum, count| [0, 1, 2].map(|i| sum[i] + count[i]));
    for (name, [n, killed, sanitized]) in &counts {
        println!(
            "{name:<26} {killed:>4} of {n:>4} killed, {sanitized} of them by the sanitizer alone"
        );
    }
    let [total, killed, sanitized] = all;
    println!(
        "{killed} of {total} mutants killed ({:.1} %), {sanitized} of them by the sanitizer alone, {survivors} survivors, {:.0} s",
        100.0 * killed as f64 / total.max(1) as f64,
        begin.elapsed().as_secs_f64()
    );
    let enough = total > 0 && killed as f64 >= 0.95 * total as f64;
    std::process::exit(i32::from(!enough));
}
