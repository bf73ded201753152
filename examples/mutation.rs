//! The harness against itself: changes one thing in a shader at a time and asks whether `verify`'s cases notice.
//!
//! cargo run --release --example mutation [-- --out mutants.jsonl] [--only conv2d,pool]
//!
//! A mutant is a template with one token changed: a constant times 1.001, a sign swapped, an index off by one, `<` for `<=`, a
//! tail dropped, an operand exchanged. It is killed when a case fails or the shader is refused by the device at run time; mutants
//! that naga refuses are not counted. Survivors are printed with their line; docs/verification.md explains each.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use wgen::gpu::{Choice, Gpu};
use wgen::program::template::Templates;
use wgen::verify::{cases, run};

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
    ("no barrier", "workgroupBarrier();", ""),
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

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut out = None;
    let mut per_template = 40;
    let mut only = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => {
                out = arguments
                    .next()
                    .map(|p| std::fs::File::create(p).expect("a file that can be written"));
            }
            "--per-template" => {
                per_template = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .expect("a number");
            }
            "--only" => {
                let names = arguments.next().expect("names of templates");
                only = Some(names.split(',').map(str::to_owned).collect::<Vec<_>>());
            }
            other => panic!(
                "unknown argument {other}; there are --out FILE, --per-template N and --only NAME,NAME"
            ),
        }
    }
    let gpu = Gpu::new(&Choice::Auto).expect("an adapter");
    println!("adapter: {}", gpu.summary().name);
    let templates = Templates::embedded();
    let all = cases::all(gpu.caps(), true);
    // Shared functions are exercised through the families that include them.
    let families = |template: &str| -> Vec<&str> {
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
    };
    let begin = Instant::now();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut survivors = Vec::new();
    for name in templates
        .names()
        .filter(|n| *n != "shared/bindings")
        .filter(|n| only.as_ref().is_none_or(|only| only.iter().any(|o| o == n)))
        .map(str::to_owned)
        .collect::<Vec<_>>()
    {
        let source = templates.source(&name).expect("a template").to_owned();
        let candidates = mutants(&source);
        // Spread over the file, the same ones every time.
        let stride = (candidates.len() as f64 / f64::from(per_template)).max(1.0);
        let mut position = 0.0_f64;
        let mut taken = Vec::new();
        while (position as usize) < candidates.len() {
            taken.push(&candidates[position as usize]);
            position += stride;
        }
        for (line, rule, mutant) in taken {
            gpu.set_template(&name, mutant);
            let wanted = families(&name);
            let mut verdict = None;
            let mut valid = false;
            let mut cases: Vec<_> = all
                .iter()
                .filter(|c| wanted.contains(&c.kernel.family()))
                .collect();
            // The variants interleaved: a mutant in one of them is met early.
            cases.sort_by_key(|c| c.name.len() % 7);
            for case in cases {
                // Only pipelines that include the mutated text are worth running; all others are unchanged.
                let launch = case.kernel.launch();
                let mut changed = Templates::embedded();
                let before = changed.expand(&launch).ok();
                changed.set(&name, mutant);
                let after = changed.expand(&launch);
                if after.as_ref().ok() == before.as_ref() {
                    continue;
                }
                match run(&gpu, case) {
                    Ok(comparison) if comparison.passed() => valid = true,
                    Ok(comparison) if comparison.failures[0].starts_with("shader") => {
                        // Refused by the compiler: no mutant at all.
                        break;
                    }
                    Ok(_) => {
                        verdict = Some(case.name.clone());
                        break;
                    }
                    Err(error) => {
                        verdict = Some(format!("{error}"));
                        break;
                    }
                }
            }
            let text = source
                .lines()
                .nth(line - 1)
                .unwrap_or_default()
                .trim()
                .to_owned();
            if verdict.is_none() && !valid {
                continue;
            }
            let count = counts.entry(name.clone()).or_default();
            count.0 += 1;
            let killed = verdict.is_some();
            count.1 += usize::from(killed);
            if let Some(out) = &mut out {
                let record = serde_json::json!({
                    "template": name, "line": line, "rule": rule, "text": text, "killed_by": verdict,
                });
                writeln!(out, "{record}").expect("the file can be written");
            }
            if !killed {
                println!("survived: {name}:{line} [{rule}] {text}");
                survivors.push((name.clone(), *line));
            }
        }
        gpu.set_template(&name, &source);
    }
    let (total, killed) = counts
        .values()
        .fold((0, 0), |(t, k), (n, m)| (t + n, k + m));
    for (name, (n, k)) in &counts {
        println!("{name:<22} {k:>3} of {n:>3} killed");
    }
    println!(
        "{killed} of {total} mutants killed ({:.1} %), {} survivors, {:.0} s",
        100.0 * killed as f64 / total.max(1) as f64,
        survivors.len(),
        begin.elapsed().as_secs_f64()
    );
    let enough = total >= 200 && killed as f64 >= 0.95 * total as f64;
    std::process::exit(i32::from(!enough));
}
