//! What is allocated: nothing of ours while recording, and no more than a small multiple of its size while reading a file.

mod common;
#[path = "allocation/pickles.rs"]
mod pickles;

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use wgen::data::scene::{Camera, analytic};
use wgen::data::{idx, images};
use wgen::files::metrics;
use wgen::files::{folder, weights};
use wgen::gpu::Gpu;
use wgen::graph::layout::Layout;
use wgen::live::Live;
use wgen::models::Model;
use wgen::models::vae::{Config, Vae};
use wgen::plan::{Plan, Renderer, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn held(change: isize) {
    // A thread that is ending has no counters any more.
    HELD.try_with(|h| {
        h.set(h.get() + change);
        PEAK.try_with(|p| p.set(p.get().max(h.get()))).ok();
    })
    .ok();
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        COUNT.try_with(|c| c.set(c.get() + 1)).ok();
        held(memory.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        held(-(memory.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// The most bytes that this thread held at once during `work`, beyond what it held before.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    (PEAK.get() - before).max(0) as usize
}

/// Allocations of recording by `record`, and of the same calls of wgpu, passes of so many dispatches each, with pipelines of the test's: what those
/// allocate is wgpu's.
fn with_ours_and_wgpus(
    gpu: &Gpu,
    passes: &[usize],
    record: &mut dyn FnMut(&mut wgpu::CommandEncoder),
) -> (usize, usize) {
    let device = gpu.device();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(
            "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
             @compute @workgroup_size(1) fn main() { x[0] = 1.0; }"
                .into(),
        ),
    });
    // Two, in turns: wgpu passes over a pipeline or bind group that is set already.
    let made = [(); 2].map(|()| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let buffer = gpu.create_buffer("x", 16).unwrap();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: buffer.as_entire_binding(),
            }],
        });
        (pipeline, group)
    });
    let mut by_hand = |encoder: &mut wgpu::CommandEncoder| {
        for &dispatches in passes {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for i in 0..dispatches {
                let (pipeline, group) = &made[i % 2];
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
        }
    };
    let count = |record: &mut dyn FnMut(&mut wgpu::CommandEncoder)| {
        let mut encoder = device.create_command_encoder(&Default::default());
        let count = allocations(|| record(&mut encoder));
        gpu.queue().submit([encoder.finish()]);
        gpu.wait().unwrap();
        count
    };
    // The first of each grows pools of wgpu's.
    count(&mut by_hand);
    count(record);
    let wgpus = count(&mut by_hand);
    (count(record), wgpus)
}

#[test]
fn recording_a_decoder_allocates_nothing_of_ours() {
    let gpu = common::gpu();
    let model = Vae::new(Config::mnist()).unwrap();
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    let weights: Vec<_> = store
        .layout()
        .parameters
        .iter()
        .map(|p| wgen::nn::init::draw(p, 3))
        .collect();
    store.write(Flat::Parameters, &weights).unwrap();
    let plan = Plan::compile(
        &model.decoding(1).unwrap(),
        &store,
        &[],
        PlanOptions::default(),
    )
    .unwrap();

    let dispatches = plan.baked().dispatches.len();
    let (with_ours, wgpus) = with_ours_and_wgpus(&gpu, &[dispatches], &mut |e| plan.record(e));
    let device = gpu.device();
    let times: Vec<f64> = (0..200)
        .map(|_| {
            let mut encoder = device.create_command_encoder(&Default::default());
            let begin = Instant::now();
            plan.record(&mut encoder);
            begin.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let mut sorted = times;
    sorted.sort_by(f64::total_cmp);
    println!(
        "recording {dispatches} dispatches: {with_ours} allocations, {wgpus} of them wgpu's; host time {:.1} us median, {:.1} us best",
        sorted[sorted.len() / 2],
        sorted[0]
    );
    assert_eq!(with_ours, wgpus);
}

/// A frame of an application that learns a radiance field and draws it: training steps and parts of a view, in its encoder.
#[test]
fn recording_a_frame_of_a_training_and_its_view_allocates_nothing_of_ours() {
    let gpu = common::gpu();
    let scene = analytic::dataset(3, 1);
    let [ngp, _] = common::fields::models();
    let mut live = Live::new(&gpu, &common::fields::config(ngp, &scene, 100), scene).unwrap();
    let camera = Camera::centred(24, 20, 33.0);
    let graph = live.model().rendering(&camera, 120).unwrap();
    let options = PlanOptions::default();
    let mut view = Renderer::new(&graph, live.store(), &camera, 120, options).unwrap();
    view.begin(&analytic::poses(1, 3)[0].0).unwrap();
    // Before the first of the counted recordings; the same steps are made ready for all of them.
    let steps = live.prepare(3).unwrap();
    let [step, part] = [live.plan(), view.plan()].map(|p| p.baked().dispatches.len());
    let passes = [step, step, step, part, part];
    let (with_ours, wgpus) = with_ours_and_wgpus(&gpu, &passes, &mut |encoder| {
        (0..steps).for_each(|_| live.plan().record(encoder));
        (0..2).for_each(|_| {
            view.record(encoder);
        });
    });
    println!("a frame of {passes:?} dispatches: {with_ours} allocations, {wgpus} of them wgpu's");
    assert_eq!(with_ours, wgpus);
}

/// What a reader may hold at once for a file of `size` bytes that is not packed: the file, the values, room for growth, and messages.
fn allowance(size: usize) -> usize {
    16 * size + (64 << 10)
}

fn idx_header(dims: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes
}

/// Bytes with some of a valid file's places overwritten, or cut short.
fn damaged(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = valid.len();
    let change = (0..length, any::<u8>());
    (proptest::collection::vec(change, 0..8), 0..=length).prop_map(move |(changes, end)| {
        let mut bytes = valid.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(end.max(1));
        bytes
    })
}

fn valid_weights() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let tensors = [
        ("fc1.weight".to_owned(), (vec![3, 4], vec![0.5; 12])),
        ("fc1.bias".to_owned(), (vec![3], vec![0.1; 3])),
    ];
    weights::write_tensors(&path, &tensors.into_iter().collect()).unwrap();
    std::fs::read(path).unwrap()
}

fn valid_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture =
        image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 5]));
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

const CONFIG: &str = r#"{"model":{"name":"vae","width":4,"hidden":[3],"latent":2,"decoder":"bernoulli"},
"image":{"height":2,"width":2,"channels":1},"data":"digits","training":{"steps":5,"epochs":null,"batch":2,"seed":0,
"optimizer":"adam","learning_rate":{},"beta":1.0}}"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_idx_files_are_refused_within_their_size(dims in proptest::collection::vec(any::<u32>(), 1..5), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = idx_header(&dims);
        bytes.extend(&body);
        let used = peak(|| { idx::from_bytes(Path::new("x"), &bytes).ok(); });
        prop_assert!(used <= allowance(bytes.len()), "{used} bytes for {}", bytes.len());
    }

    #[test]
    fn hostile_damaged_idx_files_never_panic(bytes in damaged([idx_header(&[2, 3, 2]), vec![7; 12]].concat())) {
        let used = peak(|| { idx::from_bytes(Path::new("x"), &bytes).ok(); });
        prop_assert!(used <= allowance(bytes.len()));
    }

    #[test]
    fn hostile_packed_idx_files_never_panic(bytes in damaged(packed())) {
        // Packed 1,032 to 1 at most, and vectors double as they grow.
        let used = peak(|| { idx::from_bytes(Path::new("x"), &bytes).ok(); });
        prop_assert!(used <= 3 * 1032 * bytes.len() + (128 << 10), "{used} bytes for {}", bytes.len());
    }

    #[test]
    fn hostile_weights_never_panic(bytes in damaged(valid_weights())) {
        let used = peak(|| { weights::tensors_from_bytes(Path::new("x"), &bytes).ok(); });
        prop_assert!(used <= allowance(bytes.len()), "{used} bytes for {}", bytes.len());
    }

    #[test]
    fn hostile_pictures_never_panic(bytes in damaged(valid_png())) {
        let options = images::Options::default();
        let used = peak(|| { images::from_bytes(Path::new("x"), &bytes, &options).ok(); });
        // What the decoder is allowed, and the conversion of its result to RGB.
        prop_assert!(used <= 2 * (5000 * bytes.len() + (1 << 20)), "{used} bytes for {}", bytes.len());
    }

    #[test]
    fn hostile_configurations_never_panic(text in damaged(CONFIG.as_bytes().to_vec()).prop_map(|b| String::from_utf8_lossy(&b).into_owned())) {
        let used = peak(|| { folder::config_from_text(Path::new("x"), &text).ok(); metrics::records(&text); });
        prop_assert!(used <= allowance(text.len()), "{used} bytes for {}", text.len());
    }
}

fn packed() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&idx_header(&[50, 28, 28])).unwrap();
    encoder.write_all(&vec![9; 50 * 28 * 28]).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_header_that_promises_gigabytes_gets_none() {
    // Sizes of an IDX, a safetensors header's length, a PNG of 16,384 x 16,384.
    let huge = idx_header(&[4_000_000_000, 4_000_000_000]);
    let weights = [0xff_u8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0].repeat(4);
    let mut png = valid_png();
    png[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    let checksum = crc(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let options = images::Options::default();
    let path = Path::new("x");
    assert!(peak(|| assert!(idx::from_bytes(path, &huge).is_err())) < 64 << 10);
    assert!(peak(|| assert!(weights::tensors_from_bytes(path, &weights).is_err())) < 64 << 10);
    let used = peak(|| assert!(images::from_bytes(path, &png, &options).is_err()));
    assert!(used < 2 << 20, "{used}");
}

/// The checksum of a PNG chunk.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
