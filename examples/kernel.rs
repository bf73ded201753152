//! One kernel used alone, on buffers that the application has anyway: C = relu(A B^T + bias), recorded into the application's pass.
//!
//! cargo run --release --example kernel

use wgen::gpu::Gpu;
use wgen::kernels::Kernel;
use wgen::kernels::expression::{Expression, Indexing, Term};
use wgen::kernels::functions::Function;
use wgen::kernels::matmul::{Layout, Matmul};
use wgpu::util::DeviceExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(
        &instance, None,
    ))?;
    let (device, queue) =
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let gpu = Gpu::from_device(&device, &queue, &adapter.get_info())?;

    // A descriptor is plain data. Its epilogue is what becomes of each finished element: here a bias and a relu.
    let (m, n, k) = (64, 48, 100);
    let kernel = Matmul {
        epilogue: Expression {
            terms: vec![
                Term::Accumulator,
                Term::Operand(0),
                Term::Call(Function::Add, vec![0, 1]),
                Term::Call(Function::Relu, vec![2]),
            ],
            operands: vec![Indexing::broadcast(&[1, m, n].into(), &[n].into())],
            results: vec![3],
        },
        ..Matmul::new(gpu.caps(), Layout::Nt, 1, m, n, k)?
    };
    println!("{} {}", kernel.family(), kernel.variant());
    for binding in kernel.bindings() {
        println!("  {}: {} {:?}", binding.name, binding.count, binding.access);
    }

    // The application's own buffers.
    let wave = |count: usize, step: f32| -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    };
    let (a, b, bias) = (wave(m * k, 0.1), wave(n * k, 0.37), wave(n, 1.3));
    let upload = |values: &[f32]| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents: bytemuck::cast_slice(values),
            usage: wgpu::BufferUsages::STORAGE,
        })
    };
    let (a_buffer, b_buffer, bias_buffer) = (upload(&a), upload(&b), upload(&bias));
    let c = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("c"),
        size: (4 * m * n) as u64,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });

    // Once: pipeline and bind group. Then any number of times: three commands into the application's pass.
    let bound = gpu.bind(
        &kernel,
        &[
            (&a_buffer).into(),
            (&b_buffer).into(),
            (&bias_buffer).into(),
            (&c).into(),
        ],
    )?;
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        bound.record(&mut pass);
    }
    queue.submit([encoder.finish()]);

    let bytes = gpu.read(&[(&c).into()])?.remove(0);
    let got: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    let mut worst = 0.0_f32;
    for i in 0..m {
        for j in 0..n {
            let sum: f32 = (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum::<f32>() + bias[j];
            worst = worst.max((sum.max(0.0) - got[i * n + j]).abs());
        }
    }
    println!("largest difference from plain loops: {worst:.1e}");
    if worst > 1e-4 {
        return Err("the kernel and the loops disagree".into());
    }
    Ok(())
}
