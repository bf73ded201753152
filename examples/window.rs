//! The same as `embed` in a window: the mouse steers the latent code.
//!
//! cargo run --release --example window -- [--run DIR] [--steps 600] [--frames N]
//!
//! With --frames it closes by itself after so many.

use std::path::PathBuf;
use std::sync::Arc;

use wgen::gpu::Gpu;
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::{Window, WindowId};

#[allow(dead_code, reason = "this example has a window and writes no PNG")]
mod shared;
use shared::{Decoder, Quad, number, option};

/// What exists once there is a window.
struct Shown {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
    device: wgpu::Device,
    queue: wgpu::Queue,
    decoder: Decoder,
    quad: Quad,
}

#[derive(Default)]
struct Application {
    shown: Option<Shown>,
    mouse: [f32; 2],
    frames: u64,
    drawn: u64,
    failure: Option<String>,
}

impl Shown {
    fn new(events: &ActiveEventLoop) -> Result<Self, Box<dyn std::error::Error>> {
        let attributes = Window::default_attributes()
            .with_title("wgen: move the mouse")
            .with_inner_size(winit::dpi::LogicalSize::new(560, 560));
        let window = Arc::new(events.create_window(attributes)?);
        let display = Box::new(events.owned_display_handle());
        let instance = wgpu::Instance::new(
            wgpu::InstanceDescriptor::new_with_display_handle_from_env(display),
        );
        let surface = instance.create_surface(window.clone())?;
        let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(
            &instance,
            Some(&surface),
        ))?;
        let (device, queue) =
            pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
                label: Some("application"),
                required_features: adapter.features() & wgpu::Features::SUBGROUP,
                ..Default::default()
            }))?;
        let size = window.inner_size();
        let configuration = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or("the adapter cannot draw to this window")?;
        surface.configure(&device, &configuration);

        let gpu = Gpu::from_device(&device, &queue, &adapter.get_info())?;
        let run = option("--run").map(PathBuf::from);
        let decoder = Decoder::new(&gpu, run.as_deref(), number("--steps", 600))?;
        let quad = Quad::new(&device, &decoder.texture, configuration.format);
        Ok(Self {
            window,
            surface,
            configuration,
            device,
            queue,
            decoder,
            quad,
        })
    }

    /// Draws one frame; false where the surface was not ready.
    fn draw(&mut self, [x, y]: [f32; 2]) -> Result<bool, Box<dyn std::error::Error>> {
        use wgpu::CurrentSurfaceTexture as Current;
        let frame = match self.surface.get_current_texture() {
            Current::Success(frame) | Current::Suboptimal(frame) => frame,
            Current::Outdated | Current::Lost => {
                self.surface.configure(&self.device, &self.configuration);
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let code = self.decoder.code(x, y);
        debug_assert_eq!(code.len(), self.decoder.latent);
        self.queue.write_buffer(
            &self.decoder.plan.buffer("z")?.buffer,
            self.decoder.plan.buffer("z")?.offset,
            bytemuck::cast_slice(&code),
        );
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.decoder.plan.record(&mut encoder);
        self.quad.draw(
            &mut encoder,
            &frame.texture.create_view(&Default::default()),
        );
        self.queue.submit([encoder.finish()]);
        self.queue.present(frame);
        Ok(true)
    }
}

impl ApplicationHandler for Application {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.shown.is_none() {
            match Shown::new(events) {
                Ok(shown) => self.shown = Some(shown),
                Err(error) => {
                    self.failure = Some(error.to_string());
                    events.exit();
                }
            }
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(shown) = &mut self.shown else { return };
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::Resized(size) => {
                (shown.configuration.width, shown.configuration.height) =
                    (size.width.max(1), size.height.max(1));
                shown.surface.configure(&shown.device, &shown.configuration);
            }
            WindowEvent::CursorMoved { position, .. } => {
                let size = shown.window.inner_size();
                self.mouse = [
                    position.x as f32 / size.width.max(1) as f32 * 4.0 - 2.0,
                    position.y as f32 / size.height.max(1) as f32 * 4.0 - 2.0,
                ];
            }
            WindowEvent::RedrawRequested => match shown.draw(self.mouse) {
                Ok(drawn) => {
                    self.drawn += u64::from(drawn);
                    if self.frames > 0 && self.drawn >= self.frames {
                        events.exit();
                    }
                }
                Err(error) => {
                    self.failure = Some(error.to_string());
                    events.exit();
                }
            },
            _ => {}
        }
        shown.window.request_redraw();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events = EventLoop::new()?;
    let mut application = Application {
        frames: number("--frames", 0),
        ..Default::default()
    };
    events.run_app(&mut application)?;
    match application.failure {
        Some(failure) => Err(failure.into()),
        None => {
            println!("{} frames drawn", application.drawn);
            Ok(())
        }
    }
}
