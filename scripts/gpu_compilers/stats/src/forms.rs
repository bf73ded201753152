//! The same kernels in the languages of other drivers, and other front ends' word on them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::Arguments;
use crate::exceptions::{Exceptions, Form};
use crate::kernel::{Abilities, Source};

/// What is checked: a name, and how.
const CHECKS: [(&str, Check); 5] = [
    ("spirv 1.3", |source, at| {
        spirv(source, at, (1, 3), "spv1.3")
    }),
    ("spirv 1.3 for vulkan 1.1", |source, at| {
        spirv(source, at, (1, 3), "vulkan1.1")
    }),
    ("spirv 1.6", |source, at| {
        spirv(source, at, (1, 6), "spv1.6")
    }),
    ("spirv 1.6 for vulkan 1.3", |source, at| {
        spirv(source, at, (1, 6), "vulkan1.3")
    }),
    ("hlsl", hlsl),
];

/// Writes the kernel beside a path; what was written, and the program's complaint if it has one.
type Check = fn(&Source, &Path) -> Result<(String, Option<String>), String>;

/// Of a kind of complaint: kernels, one of them, its text's first line of complaint.
type Complaints = BTreeMap<(&'static str, String), Vec<String>>;

pub fn forms(arguments: &[String]) -> Result<bool, String> {
    let arguments = Arguments::parse(arguments, &[])?;
    let exceptions = Exceptions::read(arguments.need("--exceptions")?)?;
    let mut by_key: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in &arguments.rest {
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{folder}: {e}"))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|e| e == "wgsl") {
                by_key.entry(Source::read(&path)?.key("")).or_insert(path);
            }
        }
    }
    if by_key.is_empty() {
        return Err("no kernels".to_owned());
    }
    let count = by_key.len();
    let jobs = Mutex::new(by_key.into_iter().collect::<VecDeque<_>>());
    let found = Mutex::new(Vec::new());
    let scratch = std::env::temp_dir().join(format!("wgen-forms-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).map_err(|e| e.to_string())?;
    let threads = arguments.number("-j", 1)?.max(1);
    let result = std::thread::scope(|scope| {
        let work = || -> Result<(), String> {
            loop {
                let job = jobs
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                let Some((key, path)) = job else {
                    return Ok(());
                };
                let source = Source::read(&path)?;
                for (form, check) in CHECKS {
                    // Cooperative matrices want SPIR-V 1.6; no HLSL has them.
                    let matrices = source.text.contains("wgpu_cooperative_matrix");
                    if matrices && !form.starts_with("spirv 1.6") {
                        continue;
                    }
                    let (text, complaint) = check(&source, &scratch.join(&key))
                        .unwrap_or_else(|error| (String::new(), Some(error)));
                    if let Some(complaint) = complaint {
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.push((form, path.clone(), text, complaint));
                    }
                }
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().try_for_each(|h| match h.join() {
            Ok(result) => result,
            Err(_) => Err("a thread panicked".to_owned()),
        })
    });
    std::fs::remove_dir_all(&scratch).ok();
    result?;
    let mut excused: BTreeMap<usize, usize> = BTreeMap::new();
    let mut wrong: Complaints = BTreeMap::new();
    for (form, path, text, complaint) in found.into_inner().unwrap_or_default() {
        let mut all = exceptions.form.iter().enumerate();
        let named = all.find(|(_, e)| {
            form.starts_with(&e.form) && complaint.contains(&e.says) && text.contains(&e.has)
        });
        match named {
            Some((i, _)) => *excused.entry(i).or_default() += 1,
            None => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let key = (form, complaint);
                wrong.entry(key).or_default().push(stem.into_owned());
            }
        }
    }
    println!(
        "{count} kernels as SPIR-V 1.3 and 1.6 (spirv-val, plain and for Vulkan) and as HLSL (glslangValidator)"
    );
    for (i, number) in &excused {
        let e = &exceptions.form[*i];
        println!("{number} excused, {}, {}: {}", e.form, e.says, e.reason);
    }
    for ((form, complaint), kernels) in &wrong {
        println!(
            "{form}, {} kernels, {}: {complaint}",
            kernels.len(),
            kernels[0]
        );
    }
    let needed = |(i, _): &(usize, &Form)| excused.contains_key(i);
    let all = exceptions.form.iter().enumerate();
    let idle: Vec<&str> = all
        .filter(|f| !needed(f))
        .map(|f| f.1.says.as_str())
        .collect();
    for says in &idle {
        println!("nothing needs the exception of {says} any more");
    }
    Ok(wrong.is_empty() && idle.is_empty())
}

/// The first line of what a program said that is not only a name, if it failed.
fn complaint(command: &mut Command) -> Result<Option<String>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("{name}: {e} (Debian: apt-get install spirv-tools glslang-tools)"))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|l| l.to_lowercase().contains("error"));
    let line = line.unwrap_or_else(|| said.lines().next().unwrap_or_default());
    Ok(Some(without_places(line)))
}

/// Without numbers and names that differ from kernel to kernel, so that the same complaint is the same everywhere.
fn without_places(line: &str) -> String {
    let line = line.find(": '").map_or(line, |at| &line[at + 2..]);
    let line = match line.find("[VUID") {
        Some(at) => &line[at..],
        None => line,
    };
    let mut short = String::new();
    for word in line.split_whitespace().filter(|w| !w.contains("[%")) {
        short.push_str(word);
        short.push(' ');
    }
    short.trim_end().to_owned()
}

fn spirv(
    source: &Source,
    path: &Path,
    version: (u8, u8),
    environment: &str,
) -> Result<(String, Option<String>), String> {
    let kernel = source.spirv(&Abilities::everything(version))?;
    let path = path.with_extension("spv");
    let words = match environment.starts_with("vulkan") {
        true => without_layouts(&kernel.words),
        false => kernel.words,
    };
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(|e| e.to_string())?;
    let mut command = Command::new("spirv-val");
    command.args(["--target-env", environment]).arg(&path);
    let said = complaint(&mut command);
    std::fs::remove_file(&path).ok();
    Ok((source.text.clone(), said?))
}

/// SPIR-V without the layouts of types that only variables of workgroups, functions and invocations have. naga 30 writes them everywhere, which
/// Vulkan forbids (VUID-StandaloneSpirv-None-10684; gfx-rs/wgpu issue 7696): spirv-val would see nothing else.
fn without_layouts(words: &[u32]) -> Vec<u32> {
    const HEADER: usize = 5;
    let mut instructions: Vec<&[u32]> = Vec::new();
    let mut rest = words.get(HEADER..).unwrap_or_default();
    while let Some(&first) = rest.first() {
        let length = ((first >> 16) as usize).clamp(1, rest.len());
        let (instruction, after) = rest.split_at(length);
        instructions.push(instruction);
        rest = after;
    }
    // Types within types: arrays (28), runtime arrays (29), structs (30). Pointers (32) say of which storage.
    let (mut inner, mut laid_out, mut free) = (HashMap::new(), Vec::new(), Vec::new());
    for i in &instructions {
        match (i[0] & 0xffff, &i[1..]) {
            (28 | 29, [id, element, ..]) => drop(inner.insert(*id, vec![*element])),
            (30, [id, members @ ..]) => drop(inner.insert(*id, members.to_vec())),
            // Workgroup, Private, Function.
            (32, [_, 4 | 6 | 7, pointee]) => free.push(*pointee),
            (32, [_, _, pointee]) => laid_out.push(*pointee),
            _ => {}
        }
    }
    let within = |mut open: Vec<u32>| {
        let mut all = HashSet::new();
        while let Some(id) = open.pop() {
            if all.insert(id) {
                open.extend(inner.get(&id).into_iter().flatten());
            }
        }
        all
    };
    let (laid_out, free) = (within(laid_out), within(free));
    let mut kept = words[..HEADER.min(words.len())].to_vec();
    for i in instructions {
        let layout = match (i[0] & 0xffff, &i[1..]) {
            // ArrayStride of a type, Offset of a member.
            (71, [id, 6, ..]) | (72, [id, _, 35, ..]) => Some(id),
            _ => None,
        };
        if !layout.is_some_and(|id| free.contains(id) && !laid_out.contains(id)) {
            kept.extend(i);
        }
    }
    kept
}

fn hlsl(source: &Source, path: &Path) -> Result<(String, Option<String>), String> {
    let (text, entry) = source.hlsl()?;
    let path = path.with_extension("hlsl");
    std::fs::write(&path, &text).map_err(|e| e.to_string())?;
    let mut command = Command::new("glslangValidator");
    // Read as HLSL, checked and made into SPIR-V for Vulkan 1.3, which is thrown away.
    command.args([
        "-D",
        "-V",
        "--target-env",
        "vulkan1.3",
        "-S",
        "comp",
        "-e",
        &entry,
        "-o",
    ]);
    command.arg(path.with_extension("out")).arg(&path);
    let said = complaint(&mut command);
    std::fs::remove_file(path.with_extension("out")).ok();
    std::fs::remove_file(&path).ok();
    Ok((text, said?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array in workgroup memory and the same type in a buffer, and one in workgroup memory alone.
    #[test]
    fn only_layouts_of_types_that_no_buffer_has_go() {
        let header = [0x0723_0203, 0x1_0300, 0, 20, 0];
        let (stride_1, stride_2) = ([4 << 16 | 71, 1, 6, 4], [4 << 16 | 71, 2, 6, 4]);
        let rest = [
            [4 << 16 | 28, 1, 9, 8],
            [4 << 16 | 28, 2, 9, 7],
            [4 << 16 | 32, 3, 4, 1],
            [4 << 16 | 32, 4, 4, 2],
            [4 << 16 | 32, 5, 12, 1],
        ];
        let whole = [&header[..], &stride_1, &stride_2, &rest.concat()].concat();
        let expected = [&header[..], &stride_1, &rest.concat()].concat();
        assert_eq!(without_layouts(&whole), expected);
        assert_eq!(without_layouts(&whole[..2]), whole[..2]);
    }

    #[test]
    fn complaints_of_a_kind_are_the_same() {
        let line = "error: line 46: [VUID-1] Invalid type '6[%_arr]', the storage";
        assert_eq!(without_places(line), "[VUID-1] Invalid type the storage");
        assert_eq!(
            without_places("ERROR: a.hlsl:3: 'Load' : no such field"),
            "'Load' : no such field"
        );
    }
}
