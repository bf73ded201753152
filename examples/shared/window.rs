//! A window of an application, and its device: what is drawn there it says itself.

use std::sync::Arc;

use wgen::gpu::Gpu;
use winit::application::ApplicationHandler;
use winit::event::{ElementState, MouseButton, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::{Window, WindowId};

pub(crate) type Failure = Box<dyn std::error::Error>;

/// What an application draws.
pub(crate) trait Content: Sized {
    /// On the application's device, for targets of this format and size.
    fn new(gpu: Gpu, target: wgpu::TextureFormat, size: [u32; 2]) -> Result<Self, Failure>;

    /// The target has another size.
    fn resized(&mut self, _size: [u32; 2]) {}

    /// The mouse was moved or one of its buttons pressed or let go.
    fn pointed(&mut self, pointer: &Pointer) -> Result<(), Failure>;

    /// A frame, into the application's encoder.
    fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::TextureView,
    ) -> Result<(), Failure>;

    /// The frame was submitted.
    fn submitted(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// The mouse over a window.
#[derive(Default)]
pub(crate) struct Pointer {
    /// Where it is, from 0 to 1 in the window, and how far it was moved to there.
    pub(crate) at: [f64; 2],
    pub(crate) by: [f64; 2],
    /// Whether the left button is down, and whether the right one was pressed just now.
    pub(crate) left: bool,
    pub(crate) right: bool,
}

/// The application's device, with what makes reductions faster where it is there.
fn request(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue, Gpu), Failure> {
    let description = wgpu::DeviceDescriptor {
        label: Some("application"),
        required_features: adapter.features() & wgpu::Features::SUBGROUP,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&description))?;
    let gpu = Gpu::from_device(&device, &queue, &adapter.get_info())?;
    Ok((device, queue, gpu))
}

/// A device of an application that has no window.
pub(crate) fn headless() -> Result<(wgpu::Device, wgpu::Queue, Gpu), Failure> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = wgpu::util::initialize_adapter_from_env_or_default(&instance, None);
    request(&pollster::block_on(adapter)?)
}

/// Draws in a window until it is closed or, where `frames` is not 0, so many frames were drawn; what was drawn and how many. None where there is no
/// display.
pub(crate) fn windowed<C: Content>(
    title: &'static str,
    size: u32,
    frames: u64,
) -> Result<Option<(C, u64)>, Failure> {
    let Ok(events) = EventLoop::new() else {
        return Ok(None);
    };
    let mut application = Application::<C> {
        title,
        size,
        frames,
        drawn: 0,
        shown: None,
        failure: None,
    };
    events.run_app(&mut application)?;
    match (application.failure, application.shown) {
        (Some(failure), _) => Err(failure),
        (None, Some(shown)) => Ok(Some((shown.content, application.drawn))),
        (None, None) => Err("the window was never there".into()),
    }
}

/// What exists once there is a window.
struct Shown<C> {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    configuration: wgpu::SurfaceConfiguration,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pointer: Option<Pointer>,
    content: C,
}

impl<C: Content> Shown<C> {
    fn new(events: &ActiveEventLoop, title: &str, size: u32) -> Result<Self, Failure> {
        let attributes = Window::default_attributes()
            .with_title(title)
            .with_inner_size(winit::dpi::LogicalSize::new(size, size));
        let window = Arc::new(events.create_window(attributes)?);
        let display = Box::new(events.owned_display_handle());
        let instance = wgpu::Instance::new(
            wgpu::InstanceDescriptor::new_with_display_handle_from_env(display),
        );
        let surface = instance.create_surface(window.clone())?;
        let adapter = wgpu::util::initialize_adapter_from_env_or_default(&instance, Some(&surface));
        let adapter = pollster::block_on(adapter)?;
        let (device, queue, gpu) = request(&adapter)?;
        let size = window.inner_size();
        let configuration = surface
            .get_default_config(&adapter, size.width.max(1), size.height.max(1))
            .ok_or("the adapter cannot draw to this window")?;
        surface.configure(&device, &configuration);
        let size = [configuration.width, configuration.height];
        Ok(Self {
            window,
            surface,
            device,
            queue,
            pointer: None,
            content: C::new(gpu, configuration.format, size)?,
            configuration,
        })
    }

    fn resize(&mut self, size: [u32; 2]) {
        let size = size.map(|n| n.max(1));
        [self.configuration.width, self.configuration.height] = size;
        self.surface.configure(&self.device, &self.configuration);
        self.content.resized(size);
    }

    /// Draws one frame; false where the surface was not ready.
    fn draw(&mut self) -> Result<bool, Failure> {
        use wgpu::CurrentSurfaceTexture as Current;
        let frame = match self.surface.get_current_texture() {
            Current::Success(frame) | Current::Suboptimal(frame) => frame,
            Current::Outdated | Current::Lost => {
                self.surface.configure(&self.device, &self.configuration);
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let view = frame.texture.create_view(&Default::default());
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.content.record(&mut encoder, &view)?;
        self.queue.submit([encoder.finish()]);
        self.content.submitted()?;
        self.queue.present(frame);
        Ok(true)
    }

    /// What the mouse did.
    fn point(&mut self, event: &WindowEvent) -> Result<(), Failure> {
        let pointer = match event {
            WindowEvent::CursorMoved { position, .. } => {
                let size = self.window.inner_size();
                let share = |at: f64, of: u32| at / f64::from(of.max(1));
                let at = [
                    share(position.x, size.width),
                    share(position.y, size.height),
                ];
                let before = self.pointer.take();
                let from = before.as_ref().map_or(at, |p| p.at);
                self.pointer.insert(Pointer {
                    at,
                    by: [at[0] - from[0], at[1] - from[1]],
                    left: before.is_some_and(|p| p.left),
                    right: false,
                })
            }
            WindowEvent::MouseInput { state, button, .. } => {
                let pressed = *state == ElementState::Pressed;
                let pointer = self.pointer.get_or_insert_default();
                pointer.by = [0.0; 2];
                pointer.right = pressed && *button == MouseButton::Right;
                if *button == MouseButton::Left {
                    pointer.left = pressed;
                }
                pointer
            }
            _ => return Ok(()),
        };
        self.content.pointed(pointer)
    }
}

struct Application<C> {
    title: &'static str,
    size: u32,
    frames: u64,
    drawn: u64,
    shown: Option<Shown<C>>,
    failure: Option<Failure>,
}

impl<C> Application<C> {
    fn end(&mut self, events: &ActiveEventLoop, failure: Failure) {
        self.failure = Some(failure);
        events.exit();
    }
}

impl<C: Content> ApplicationHandler for Application<C> {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.shown.is_none() {
            match Shown::new(events, self.title, self.size) {
                Ok(shown) => self.shown = Some(shown),
                Err(error) => self.end(events, error),
            }
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(shown) = &mut self.shown else { return };
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::Resized(size) => shown.resize([size.width, size.height]),
            WindowEvent::RedrawRequested => match shown.draw() {
                Ok(drawn) => {
                    self.drawn += u64::from(drawn);
                    if self.frames > 0 && self.drawn >= self.frames {
                        return events.exit();
                    }
                }
                Err(error) => return self.end(events, error),
            },
            other => {
                if let Err(error) = shown.point(&other) {
                    return self.end(events, error);
                }
            }
        }
        shown.window.request_redraw();
    }
}
