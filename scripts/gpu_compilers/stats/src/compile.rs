//! Kernels go to workers, one at a time; one that takes its worker with it, or too long, is a line too.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kernel::Source;
use crate::vulkan::Device;
use crate::{Arguments, Listed};

/// Part of what a line is remembered by: what this program finds in it may change. Raise it then.
const VERSION: u32 = 1;

/// Families whose main loop is a product.
pub fn is_product(family: &str) -> bool {
    matches!(family, "matmul" | "conv2d" | "attention")
}

/// A process with the driver in it.
struct Worker {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
    driver: String,
}

impl Worker {
    fn start(isa: Option<&str>) -> Result<Self, String> {
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut child = Command::new(me)
            .arg("worker")
            .args(isa.map(|folder| ["--isa", folder]).into_iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let output = child.stdout.take().ok_or("no pipe")?;
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let driver = from
            .recv_timeout(Duration::from_secs(60))
            .map_err(|_| "the driver does not start".to_owned())?;
        Ok(Self {
            child,
            to,
            from,
            driver,
        })
    }

    /// The worker's line, or how it ended.
    fn ask(&mut self, path: &Path, loops: bool, seconds: u64) -> Result<Value, Ended> {
        let asked = writeln!(self.to, "{} {}", u8::from(loops), path.display());
        let answer = match asked {
            Ok(()) => self.from.recv_timeout(Duration::from_secs(seconds)),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(line) => serde_json::from_str(&line).map_err(|e| Ended::Died(e.to_string())),
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill().ok();
                self.child.wait().ok();
                Err(Ended::TooLong)
            }
            Err(RecvTimeoutError::Disconnected) => Err(Ended::Died(match self.child.wait() {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            })),
        }
    }
}

enum Ended {
    TooLong,
    Died(String),
}

/// What the threads share.
struct Shared<'a> {
    jobs: Mutex<VecDeque<(usize, String)>>,
    lines: Mutex<Vec<Option<Value>>>,
    cache: Mutex<File>,
    listed: &'a [Listed],
    folder: PathBuf,
    isa: Option<&'a str>,
    timeout: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn compile(arguments: &[String]) -> Result<(), String> {
    let arguments = Arguments::parse(arguments, &["--fresh"])?;
    let [folder] = &arguments.rest[..] else {
        return Err(crate::USAGE.to_owned());
    };
    let gpu = arguments.need("--gpu")?;
    let mut listed = Listed::read(arguments.need("--index")?)?;
    if let Some(text) = arguments.get("--filter") {
        listed.retain(|l| l.title().contains(text) || l.file.contains(text));
    }
    let cache = arguments.need("--cache")?;
    let isa = arguments.get("--isa");
    let known = match arguments.has("--fresh") || isa.is_some() {
        true => HashMap::new(),
        false => remembered(cache),
    };
    let first = Worker::start(isa)?;
    let with = format!("{VERSION} {gpu} {}", first.driver);
    let folder = PathBuf::from(folder);
    let mut lines = vec![None; listed.len()];
    // Kernels whose text is the same are compiled once.
    let (mut jobs, mut same) = (VecDeque::new(), HashMap::<String, Vec<usize>>::new());
    for (i, of) in listed.iter().enumerate() {
        let key = Source::read(&folder.join(&of.file))?.key(&with);
        match known.get(&key) {
            Some(line) => lines[i] = Some(line.clone()),
            None if !same.contains_key(&key) => jobs.push_back((i, key.clone())),
            None => {}
        }
        same.entry(key).or_default().push(i);
    }
    // What plans run comes first: cases of verification alone have the slowest.
    jobs.make_contiguous()
        .sort_by_key(|(i, _)| listed[*i].role == "verified");
    let (asked, new) = (listed.len(), jobs.len());
    let shared = Shared {
        jobs: Mutex::new(jobs),
        lines: Mutex::new(lines),
        cache: Mutex::new(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(cache)
                .map_err(|e| format!("{cache}: {e}"))?,
        ),
        listed: &listed,
        folder,
        isa,
        timeout: arguments.number("--timeout", 900)?,
    };
    let threads = arguments.number("-j", 1)?.max(1);
    std::thread::scope(|scope| {
        let mut first = Some(first);
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let (worker, shared) = (first.take(), &shared);
                scope.spawn(move || work(worker, shared))
            })
            .collect();
        handles.into_iter().try_for_each(|h| match h.join() {
            Ok(result) => result,
            Err(_) => Err("a thread panicked".to_owned()),
        })
    })?;
    let mut lines = shared.lines.into_inner().unwrap_or_default();
    for places in same.values() {
        let line = places.iter().find_map(|&i| lines[i].clone());
        places.iter().for_each(|&i| lines[i] = line.clone());
    }
    let mut out = std::io::stdout().lock();
    for (of, line) in listed.iter().zip(lines) {
        let Some(mut line) = line else {
            return Err(format!("{}: no line came of it", of.file));
        };
        line["gpu"] = json!(gpu);
        line["listed"] = json!(of);
        writeln!(out, "{line}").map_err(|e| e.to_string())?;
    }
    eprintln!("{gpu}: {asked} kernels, {new} compiled now");
    Ok(())
}

/// Lines by key; one that was cut short is passed over.
fn remembered(path: &str) -> HashMap<String, Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        Some((value["key"].as_str()?.to_owned(), value))
    });
    lines.collect()
}

fn work(mut worker: Option<Worker>, shared: &Shared<'_>) -> Result<(), String> {
    loop {
        // A statement of its own: the lock is let go.
        let job = lock(&shared.jobs).pop_front();
        let Some((i, key)) = job else {
            return Ok(());
        };
        let of = &shared.listed[i];
        let path = shared.folder.join(&of.file);
        let (mut line, mut keep) = (Value::Null, true);
        // A death is believed when it happens twice.
        for attempt in 0..2 {
            let mut running = match worker.take() {
                Some(running) => running,
                None => Worker::start(shared.isa)?,
            };
            match running.ask(&path, is_product(&of.family), shared.timeout) {
                Ok(answer) => {
                    line = answer;
                    worker = Some(running);
                    break;
                }
                Err(Ended::TooLong) => {
                    line = json!({"failure": format!("no end after {} s", shared.timeout)});
                    keep = false;
                    break;
                }
                Err(Ended::Died(how)) if attempt == 1 => {
                    line = json!({"failure": format!("the compiler died: {how}")});
                }
                Err(Ended::Died(_)) => {}
            }
        }
        line["key"] = json!(key);
        if keep {
            // In one piece, so that several programs may write to the file.
            let text = format!("{line}\n");
            lock(&shared.cache)
                .write_all(text.as_bytes())
                .map_err(|e| e.to_string())?;
        }
        lock(&shared.lines)[i] = Some(line);
    }
}

/// Answers each line of standard input, `0 PATH` or `1 PATH`, the latter with its loops, by one on standard output.
pub fn worker(arguments: &[String]) -> Result<(), String> {
    let arguments = Arguments::parse(arguments, &[])?;
    let isa = arguments.get("--isa").map(Path::new);
    let device = Device::open()?;
    let (name, driver) = device.names();
    println!("{name}, {driver}");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if let Some((loops, path)) = line.split_once(' ') {
            println!("{}", device.line(Path::new(path), loops == "1", isa));
        }
    }
    Ok(())
}
