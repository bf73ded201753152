//! A radiance field that is learned and looked at in the same frames: each frame the application records some training steps and a view into its own
//! encoder, as much as its time for a frame allows, and its render pass composites the view's texture with geometry of its own by depth. In a window
//! when there is a display, to PNGs otherwise.
//!
//! cargo run --release --example live_nerf -- [--data DIR] [--downscale N] [--cascades N] [--steps 3000] [--budget MILLISECONDS] [--frames N] [--out DIR]
//!
//! Without --data the scene is the one that the program draws. Drag to orbit; while the camera moves the view is coarse, at rest it is refined, and
//! while the field learns it is drawn again and again. Without a display the camera goes half round it and rests then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use wgen::data::images::Options;
use wgen::data::scene::Pose;
use wgen::data::{Spec, idx::Part};
use wgen::files::{Config, Training};
use wgen::gpu::Gpu;
use wgen::live::Live;
use wgen::models::nerf::ngp::{self, Ngp};

mod drawing;
#[path = "../shared/mod.rs"]
#[allow(dead_code, reason = "this example has a model of its own")]
mod shared;
mod view;
#[path = "../shared/window.rs"]
mod window;

use drawing::Drawing;
use shared::{Pngs, number, option};
use view::{Budget, View};
use window::{Content, Failure, Pointer};

/// Pixels of the picture that is saved, and of the two views.
const SIZE: u32 = 512;
const FINE: usize = 256;
const COARSE: usize = 64;

/// Rays of a batch, and of a part of the fine view.
const BATCH: usize = 1024;
const RAYS: usize = 1024;

/// Where the camera is: on a sphere around the origin, z up.
#[derive(Clone, Copy, PartialEq)]
struct Orbit {
    angle: f64,
    height: f64,
    radius: f64,
}

impl Orbit {
    fn pose(&self) -> Pose {
        let (sine, cosine) = self.height.sin_cos();
        let place = [
            self.radius * cosine * self.angle.cos(),
            self.radius * cosine * self.angle.sin(),
            self.radius * sine,
        ];
        Pose::looking(place, [0.0; 3], [0.0, 0.0, 1.0])
    }
}

/// The field, its two views and the application's pass.
struct Shown {
    gpu: Gpu,
    live: Live,
    coarse: View,
    fine: View,
    drawing: Drawing,
    budget: Budget,
    orbit: Orbit,
    /// Where the camera was when the last frame was recorded.
    drawn: Option<Orbit>,
    /// Where it was when the coarse view was begun.
    begun_at: Option<Orbit>,
    /// Whether the fine view has been whole since the camera came to rest.
    refined: bool,
    /// When the frame was begun.
    begun: Instant,
}

impl Content for Shown {
    fn new(gpu: Gpu, target: wgpu::TextureFormat, size: [u32; 2]) -> Result<Self, Failure> {
        let spec = match option("--data") {
            Some(folder) => Spec::Scene(folder.into()),
            None => Spec::Analytic(60),
        };
        let options = Options {
            scene_downscale: Some(number("--downscale", 1) as u32),
            ..Options::default()
        };
        let cascades = number("--cascades", 1).clamp(1, 8) as usize;
        let scene = spec.load(Part::Training, &options)?;
        let views = scene.views.as_ref().ok_or("these are no posed pictures")?;
        let radius = views.distances()[1];
        let usual = ngp::Config::around(views.camera(), cascades);
        let model = Ngp::new(ngp::Config {
            log2_entries: 15,
            finest_resolution: usual.finest_resolution / 2,
            capacity: ngp::Config::room_for(1 << 12),
            target_samples: 1 << 12,
            ..usual
        })?;
        let training = Training::hash_grid(number("--steps", 3000), BATCH);
        let config = Config::new(Arc::new(model), scene.shape, spec.to_string(), training);
        let mut live = Live::new(&gpu, &config, scene)?;
        let drawing = Drawing::new(gpu.device(), target, size);
        let mut coarse = View::new(&gpu, &live, COARSE, COARSE * COARSE, &drawing)?;
        let mut fine = View::new(&gpu, &live, FINE, RAYS, &drawing)?;
        let orbit = Orbit {
            angle: 0.5,
            height: 0.5,
            radius,
        };
        coarse.begin(&orbit.pose())?;
        fine.begin(&orbit.pose())?;
        let budget = Budget::measure(
            &gpu,
            &mut live,
            &mut coarse,
            &mut fine,
            number("--budget", 100),
        )?;
        // There is something to see from the first frame on.
        coarse.finish()?;
        coarse.begin(&orbit.pose())?;
        fine.begin(&orbit.pose())?;
        Ok(Self {
            gpu,
            live,
            coarse,
            fine,
            drawing,
            budget,
            orbit,
            drawn: None,
            begun_at: Some(orbit),
            refined: false,
            begun: Instant::now(),
        })
    }

    fn resized(&mut self, size: [u32; 2]) {
        self.drawing.resize(self.gpu.device(), size);
    }

    fn pointed(&mut self, pointer: &Pointer) -> Result<(), Failure> {
        if pointer.left {
            let [across, down] = pointer.by.map(|share| std::f64::consts::TAU * share);
            self.orbit.angle -= across;
            self.orbit.height = (self.orbit.height + down).clamp(-1.5, 1.5);
        }
        Ok(())
    }

    /// One frame is under way at a time: what it took is what the next one is planned by.
    fn submitted(&mut self) -> Result<(), Failure> {
        self.gpu.wait()?;
        self.budget.took(self.begun.elapsed().as_secs_f64());
        self.coarse.look()?;
        self.fine.look()?;
        self.refined |= self.fine.is_whole();
        Ok(())
    }

    /// Training steps, a view, and the application's own pass, into the application's encoder.
    fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        target: &wgpu::TextureView,
    ) -> Result<(), Failure> {
        self.begun = Instant::now();
        let pose = self.orbit.pose();
        let moved = self.drawn != Some(self.orbit);
        let learns = self.live.step() < number("--steps", 3000);
        if moved || (self.fine.is_whole() && learns) {
            self.fine.begin(&pose)?;
        }
        self.refined &= !moved;
        // At rest one coarse view is enough until the fine one is there.
        let is_there = self.coarse.is_whole() && self.begun_at == Some(self.orbit);
        let coarse = !(self.refined || is_there);
        if coarse && self.coarse.is_whole() {
            self.coarse.begin(&pose)?;
            self.begun_at = Some(self.orbit);
        } else if coarse {
            // One that is not whole goes on: every part of it is drawn in its turn.
            self.coarse.turn(&pose)?;
        }
        let coarse = coarse.then_some(&self.coarse);
        let fine = (!moved && !self.fine.is_whole()).then_some(&self.fine);
        let [steps, first, parts] = self.budget.plan(learns, coarse, fine);
        let ready = self.live.prepare(steps)?;
        self.budget.fewer(steps - ready);
        for _ in 0..ready {
            self.live.plan().record(encoder);
        }
        self.coarse.record(encoder, first);
        self.fine.record(encoder, parts);
        self.drawing
            .look(self.gpu.queue(), &pose, self.coarse.camera());
        // What is drawn again while the field learns shows the view before it where it is not done.
        let view = match self.refined {
            true => &self.fine,
            false => &self.coarse,
        };
        self.drawing.paint(encoder, target, &view.group);
        self.drawn = Some(self.orbit);
        Ok(())
    }
}

/// Says how long frames took, and what was learned in them.
fn tell(shown: &Shown) -> Result<(), Failure> {
    let figures = shown.live.figures()?;
    println!(
        "median frame {:.1} ms of {:.0} ms; {} training steps, PSNR {:.2} dB",
        1e3 * shown.budget.median(),
        1e3 * shown.budget.frame(),
        shown.live.step(),
        figures.get("psnr").copied().unwrap_or(0.0)
    );
    Ok(())
}

fn headless() -> Result<(), Failure> {
    let frames = number("--frames", 60);
    let out = PathBuf::from(option("--out").unwrap_or_else(|| "runs/live-nerf".to_owned()));
    std::fs::create_dir_all(&out)?;
    let (device, queue, gpu) = window::headless()?;
    let mut shown = Shown::new(gpu, Pngs::FORMAT, [SIZE; 2])?;
    let pngs = Pngs::new(&device, SIZE);
    for frame in 0..frames {
        // Half round, then at rest.
        if frame < frames / 2 {
            shown.orbit.angle += std::f64::consts::TAU / frames as f64;
        }
        let mut encoder = device.create_command_encoder(&Default::default());
        shown.record(&mut encoder, &pngs.view)?;
        pngs.copy(&mut encoder);
        queue.submit([encoder.finish()]);
        shown.submitted()?;
        // Only because this application wants PNG files.
        pngs.save(&device, &out.join(format!("{frame:04}.png")))?;
    }
    println!("{frames} frames in {}", out.display());
    tell(&shown)
}

fn main() -> Result<(), Failure> {
    match window::windowed::<Shown>("wgen: a radiance field", SIZE, number("--frames", 0))? {
        Some((shown, drawn)) => {
            println!("{drawn} frames drawn");
            tell(&shown)
        }
        None => headless(),
    }
}
