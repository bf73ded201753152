//! From a scene's files to the rays of its pictures.

use std::path::Path;

use super::listed::Which;
use super::rows::Rows;
use super::survey::{self, Kept, Survey, passed_over};
use super::{lens, memory, open};
use crate::data::idx::Part;
use crate::data::images::{self, Options};
use crate::data::report::{Loaded, Report};
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;
use crate::nn::init::{hash, hash_on};

/// Pixels that are decoded at a time, and pictures.
const PIXELS_AT_A_TIME: u64 = 1 << 27;
const PICTURES_AT_A_TIME: usize = 256;

/// Reads one part of a scene. Pictures that are not there are passed over and reported; `skip_broken` does the same with those that cannot be
/// decoded. Of `options` that and what is a scene's count, nothing else.
///
/// # Errors
/// When the list is malformed, a pose in it no rigid motion, its camera none; when none or under half of the pictures are left, one has another
/// shape than is said, or their rays have no room in memory.
pub fn read(dir: &Path, part: Part, options: &Options) -> Result<Loaded> {
    let which = match part {
        Part::Training => Which::Training,
        Part::Test => Which::Test,
    };
    let times = survey::smaller(options.scene_downscale)?;
    let listed = open::list(dir, which, options, false)?;
    let mut survey = survey::survey(listed, times, options.skip_broken)?;
    let pixels: u64 = survey.kept.iter().map(|k| k.camera.pixels() as u64).sum();
    memory::check(pixels, times)?;
    let rows = decoded(&mut survey, times, pixels, options.skip_broken)?;
    let list = &survey.listed.list;
    survey.enough_left()?;
    let left_out = rows.left_out();
    let views = survey.views();
    let name = format!("scene:{}", dir.display());
    let data = rows.dataset(name, views.cameras, views.poses, views.names, views.world);
    if data.rows() == 0 {
        return Err(Error::format(
            list,
            "its masks leave nothing of its pictures",
        ));
    }
    let mut report = Report::of(&data, survey.listed.used.clone());
    report.broken.clone_from(&survey.broken);
    report.folder = Some(fingerprint_of(dir, options)?);
    if let Some(posed) = &mut report.posed {
        posed.format = Some(survey.listed.format);
        posed.listed = survey.count;
        posed.missing = survey.missing.len();
        posed.missing_names = survey.missing.iter().take(3).cloned().collect();
        posed.held_out = survey.listed.held_out;
        posed.left_out = left_out;
        posed.masks = survey
            .kept
            .iter()
            .filter(|k| k.frame.mask.is_some())
            .count();
        posed.turned = survey.turned[0];
        posed.not_turned = survey.turned[1];
        posed.smaller = times;
        posed.half_side = survey.listed.half_side;
        posed.bounds = survey.listed.bounds;
        posed.notes.clone_from(&survey.listed.notes);
    }
    Ok(Loaded { data, report })
}

/// The rows of all pictures that can be decoded; the others leave the survey.
fn decoded(survey: &mut Survey, times: u32, pixels: u64, skip_broken: bool) -> Result<Rows> {
    let mut rows = Rows::of(pixels)?;
    let mut kept = Vec::with_capacity(survey.kept.len());
    // Of the camera before, which most often is this one's too.
    let mut undone: Option<(Camera, Vec<bool>)> = None;
    let mut rest = std::mem::take(&mut survey.kept).into_iter().peekable();
    while rest.peek().is_some() {
        let (mut some, mut taken) = (Vec::new(), 0);
        while let Some(next) = rest.next_if(|next| {
            let more = u64::from(next.size.0) * u64::from(next.size.1);
            some.is_empty() || (taken + more <= PIXELS_AT_A_TIME && some.len() < PICTURES_AT_A_TIME)
        }) {
            taken += u64::from(next.size.0) * u64::from(next.size.1);
            some.push(next);
        }
        let files: Vec<(&Path, bool)> = some.iter().map(|k| (k.path.as_path(), k.turned)).collect();
        let pictures = images::straight(&files, times);
        for (view, picture) in some.into_iter().zip(pictures) {
            match picture {
                Ok(((width, height), rgba)) => {
                    let camera = &view.camera;
                    if (camera.width, camera.height) != (width as usize, height as usize) {
                        let message = format!(
                            "changed while it was read: it is {width} x {height}, and was {} x {}",
                            camera.width, camera.height
                        );
                        return Err(Error::format(&view.path, message));
                    }
                    if view.partly && undone.as_ref().is_none_or(|(c, _)| *c != *camera) {
                        undone = Some((*camera, lens::undone_pixels(camera)));
                    }
                    let partly = undone.as_ref().filter(|_| view.partly);
                    let kept_pixels =
                        seen(&view, times, partly.map(|(_, pixels)| pixels.as_slice()))?;
                    rows.add(&rgba, kept_pixels.as_deref());
                    kept.push(view);
                }
                Err(error) => survey.broken.extend(passed_over(error, skip_broken)?),
            }
        }
    }
    survey.kept = kept;
    Ok(rows)
}

/// Which pixels of a view are rays: those for which its lens can be undone and its mask is not black; nothing where these are all.
fn seen(view: &Kept, times: u32, undone: Option<&[bool]>) -> Result<Option<Vec<bool>>> {
    let Some(path) = &view.frame.mask else {
        return Ok(undone.map(<[bool]>::to_vec));
    };
    let ((width, height), mask) = images::grey(path)?;
    let (w, h) = view.size;
    let ratio = f64::from(width) / f64::from(w) / (f64::from(height) / f64::from(h));
    if width == 0 || height == 0 || (ratio - 1.0).abs() > 0.02 {
        return Err(Error::format(
            path,
            format!(
                "is a mask of {width} x {height} for {}, which is {w} x {h}, of another shape",
                view.path.display()
            ),
        ));
    }
    // The nearest of the mask's pixels; a smaller picture's is kept where all of its square is.
    let kept = |x: u32, y: u32| {
        let place = |at: u32, of: u32, size: u32| {
            (u64::from(2 * at + 1) * u64::from(size) / (2 * u64::from(of))) as usize
        };
        mask[place(y, h, height) * width as usize + place(x, w, width)] > 0
    };
    let camera = &view.camera;
    let one = |i: usize| {
        let (x, y) = (i % camera.width, i / camera.width);
        let (x, y) = (x as u32 * times, y as u32 * times);
        let square = (0..times * times).map(|j| (x + j % times, y + j / times));
        undone.is_none_or(|undone| undone[i]) && square.into_iter().all(|(x, y)| kept(x, y))
    };
    Ok(Some((0..camera.pixels()).map(one).collect()))
}

/// A hash of the list that training draws on and of the names and sizes of its pictures, by which a scene is known again wherever it lies.
///
/// # Errors
/// When there is no such list, or it is malformed.
pub fn fingerprint(dir: &Path) -> Result<String> {
    fingerprint_of(dir, &Options::default())
}

/// The same of a scene that is read with `options`.
///
/// # Errors
/// The same.
pub(crate) fn fingerprint_of(dir: &Path, options: &Options) -> Result<String> {
    let listed = open::list(dir, Which::Training, options, false)
        .or_else(|_| open::list(dir, Which::Test, options, false))?;
    let bytes = std::fs::read(&listed.list).map_err(|e| Error::io(&listed.list, e))?;
    let sizes = listed.frames.iter().flat_map(|frame| {
        let size = frame.picture.as_ref().and_then(|path| path.metadata().ok());
        size.map_or(0, |m| m.len()).to_le_bytes()
    });
    Ok(format!("{:016x}", hash_on(hash(&bytes), sizes)))
}
