//! The house of DESIGN, held to: which room uses which, and how long files and functions are.
//!
//! Arrows of code under `#[cfg(test)]` do not count: it is no part of what a room gives to others, and a test may well build what it
//! examines with the rooms below. Its lines and its wgpu names count.

#[path = "house/examples.rs"]
mod examples;
#[path = "house/made_up.rs"]
mod made_up;
#[path = "house/scan.rs"]
mod scan;
#[cfg(unix)]
#[path = "house/scripts.rs"]
mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::Path as FilePath;

use scan::{Kind, Module, Path, scan};

/// The rooms, each using only those before it. On one line in DESIGN stand error, tensor and real, and verify and bench.
const ROOMS: [&str; 24] = [
    "error",
    "real",
    "tensor",
    "kernels",
    "reference",
    "graph",
    "program",
    "gpu",
    "plan",
    "nn",
    "data",
    "report",
    "models",
    "session",
    "files",
    "run",
    "evaluate",
    "train",
    "live",
    "sanitize",
    "verify",
    "bench",
    "export",
    "cli",
];

/// Rooms that see no device, and what would be one.
const WITHOUT_DEVICE: [&str; 5] = ["kernels", "reference", "graph", "program", "models"];
const DEVICE: [&str; 4] = ["gpu", "plan", "session", "wgpu"];

/// Rooms that know wgpu.
const WITH_WGPU: [&str; 2] = ["gpu", "plan"];

/// From, to, and why the arrow is none.
type Exception = (&'static str, &'static str, &'static str);

/// Arrows that do not count, because the two are one thing by nature: files of a room, or rooms that stand on one line. Add to it only
/// what is; one that nothing needs any more is a fault.
const ONE_THING: &[Exception] = &[
    (
        "real",
        "tensor",
        "a host array is of one of the number types, and an array of a number type is a host array",
    ),
    (
        "graph/op.rs",
        "graph/ops/leaf.rs",
        "an operator says whether it is a leaf",
    ),
    (
        "gpu/buffer.rs",
        "gpu/kernel.rs",
        "a read-back is made of slices, which are what a kernel is bound to",
    ),
    (
        "models/autoencoder/contractive.rs",
        "models/autoencoder/cases.rs",
        "an entry names its cases, which are built of its configuration",
    ),
    (
        "models/autoencoder/sparse.rs",
        "models/autoencoder/cases.rs",
        "an entry names its cases, which are built of its configuration",
    ),
];

const MOST_LINES: usize = 500;
const MOST_LINES_OF_A_FUNCTION: usize = 100;
/// Folders that are kept short as a whole.
const FOLDERS: [(&str, usize); 1] = [("src/train/", 1500)];

/// Lists of cases may be as long as there are cases.
fn lists_cases(file: &str) -> bool {
    file.starts_with("src/verify/cases/") || file.ends_with("/cases.rs")
}

/// File, line, what is wrong there.
type Fault = (String, usize, String);

/// From one to another, and the file and line where that is first seen.
type Arrows = BTreeMap<(String, String), (String, usize)>;

#[derive(Default)]
struct Found {
    faults: BTreeSet<Fault>,
    rooms: Arrows,
    files: Arrows,
}

/// What a path leads to.
enum Target {
    /// A module.
    Module(Vec<String>),
    /// Something in a module.
    Item(Vec<String>),
    /// Another crate.
    External(String),
}

struct House {
    modules: HashMap<Vec<String>, Module>,
    /// By file: lines, and functions.
    files: BTreeMap<String, (usize, Vec<scan::Function>)>,
}

/// The module of a file of src/.
fn module_of(file: &str) -> Vec<String> {
    let name = file.trim_start_matches("src/").trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    match name {
        "lib" => Vec::new(),
        name => name.split('/').map(str::to_owned).collect(),
    }
}

/// The room of a file of src/; none of lib.rs.
fn room(file: &str) -> Option<&str> {
    let name = file.strip_prefix("src/")?;
    let room = name.split('/').next()?.trim_end_matches(".rs");
    (room != "lib" && room != "main").then_some(room)
}

impl House {
    fn new(sources: &[(String, String)]) -> Self {
        let (mut modules, mut files) = (HashMap::new(), BTreeMap::new());
        for (file, text) in sources {
            let read = scan(file, &module_of(file), text);
            for module in read.modules {
                modules.insert(module.path.clone(), module);
            }
            files.insert(file.clone(), (text.lines().count(), read.functions));
        }
        Self { modules, files }
    }

    /// Where a path in the module `from` leads, through re-exports.
    fn resolve(&self, from: &[String], segments: &[String], depth: usize) -> Target {
        let mut here = from.to_vec();
        let mut rest = segments;
        match segments[0].as_str() {
            "crate" => (here, rest) = (Vec::new(), &segments[1..]),
            "self" => rest = &segments[1..],
            _ => {}
        }
        while let Some("super") = rest.first().map(String::as_str) {
            here.pop();
            rest = &rest[1..];
        }
        let relative = rest.len() == segments.len();
        while let Some(name) = rest.first() {
            let child = [&here[..], std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                (here, rest) = (child, &rest[1..]);
                continue;
            }
            let Some(module) = self.modules.get(&here) else {
                return Target::Item(here);
            };
            if module.items.contains(name) {
                return Target::Item(here);
            }
            let imported = |p: &&Path| matches!(&p.kind, Kind::Import { name: n, .. } if n == name);
            match module.paths.iter().find(imported) {
                // An import of a name that is its own first segment is of another crate.
                Some(path) if depth < 16 && !(relative && path.segments == [name.as_str()]) => {
                    match self.resolve(&here, &path.segments, depth + 1) {
                        Target::Module(module) => (here, rest) = (module, &rest[1..]),
                        found => return found,
                    }
                    continue;
                }
                _ => {}
            }
            let globs = module
                .paths
                .iter()
                .filter(|p| matches!(p.kind, Kind::Glob { .. }));
            for path in globs.filter(|_| depth < 16) {
                if let Target::Module(within) = self.resolve(&here, &path.segments, depth + 1)
                    && within != here
                    && self.has(&within, name)
                {
                    return self.resolve(
                        &within,
                        &[&["self".to_owned()], rest].concat(),
                        depth + 1,
                    );
                }
            }
            return if relative && rest.len() == segments.len() {
                Target::External(name.clone())
            } else {
                Target::Item(here)
            };
        }
        Target::Module(here)
    }

    fn has(&self, module: &[String], name: &String) -> bool {
        let named =
            |p: &Path| matches!(&p.kind, Kind::Import { name: n, public: true } if n == name);
        let child = [module, std::slice::from_ref(name)].concat();
        self.modules.contains_key(&child)
            || self
                .modules
                .get(module)
                .is_some_and(|m| m.items.contains(name) || m.paths.iter().any(named))
    }

    fn file_of(&self, module: &[String]) -> Option<&str> {
        self.modules.get(module).map(|m| m.file.as_str())
    }

    /// All that is wrong, a line each.
    fn faults(&self, exceptions: &[Exception]) -> Vec<String> {
        let mut found = Found::default();
        for module in self.modules.values() {
            for path in &module.paths {
                self.follow(module, path, exceptions, &mut found);
            }
        }
        let mut faults = found.faults;
        for (what, arrows) in [("rooms", found.rooms), ("files", found.files)] {
            let (of_files, of_rooms): (Vec<Exception>, _) = exceptions
                .iter()
                .partition(|(from, ..)| from.ends_with(".rs"));
            let own = if what == "files" { of_files } else { of_rooms };
            let (arrows, unused) = without_exceptions(arrows, &own);
            faults.extend(unused);
            for ((file, line), text) in circles(&arrows) {
                faults.insert((file, line, format!("a circle of {what}: {text}")));
            }
        }
        faults.extend(self.lengths());
        faults
            .into_iter()
            .map(|(file, line, text)| format!("{file}:{line}: {text}"))
            .collect()
    }

    fn follow(&self, module: &Module, path: &Path, exceptions: &[Exception], found: &mut Found) {
        let mut fault = |text: String| {
            let at = (module.file.clone(), path.line, text);
            found.faults.insert(at);
        };
        let shown = path.segments.join("::");
        let target = self.resolve(&module.path, &path.segments, 0);
        let from = room(&module.file);
        let own = |rooms: &[&str]| from.is_some_and(|r| rooms.contains(&r));
        if matches!(&target, Target::External(name) if name == "wgpu") {
            let front = module.file == "src/lib.rs"
                && matches!(&path.kind, Kind::Import { name, public: true } if name == "wgpu");
            if !own(&WITH_WGPU) && !front {
                fault(format!("{shown}: wgpu's names stay in gpu/ and plan/"));
            }
            if own(&WITHOUT_DEVICE) && !path.test {
                fault(format!("{shown}: {} sees no device", from.unwrap_or("")));
            }
            return;
        }
        if path.test {
            return;
        }
        let (to_module, whole) = match &target {
            Target::Module(path) => (path, true),
            Target::Item(path) => (path, false),
            Target::External(_) => return,
        };
        let Some(file) = self.file_of(to_module) else {
            return;
        };
        let (Some(from), Some(to)) = (from, room(file)) else {
            return;
        };
        let at = (module.file.clone(), path.line);
        if from != to {
            if own(&WITHOUT_DEVICE) && DEVICE.contains(&to) {
                fault(format!("{shown}: {from} sees no device, and {to} is one"));
            }
            let excepted = exceptions.iter().any(|(a, b, _)| *a == from && *b == to);
            let rank = |room: &str| ROOMS.iter().position(|r| *r == room);
            match (rank(from), rank(to)) {
                (None, _) => fault(format!("{from} is no room of the house")),
                (_, None) => fault(format!("{to} is no room of the house")),
                (Some(a), Some(b)) if a < b && !excepted => {
                    fault(format!(
                        "{shown}: {from} stands above {to} and cannot use it"
                    ));
                }
                _ => {}
            }
            let arrow = (from.to_owned(), to.to_owned());
            found.rooms.entry(arrow).or_insert(at);
            return;
        }
        // A module that is imported is used where a path goes through its name; a name that is only handed on is not used.
        let handed_on = match &path.kind {
            Kind::Import { name, public: true } => !module.words.contains(name),
            Kind::Glob { public } => *public,
            _ => false,
        };
        let module_itself = whole && !matches!(path.kind, Kind::Glob { .. });
        // A module and its own parts are one thing: the parts are named in it, and see what it holds.
        let family = is_part_of(file, &module.file) || is_part_of(&module.file, file);
        if file != module.file && !handed_on && !module_itself && !family {
            let arrow = (module.file.clone(), file.to_owned());
            found.files.entry(arrow).or_insert(at);
        }
    }

    fn lengths(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (file, (lines, functions)) in &self.files {
            if *lines > MOST_LINES {
                let text = format!("{lines} lines; a file has at most {MOST_LINES}");
                faults.push((file.clone(), *lines, text));
            }
            for (name, line, length) in functions {
                if *length > MOST_LINES_OF_A_FUNCTION && !lists_cases(file) {
                    let most = MOST_LINES_OF_A_FUNCTION;
                    let text = format!("{name} has {length} lines; a function has at most {most}");
                    faults.push((file.clone(), *line, text));
                }
            }
        }
        for (folder, most) in FOLDERS {
            let inside = self.files.iter().filter(|(f, _)| f.starts_with(folder));
            let lines: usize = inside.map(|(_, (lines, _))| lines).sum();
            if lines > most {
                let text = format!("{lines} lines in all; this folder has at most {most}");
                faults.push((folder.to_owned(), 0, text));
            }
        }
        faults
    }
}

/// The arrows but for those of things that are one; and the exceptions that nothing needs.
fn without_exceptions(mut arrows: Arrows, exceptions: &[Exception]) -> (Arrows, Vec<Fault>) {
    let mut unused = Vec::new();
    for (from, to, _) in exceptions {
        let meant = |name: &str, file: &str| file.trim_start_matches("src/") == name;
        let before = arrows.len();
        arrows.retain(|(a, b), _| !(meant(from, a) && meant(to, b)));
        if arrows.len() == before {
            let text = format!("there is no arrow from {from} to {to}: the exception can go");
            unused.push(("tests/house.rs".to_owned(), 0, text));
        }
    }
    (arrows, unused)
}

/// A shortest circle through each arrow that is in one, once each: where its first arrow is, and its names.
fn circles(arrows: &Arrows) -> Vec<((String, usize), String)> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().push(to);
    }
    let mut found = BTreeMap::new();
    for (from, to) in arrows.keys() {
        // Breadth first from the arrow's end back to its beginning.
        let mut came: HashMap<&str, &str> = HashMap::from([(to.as_str(), to.as_str())]);
        let mut queue = VecDeque::from([to.as_str()]);
        while let Some(at) = queue.pop_front() {
            for &step in next.get(at).into_iter().flatten() {
                if !came.contains_key(step) {
                    came.insert(step, at);
                    queue.push_back(step);
                }
            }
        }
        if !came.contains_key(from.as_str()) {
            continue;
        }
        let mut round = vec![from.as_str()];
        while round.last() != Some(&to.as_str()) {
            round.push(came[round[round.len() - 1]]);
        }
        round.reverse();
        // The same circle begins at any of its arrows.
        let least = (0..round.len()).min_by_key(|&i| round[i]).unwrap_or(0);
        round.rotate_left(least);
        let first = (round[0].to_owned(), round[1 % round.len()].to_owned());
        let mut text = round.join(" -> ");
        text.push_str(&format!(" -> {}", round[0]));
        found.entry(text).or_insert(arrows[&first].clone());
    }
    // One that goes through the files of a smaller one goes with it.
    let all: Vec<BTreeSet<&str>> = found.keys().map(|t| t.split(" -> ").collect()).collect();
    found
        .iter()
        .filter(|(text, _)| {
            let own: BTreeSet<&str> = text.split(" -> ").collect();
            !all.iter()
                .any(|other| other.len() < own.len() && other.is_subset(&own))
        })
        .map(|(text, at)| (at.clone(), text.clone()))
        .collect()
}

/// Whether `file` is inside the module whose file is `parent`: `a/mod.rs` or `a.rs` and anything in `a/`.
fn is_part_of(file: &str, parent: &str) -> bool {
    let folder = parent
        .strip_suffix("mod.rs")
        .map_or_else(|| parent.replace(".rs", "/"), str::to_owned);
    file != parent && file.starts_with(&folder)
}

fn sources(folder: &FilePath, root: &FilePath, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, root, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap();
            let name = name.to_string_lossy().replace('\\', "/");
            into.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_house_is_as_design_has_it() {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), root, &mut files);
    assert!(files.len() > 100, "only {} files were read", files.len());
    let faults = House::new(&files).faults(ONE_THING);
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
