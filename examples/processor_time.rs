//! What the benchmark's kernels cost a CPU that pretends to be a GPU, in processor time: a measure that other programs on the machine hardly
//! change, where `wgen bench` reads a clock. Beside a copy kernel, the share of whose rate is given.
//!
//! `cargo run --release --example processor_time -- 5 "(reduce)" transpose`: 5 rounds of the lines whose name, with the kernel's family in
//! brackets, contains one of the words. Linux alone says what each thread has used.

use std::fs;

use wgen::bench::cases;
use wgen::gpu::{Bound, BufferSlice};
use wgen::kernels::Kernel;
use wgen::kernels::wgsl::Wgsl;
use wgen::tensor::Data;
use wgen::{Choice, Gpu};

/// Floats that are copied.
const COUNT: usize = 8 << 20;

/// As the best of `wgen bench`'s copies: four vec4 an invocation, a workgroup apart.
const COPY: &str = "
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(512)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = group.x * 2048u + local;
    for (var i = first; i < first + 2048u; i += 512u) { y[i] = x[i]; }
}";

/// Seconds that all threads of this process have run.
fn processor_seconds() -> f64 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let used = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    used.sum::<f64>() * 1e-9
}

struct Line {
    name: String,
    bytes: f64,
    bound: Bound,
    seconds: Vec<f64>,
}

impl Line {
    fn new(gpu: &Gpu, name: String, kernel: &dyn Kernel, inputs: &[Data]) -> wgen::Result<Self> {
        let mut buffers: Vec<BufferSlice> = Vec::new();
        for (i, binding) in kernel.bindings().iter().enumerate() {
            let buffer = gpu.create_buffer(&binding.name, binding.bytes())?;
            if let (true, Some(input)) = (binding.access.reads(), inputs.get(i)) {
                gpu.write(&(&buffer).into(), &input.to_device_bytes())?;
            }
            buffers.push((&buffer).into());
        }
        let bound = gpu.bind(kernel, &buffers)?;
        // Compiled now.
        gpu.dispatch(&bound);
        gpu.wait()?;
        Ok(Self {
            name: format!("{name} {}", kernel.variant()),
            bytes: kernel.cost().bytes,
            bound,
            seconds: Vec::new(),
        })
    }

    fn median(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        self.seconds[self.seconds.len() / 2]
    }
}

fn main() -> wgen::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (rounds, words) = match arguments.split_first() {
        Some((rounds, words)) => (rounds.parse().expect("a number of rounds"), words),
        None => (5, &arguments[..]),
    };
    let gpu = Gpu::new(&Choice::Auto)?;
    let copy = Wgsl::new("copy", COPY)
        .read("x", COUNT)
        .write("y", COUNT)
        .workgroups([(COUNT / 8192) as u32, 1, 1]);
    let mut lines = vec![Line::new(&gpu, "copy (ceiling)".to_owned(), &copy, &[])?];
    for case in cases::all(gpu.caps())? {
        let name = format!("{} ({})", case.name, case.kernel.family());
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            lines.push(Line::new(&gpu, name, case.kernel.as_ref(), &case.inputs())?);
        }
    }
    for _ in 0..rounds {
        for line in &mut lines {
            // Small ones several times, so that the submission does not count.
            let repeats = if line.bytes < 1e6 { 20 } else { 1 };
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                (0..repeats).for_each(|_| line.bound.record(&mut pass));
            }
            let commands = encoder.finish();
            let begin = processor_seconds();
            gpu.queue().submit([commands]);
            gpu.wait()?;
            let seconds = processor_seconds() - begin;
            line.seconds.push(seconds / f64::from(repeats));
        }
    }
    println!("{}", gpu.summary().driver);
    let ceiling = lines[0].bytes / lines[0].median();
    for line in &mut lines {
        let (median, rate) = (line.median(), line.bytes / line.median());
        println!(
            "{:92} {:8.2} ms {:6.2} GB/s {:5.2} of the copy",
            line.name,
            median * 1e3,
            rate / 1e9,
            rate / ceiling
        );
    }
    Ok(())
}
