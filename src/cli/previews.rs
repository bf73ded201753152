//! Pictures of where a training stands: by steps or by time, and after its last step.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::progress::Progress;
use crate::data::scene::Pose;
use crate::error::{Error, Result};
use crate::evaluate::views::Renderer;
use crate::evaluate::{Evaluator, Previewed};
use crate::files::pace::Pace;
use crate::files::write_synced;
use crate::kernels::camera_rays::Camera;
use crate::models::Model;
use crate::report::grid;
use crate::session::Device;
use crate::tensor::ImageShape;
use crate::train::Trainer;

/// Pictures of one grid.
const COUNT: usize = 64;

/// Pixels of the longer side of a radiance field's views.
const VIEW: usize = 100;

/// Between two by time.
const BETWEEN: Duration = Duration::from_secs(10);

/// The last one may take so long, or a tenth of the training.
const LAST: Duration = Duration::from_secs(60);

pub(super) struct Previews<'a> {
    device: &'a Device,
    folder: PathBuf,
    pace: Pace,
    film: grid::Film,
    newest: Option<u64>,
    begun: Option<Instant>,
}

impl<'a> Previews<'a> {
    /// Of a training in whose folder `samples/` is made.
    pub(super) fn new(device: &'a Device, trainer: &Trainer) -> Result<Self> {
        let folder = trainer.path().join("samples");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let training = &trainer.config().training;
        Ok(Self {
            device,
            folder,
            pace: Pace::new(training.preview_steps, training.write_share / 2.0, BETWEEN),
            film: grid::Film::default(),
            newest: None,
            begun: None,
        })
    }

    /// Draws one where it is due after `step` steps.
    pub(super) fn step(
        &mut self,
        trainer: &Trainer,
        step: u64,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let elapsed = self.begun.get_or_insert_with(Instant::now).elapsed();
        if self.newest == Some(step) || !self.pace.due(step, elapsed) {
            return Ok(());
        }
        let begin = Instant::now();
        match self.draw(trainer, step, self.pace.allowed(elapsed), progress)? {
            Some(cost) => self.pace.gave_up(begin.elapsed(), cost),
            None => self.pace.took(elapsed, begin.elapsed()),
        }
        Ok(())
    }

    /// Draws one, unless it would take longer than `allowed`: then it says how long.
    fn draw(
        &mut self,
        trainer: &Trainer,
        step: u64,
        allowed: Duration,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Duration>> {
        progress.busy(&format!("preview of step {step}"));
        let (config, weights) = (trainer.config(), trainer.weights()?);
        let model = trainer.model();
        if let (Some(camera), Some(views)) = (model.camera(), &trainer.dataset().views) {
            let begin = Instant::now();
            // A sixteenth of the pixels of one of three views tells what they cost.
            self.views(model, &weights, &camera, (VIEW / 4, &views.poses[..1]))?;
            let whole = begin.elapsed() * 48;
            if whole > allowed {
                return Ok(Some(whole));
            }
            let poses = [0, 1, 2].map(|i| views.poses[views.poses.len() * i / 3]);
            let picture = self.views(model, &weights, &camera, (VIEW, &poses))?;
            return self.keep(step, picture).map(|()| None);
        }
        let seed = config.training.seed;
        let mut evaluator = Evaluator::new(self.device, model, &weights, COUNT, seed)?
            .taking(config.reading.turns());
        match evaluator.preview(model, trainer.dataset(), COUNT, allowed)? {
            Previewed::Images(values, columns) => {
                let picture = grid::picture(&values, config.image, columns);
                self.keep(step, picture)?;
            }
            Previewed::TooLong(cost) => return Ok(Some(cost)),
            Previewed::Nothing => {}
        }
        Ok(None)
    }

    fn keep(&mut self, step: u64, picture: image::RgbImage) -> Result<()> {
        let path = self.folder.join(format!("{step:08}.png"));
        write_synced(&path, &grid::png(&picture)?)?;
        self.film.push(picture);
        self.newest = Some(step);
        Ok(())
    }

    /// What a radiance field shows from each of some places, `side` pixels along the longer side.
    fn views(
        &self,
        model: &dyn Model,
        weights: &[Vec<f32>],
        camera: &Camera,
        (side, poses): (usize, &[Pose]),
    ) -> Result<image::RgbImage> {
        let most = camera.width.max(camera.height);
        let small = |whole: usize| (whole * side.min(most)).div_ceil(most).max(1);
        let camera = camera.resized(small(camera.width), small(camera.height));
        let shape = ImageShape {
            height: camera.height,
            width: camera.width,
            channels: 3,
        };
        let mut renderer = Renderer::new(self.device, model, weights, &camera)?;
        let pictures = poses
            .iter()
            .map(|pose| Ok(grid::plain(&renderer.view(pose)?.colour, shape)))
            .collect::<Result<Vec<_>>>()?;
        Ok(grid::beside(&pictures))
    }

    /// The last one, and the film of all.
    pub(super) fn finish(
        &mut self,
        trainer: &Trainer,
        step: u64,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let elapsed = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let allowed = match self.pace.allowed(elapsed) {
            Duration::MAX => Duration::MAX,
            _ => LAST.max(elapsed / 10),
        };
        if self.newest != Some(step)
            && let Some(cost) = self.draw(trainer, step, allowed, progress)?
        {
            progress.say(&format!(
                "the last preview is left out: it would take {:.0} s; wgen sample draws as many as you want, wgen render a radiance field",
                cost.as_secs_f64()
            ));
        }
        if self.film.frames().len() > 1 {
            let animation = grid::gif(self.film.frames(), 400)?;
            write_synced(&self.folder.join("training.gif"), &animation)?;
        }
        Ok(())
    }
}
