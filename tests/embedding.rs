//! In other people's programs: the examples run, and an application's own device sees no error, no poll and no leak.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::example::{example, in_a_window, succeeded};
use wgen::Error;
use wgen::gpu::Gpu;
use wgen::graph::layout::Layout;
use wgen::kernels::matmul::{Layout as Lies, Matmul};
use wgen::kernels::present::Picture;
use wgen::kernels::{Caps, Kernel, Texel, devices};
use wgen::models::Model;
use wgen::models::vae::{Config, Vae};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::real::Real;
use wgen::tensor::Data;
use wgen::verify::cases::{Values, numbers};

#[test]
fn the_example_of_one_kernel_agrees_with_loops() {
    let text = succeeded(&example("kernel").output().unwrap());
    assert!(text.contains("largest difference"), "{text}");
}

#[test]
fn the_example_of_a_custom_operator_is_verified() {
    let text = succeeded(&example("custom_op").output().unwrap());
    assert!(text.contains("finite differences"), "{text}");
}

#[test]
fn the_embedding_example_draws_frames_that_differ() {
    let dir = tempfile::tempdir().unwrap();
    let out = example("embed")
        .args(["--frames", "4", "--steps", "60", "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    succeeded(&out);
    let frames: Vec<image::RgbaImage> = (0..4)
        .map(|i| {
            image::open(dir.path().join(format!("{i:04}.png")))
                .unwrap()
                .into_rgba8()
        })
        .collect();
    assert_ne!(frames[0], frames[1], "the latent code moves");
    let levels: std::collections::BTreeSet<u8> = frames[0].pixels().map(|p| p.0[0]).collect();
    assert!(levels.len() > 16, "a picture, not one colour: {levels:?}");
}

#[test]
fn the_window_example_draws_under_xvfb() {
    in_a_window(
        "window",
        &["--frames", "5", "--steps", "20"],
        "5 frames drawn",
    );
}

#[test]
fn the_live_diffusion_example_draws_a_reverse_process() {
    let dir = tempfile::tempdir().unwrap();
    let out = example("live_diffusion")
        .args(["--frames", "12", "--steps", "3", "--sampling-steps", "5"])
        .arg("--out")
        .arg(dir.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .unwrap();
    assert!(succeeded(&out).contains("12 frames in"));
    let frame = |i: usize| {
        let path = dir.path().join(format!("{i:04}.png"));
        image::open(path).unwrap().into_rgba8()
    };
    assert_ne!(frame(0), frame(4), "the process moves");
    // After the last step what a stroke goes over is made anew, in another process; the rest stays as it is.
    let (done, anew) = (frame(4), frame(10));
    assert_ne!(frame(5), frame(6));
    let pixels = done.width() * done.height();
    let differ = |a: &image::RgbaImage, b: &image::RgbaImage| {
        a.pixels().zip(b.pixels()).filter(|(a, b)| a != b).count() as u32
    };
    for i in 5..11 {
        let changed = differ(&done, &frame(i));
        assert!(changed > pixels / 100 && changed < pixels / 3, "{changed}");
        assert_eq!(done.get_pixel(500, 20), frame(i).get_pixel(500, 20));
    }
    // Then there are new ones everywhere.
    assert!(differ(&anew, &frame(11)) > pixels / 2);
}

/// In a window, where there is one.
#[test]
fn the_live_diffusion_example_draws_under_xvfb() {
    in_a_window(
        "live_diffusion",
        &["--frames", "4", "--steps", "2", "--sampling-steps", "3"],
        "4 frames drawn",
    );
}

/// The application of the tests below: its device, and how many errors it was told of.
struct Application {
    instance: wgpu::Instance,
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    errors: Arc<AtomicUsize>,
}

fn application(limits: wgpu::Limits) -> Application {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(
        &instance, None,
    ))
    .unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_limits: limits,
        ..Default::default()
    }))
    .unwrap();
    let errors = Arc::new(AtomicUsize::new(0));
    let count = errors.clone();
    device.on_uncaptured_error(Arc::new(move |error| {
        eprintln!("the application was told: {error}");
        count.fetch_add(1, Ordering::SeqCst);
    }));
    Application {
        instance,
        adapter,
        device,
        queue,
        errors,
    }
}

impl Application {
    /// Everything that lives on the instance, by kind.
    fn living(&self) -> Vec<(&'static str, usize)> {
        let report = self.instance.generate_report().unwrap();
        let hub = report.hub_report();
        vec![
            ("buffers", hub.buffers.num_allocated),
            ("textures", hub.textures.num_allocated),
            ("texture views", hub.texture_views.num_allocated),
            ("bind groups", hub.bind_groups.num_allocated),
            ("bind group layouts", hub.bind_group_layouts.num_allocated),
            ("pipelines", hub.compute_pipelines.num_allocated),
            ("shader modules", hub.shader_modules.num_allocated),
            ("query sets", hub.query_sets.num_allocated),
            ("devices", hub.devices.num_allocated),
        ]
    }

    fn texture(
        &self,
        format: wgpu::TextureFormat,
        size: u32,
        usage: wgpu::TextureUsages,
    ) -> wgpu::Texture {
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d {
                width: size,
                height: size,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        })
    }
}

fn decoder(gpu: &Gpu) -> Plan {
    let model = Vae::new(Config::mnist()).unwrap();
    let layout = Layout::new(model.parameters(), gpu.caps().binding_bytes).unwrap();
    let weights: Vec<_> = layout
        .parameters
        .iter()
        .map(|p| wgen::nn::init::draw(p, 3))
        .collect();
    let store = Store::new(gpu, layout, StoreOptions::default()).unwrap();
    store.write(Flat::Parameters, &weights).unwrap();
    Plan::compile(
        &model.decoding(1).unwrap(),
        &store,
        &[],
        PlanOptions::default(),
    )
    .unwrap()
}

#[test]
fn an_applications_device_sees_no_error_no_poll_and_no_leak() {
    let app = application(wgpu::Limits::default());
    let before = app.living();
    let usage = wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC;
    {
        let texture = app.texture(wgpu::TextureFormat::Rgba8Unorm, 28, usage);
        let code = app.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 80,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        // Work of the application's that is done long before the device is asked about it again.
        app.queue.submit([]);
        let told = Arc::new(AtomicBool::new(false));
        let flag = told.clone();
        app.queue
            .on_submitted_work_done(move || flag.store(true, Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(100));

        let gpu = Gpu::from_device(&app.device, &app.queue, &app.adapter.get_info()).unwrap();
        let mut plan = decoder(&gpu);
        plan.bind("z", (&code).into()).unwrap();
        plan.bind_texture("images", &texture, Picture::grid(28, 28, 1, 1))
            .unwrap();
        app.queue.write_buffer(&code, 0, &[0x3f; 80]);
        let mut encoder = app.device.create_command_encoder(&Default::default());
        plan.record(&mut encoder);
        let commands = encoder.finish();
        assert!(
            !told.load(Ordering::SeqCst),
            "somebody polled the device or submitted to its queue behind the application's back"
        );
        app.queue.submit([commands]);
        app.device
            .poll(wgpu::PollType::wait_indefinitely())
            .unwrap();
        assert!(told.load(Ordering::SeqCst), "and its own poll tells it");
        assert!(gpu.check().is_ok());
    }
    app.device
        .poll(wgpu::PollType::wait_indefinitely())
        .unwrap();
    assert_eq!(app.errors.load(Ordering::SeqCst), 0);
    assert_eq!(app.living(), before, "something of wgen's is still alive");
}

#[test]
fn a_texture_gets_what_the_buffer_has() {
    let gpu = common::gpu();
    for texel in [Texel::Rgba8Unorm, Texel::Rgba16Float, Texel::Rgba32Float] {
        let mut plan = decoder(&gpu);
        let texture = gpu.create_texture("picture", 28, 28, texel).unwrap();
        plan.bind_texture("images", &texture, Picture::grid(28, 28, 1, 1))
            .unwrap();
        plan.write("z", &numbers(Values::Normal, 5, 20)).unwrap();
        plan.run(1).unwrap();
        let images = plan.read("images").unwrap().data.to_f64();
        let texels = texel.decode(&gpu.read_texture(&texture).unwrap());
        for (value, pixel) in images.iter().zip(texels.chunks_exact(4)) {
            let stored = texel.stored((*value).into());
            assert!(
                (f64::from(pixel[0]) - stored.to_f64()).abs() <= stored.tolerance(),
                "{texel:?}: {pixel:?} for {value}"
            );
            assert_eq!(
                (pixel[0], pixel[1], pixel[3]),
                (pixel[1], pixel[2], 1.0),
                "grey and opaque"
            );
        }
    }
}

#[test]
fn matrix_units_are_there_where_adapter_and_device_have_them() {
    let app = application(wgpu::Limits::default());
    let gpu = Gpu::from_adapter(&app.adapter, &app.device, &app.queue).unwrap();
    // That device was requested without what is experimental. A kernel for units is refused before a driver sees it.
    assert_eq!(gpu.caps().matrix_units, 0);
    let asked = Caps {
        half_products: true,
        ..devices::find("nvidia").unwrap().caps.clone()
    };
    let product = Matmul::new(&asked, Lies::Nt, 1, 64, 64, 64).unwrap();
    assert!(product.variant().contains("cooperative"), "{product:?}");
    let refused = gpu.prepare(&product).unwrap_err().to_string();
    assert!(refused.contains("matrix units of 16x16"), "{refused}");

    let feature = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    if !app.adapter.features().contains(feature) {
        eprintln!("NOT CHECKED: this adapter has no matrix units");
        return;
    }
    let features = feature | wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: features,
        // SAFETY: what may go wrong in a driver is what this test is for.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        ..wgpu::DeviceDescriptor::default()
    };
    let requested = app.adapter.request_device(&descriptor);
    let (device, queue) = pollster::block_on(requested).unwrap();
    let listed = Gpu::new(&wgen::Choice::Auto).unwrap();
    let borrowed = Gpu::from_adapter(&app.adapter, &device, &queue).unwrap();
    assert_eq!(borrowed.caps().matrix_units, listed.caps().matrix_units);
    let blind = Gpu::from_device(&device, &queue, &app.adapter.get_info()).unwrap();
    assert_eq!(blind.caps().matrix_units, 0);
}

#[test]
fn what_does_not_fit_is_said_and_changes_nothing() {
    let app = application(wgpu::Limits::default());
    let gpu = Gpu::from_adapter(&app.adapter, &app.device, &app.queue).unwrap();
    let mut plan = decoder(&gpu);
    let storage = wgpu::TextureUsages::STORAGE_BINDING;
    let picture = Picture::grid(28, 28, 1, 1);
    let cases = [
        (
            app.texture(wgpu::TextureFormat::Rgba8Unorm, 30, storage),
            picture,
            "28 x 28",
        ),
        (
            app.texture(wgpu::TextureFormat::R32Float, 28, storage),
            picture,
            "R32Float",
        ),
        (
            app.texture(
                wgpu::TextureFormat::Rgba8Unorm,
                28,
                wgpu::TextureUsages::COPY_SRC,
            ),
            picture,
            "STORAGE_BINDING",
        ),
        (
            app.texture(wgpu::TextureFormat::Rgba8Unorm, 28, storage),
            Picture::grid(28, 28, 2, 1),
            "channels",
        ),
        (
            app.texture(wgpu::TextureFormat::Rgba8Unorm, 28, storage),
            Picture::grid(27, 28, 1, 1),
            "whole number",
        ),
    ];
    for (texture, picture, word) in cases {
        let error = plan
            .bind_texture("images", &texture, picture)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
    let small = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    assert!(
        plan.bind("z", (&small).into())
            .unwrap_err()
            .to_string()
            .contains("80 bytes")
    );
    let other = app.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 80,
        usage: wgpu::BufferUsages::VERTEX,
        mapped_at_creation: false,
    });
    assert!(
        plan.bind("z", (&other).into())
            .unwrap_err()
            .to_string()
            .contains("STORAGE")
    );
    assert!(
        plan.bind("no such", (&small).into())
            .unwrap_err()
            .to_string()
            .contains("images")
    );
    // What was bound before still works.
    plan.write("z", &Data::F32(vec![0.1; 20])).unwrap();
    plan.run(1).unwrap();
    assert!(
        plan.read("images")
            .unwrap()
            .data
            .to_f32()
            .iter()
            .all(|x| x.is_finite())
    );
    assert_eq!(
        app.errors.load(Ordering::SeqCst),
        0,
        "the application heard of none of this"
    );
}

#[test]
fn what_a_borrowed_device_lacks_is_said_at_once() {
    let limits = wgpu::Limits {
        max_storage_buffers_per_shader_stage: 4,
        ..Default::default()
    };
    let app = application(limits);
    let refused = Gpu::from_device(&app.device, &app.queue, &app.adapter.get_info());
    match refused {
        Err(Error::Limit {
            limit_name,
            needed,
            limit,
            ..
        }) => {
            assert_eq!(
                (limit_name, needed, limit),
                ("max_storage_buffers_per_shader_stage", 8, 4)
            );
        }
        other => panic!("{other:?}"),
    }
}
