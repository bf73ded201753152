//! What compilers of GPUs that are not here make of kernels that `wgen shaders --json` wrote: see the README beside this program.

mod compile;
mod exceptions;
mod forms;
mod judge;
mod kernel;
mod loops;
mod report;
mod vulkan;

const USAGE: &str = "\
stats compile --gpu NAME --index FILE --cache FILE [-j N] [--timeout SECONDS] [--fresh] [--filter TEXT] [--isa FOLDER] FOLDER
    compiles the kernels of FOLDER, which FILE lists, with the driver that is loaded; a JSON line each. What FILE's cache has is not
    compiled again, --fresh apart.
stats forms [-j N] --exceptions FILE FOLDER...
    the kernels of the folders as SPIR-V through spirv-val and as HLSL through glslangValidator
stats report --exceptions FILE [--before FILE] [--whole] [--loops] [--summary FILE] [--page FILE] LINES...
    judges what `compile` wrote; exit status 1 where something is wrong that no exception names. --whole: all kernels and GPUs were
    compiled, so that an exception that nothing needs is wrong too.";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let result = match command.as_str() {
        "compile" => compile::compile(&arguments).map(|()| true),
        "worker" => compile::worker(&arguments).map(|()| true),
        "forms" => forms::forms(&arguments),
        "report" => report::report(&arguments),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    }
}

/// Options with values, flags, and the rest.
struct Arguments {
    values: Vec<(String, String)>,
    flags: Vec<String>,
    rest: Vec<String>,
}

impl Arguments {
    fn parse(arguments: &[String], flags: &[&str]) -> Result<Self, String> {
        let mut parsed = Self {
            values: Vec::new(),
            flags: Vec::new(),
            rest: Vec::new(),
        };
        let mut all = arguments.iter().cloned();
        while let Some(argument) = all.next() {
            if flags.contains(&argument.as_str()) {
                parsed.flags.push(argument);
            } else if argument.starts_with('-') {
                let value = all.next().ok_or(format!("{argument} wants a value"))?;
                parsed.values.push((argument, value));
            } else {
                parsed.rest.push(argument);
            }
        }
        Ok(parsed)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or(format!("{name} is missing\n{USAGE}"))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        value.parse().map_err(|e| format!("{name} {value}: {e}"))
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }
}

/// A kernel in the list that `wgen shaders --json` prints.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
struct Listed {
    file: String,
    family: String,
    variant: String,
    /// `first`, `candidate` or `verified`.
    role: String,
    uses: Vec<Use>,
}

/// A program that it is for.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
struct Use {
    program: String,
    role: String,
    dispatches: u64,
    flops: f64,
}

impl Listed {
    /// Family and variant: what exceptions are named by.
    fn title(&self) -> String {
        format!("{} {}", self.family, self.variant)
    }

    fn read(index: &str) -> Result<Vec<Self>, String> {
        #[derive(serde::Deserialize)]
        struct Index {
            kernels: Vec<Listed>,
        }
        let text = std::fs::read_to_string(index).map_err(|e| format!("{index}: {e}"))?;
        let list: Index = serde_json::from_str(&text).map_err(|e| format!("{index}: {e}"))?;
        Ok(list.kernels)
    }
}
