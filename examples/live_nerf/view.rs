//! A view of the field in two textures, and how much of it and of the training a frame has time for.

use std::time::Instant;

use wgen::data::scene::{Camera, Pose};
use wgen::gpu::Gpu;
use wgen::kernels::Texel;
use wgen::kernels::present::Picture;
use wgen::live::Live;
use wgen::plan::Renderer;
use wgen::program::PlanOptions;
use wgen::tensor::Data;

use crate::drawing::Drawing;
use crate::window::Failure;

/// How much of the time that is left a camera at rest gives to the fine view, while the field learns.
const SHARE: f64 = 0.5;

/// A view of one size: what records it, and the textures that it leaves behind.
pub(crate) struct View {
    renderer: Renderer,
    pub(crate) group: wgpu::BindGroup,
    /// Recordings since it began, and how many of its pixels they were seen by, as far as is known.
    recorded: usize,
    seen: usize,
    /// Recordings that the last whole picture took: of a hash grid more than [`Renderer::runs`], where rays have many samples.
    usual: usize,
}

impl View {
    pub(crate) fn new(
        gpu: &Gpu,
        live: &Live,
        side: usize,
        rays: usize,
        drawing: &Drawing,
    ) -> Result<Self, Failure> {
        let own = live
            .model()
            .camera()
            .ok_or("the model is no radiance field")?;
        // A square of the pictures' own field of view.
        let camera = Camera::centred(side, side, own.fx * side as f64 / own.width as f64);
        let rays = rays.min(camera.pixels());
        let graph = live.model().rendering(&camera, rays)?;
        let mut renderer =
            Renderer::new(&graph, live.store(), &camera, rays, PlanOptions::default())?;
        let texture = |name| gpu.create_texture(name, side as u32, side as u32, Texel::Rgba32Float);
        let (colour, depth) = (texture("colour")?, texture("depth")?);
        let plan = renderer.plan();
        plan.bind_texture("colour", &colour, Picture::grid(side, side, 3, 1))?;
        plan.bind_texture("depth", &depth, Picture::grid(side, side, 1, 1))?;
        let group = drawing.group(gpu.device(), &colour, &depth);
        Ok(Self {
            usual: renderer.runs(),
            renderer,
            group,
            recorded: 0,
            seen: 0,
        })
    }

    pub(crate) fn begin(&mut self, pose: &Pose) -> Result<(), Failure> {
        (self.recorded, self.seen) = (0, 0);
        Ok(self.renderer.begin(&pose.0)?)
    }

    /// What is left of the picture is seen from another place.
    pub(crate) fn turn(&mut self, pose: &Pose) -> Result<(), Failure> {
        let pose = pose.0.iter().map(|&x| x as f32).collect();
        Ok(self.renderer.plan().write("poses", &Data::F32(pose))?)
    }

    pub(crate) fn record(&mut self, encoder: &mut wgpu::CommandEncoder, runs: usize) {
        for _ in 0..runs {
            self.renderer.record(encoder);
        }
        self.recorded += runs;
    }

    /// All of it, now, whatever time it takes.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.renderer.finish()?)
    }

    /// How much of it was seen by what was submitted, which is done.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        if self.recorded > 0 && !self.is_whole() {
            self.seen = self.renderer.seen()?;
            if self.is_whole() {
                self.usual = self.recorded;
            }
        }
        Ok(())
    }

    pub(crate) fn camera(&self) -> &Camera {
        self.renderer.camera()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.seen >= self.camera().pixels()
    }

    /// Recordings that show the rest of it, about.
    fn left(&self) -> usize {
        let rest = self.camera().pixels() - self.seen.min(self.camera().pixels());
        match self.seen {
            0 => self.usual,
            seen => (rest * self.recorded).div_ceil(seen),
        }
    }
}

/// How long things take, and how many of them a frame has time for.
pub(crate) struct Budget {
    frame: f64,
    /// Seconds of a training step, of a part of the coarse view, of one of the fine one.
    step: f64,
    coarse: f64,
    part: f64,
    /// What frames took beside what was expected of them.
    factor: f64,
    expected: f64,
    times: Vec<f64>,
}

impl Budget {
    /// Measures one of each.
    pub(crate) fn measure(
        gpu: &Gpu,
        live: &mut Live,
        coarse: &mut View,
        fine: &mut View,
        milliseconds: u64,
    ) -> Result<Self, Failure> {
        let timed = |work: &mut dyn FnMut(&mut wgpu::CommandEncoder)| -> Result<f64, Failure> {
            let begin = Instant::now();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            work(&mut encoder);
            gpu.queue().submit([encoder.finish()]);
            gpu.wait()?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let mut least = [f64::INFINITY; 3];
        for _ in 0..3 {
            let steps = live.prepare(1)?;
            let step = timed(&mut |e| (0..steps).for_each(|_| live.plan().record(e)))?;
            let view = timed(&mut |e| coarse.record(e, 1))?;
            let part = timed(&mut |e| fine.record(e, 1))?;
            for (least, now) in least.iter_mut().zip([step, view, part]) {
                *least = least.min(now);
            }
        }
        let [step, coarse, part] = least;
        Ok(Self {
            frame: 1e-3 * milliseconds.max(1) as f64,
            step,
            coarse,
            part,
            factor: 1.0,
            expected: 0.0,
            times: Vec::new(),
        })
    }

    /// Training steps, parts of the coarse view and of the fine one for the next frame, of views that are to be drawn.
    pub(crate) fn plan(
        &mut self,
        learns: bool,
        coarse: Option<&View>,
        fine: Option<&View>,
    ) -> [usize; 3] {
        let all = self.frame / self.factor;
        let fit = |seconds: f64, each: f64| (seconds / each).round() as usize;
        // A view that moves is what one looks at; something is learned beside it.
        let most = if learns { 1.0 - SHARE / 2.0 } else { 1.0 };
        let first = coarse.map_or(0, |view| {
            view.left().min(fit(most * all, self.coarse)).max(1)
        });
        let left = (all - first as f64 * self.coarse).max(0.0);
        let share = match (learns, fine) {
            (true, Some(_)) => SHARE,
            (true, None) => 1.0,
            (false, _) => 0.0,
        };
        let steps = fit(share * left, self.step);
        let rest = (left - steps as f64 * self.step).max(0.0);
        let parts = fine.map_or(0, |view| view.left().max(1).min(fit(rest, self.part)));
        let counts = [steps, first, parts];
        let each = [self.step, self.coarse, self.part];
        let times = counts.iter().zip(each).map(|(n, each)| *n as f64 * each);
        self.expected = times.sum();
        counts
    }

    /// Fewer steps are made than were planned.
    pub(crate) fn fewer(&mut self, steps: usize) {
        self.expected -= steps as f64 * self.step;
    }

    /// What the frame took.
    pub(crate) fn took(&mut self, seconds: f64) {
        self.times.push(seconds);
        if self.expected > 0.0 {
            let now = (seconds / self.expected).clamp(0.25, 4.0);
            self.factor += 0.2 * (now - self.factor);
        }
    }

    /// Seconds that a frame may take.
    pub(crate) fn frame(&self) -> f64 {
        self.frame
    }

    pub(crate) fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(0.0)
    }
}
