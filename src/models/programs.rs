//! Every program that a device runs for the models: each graph of each model of the list, as kernels for that device's capabilities,
//! without the device. Compilers of GPUs that are not here see what comes of it (`wgen shaders --models`).
//!
//! ```
//! use wgen::kernels::Caps;
//! use wgen::models::{self, programs};
//! use wgen::program::PlanOptions;
//!
//! let usual = (models::find("vae")?.usual)()?.remove(0);
//! let mut names = Vec::new();
//! programs::of(&usual, &Caps::portable(), &mut |named| {
//!     names.push(named.name.clone());
//!     assert!(!named.program.dispatches.is_empty());
//!     Ok(())
//! })?;
//! assert_eq!(names[0], "vae: training, batch 128");
//! assert!(names.contains(&"vae: sampling 64".to_owned()), "{names:?}");
//! // Without f16 nothing is stored so.
//! assert!(!names.iter().any(|name| name.contains("f16")));
//! # Ok::<(), wgen::Error>(())
//! ```

use super::batch::DataType;
use super::diffusion::Diffusion;
use super::model::Model;
use super::noised_classifier::NoisedClassifier;
use super::registry::{Case, Examples, Usual};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::layout::Layout;
use crate::kernels::Caps;
use crate::program::lower::{LowerOptions, lower};
use crate::program::{PlanOptions, Program};

/// Rows of the data that a program gathers from: many, as they are resident.
const ROWS: usize = 12_800;

/// A program and what it is for.
#[derive(Debug)]
pub struct Named {
    /// `model: graph, batch`, and how it is compiled where that is not as usual.
    pub name: String,
    /// Its kernels.
    pub program: Program,
    /// What of the device it may use: what its kernels' candidates are chosen by.
    pub caps: Caps,
}

/// Who takes programs, one at a time: all of them together are large.
pub type Take<'a> = &'a mut dyn FnMut(&Named) -> Result<()>;

/// All programs of all models on a device with `caps`: usual and further sizes with all of their graphs, in f32 and, where the device has it,
/// training in f16 too; and the steps that `verify` runs, whose options make other kernels.
///
/// # Errors
/// When a model of the list is unsound, or `take` fails.
pub fn all(caps: &Caps, take: Take<'_>) -> Result<()> {
    for entry in super::ALL {
        let further = (entry.further)()?.into_iter();
        for usual in (entry.usual)()?.into_iter().chain(further) {
            of(&usual, caps, take)?;
        }
        for case in (entry.cases)(caps, false)? {
            let name = format!("{} of verify, {}", entry.name, case.name);
            training(&name, &case, caps, take)?;
        }
    }
    Ok(())
}

/// The programs of a model in its usual size.
///
/// # Errors
/// As [`all`].
pub fn of(usual: &Usual, caps: &Caps, take: Take<'_>) -> Result<()> {
    let model = usual.model.as_ref();
    for batch in std::iter::once(usual.batch).chain(usual.large) {
        for half in [false, true] {
            if half && !caps.f16 {
                continue;
            }
            let options = PlanOptions {
                half,
                ..PlanOptions::default()
            };
            let case = Case {
                phase: usual.phase,
                options,
                ..Case::of(usual.name, usual.model.clone(), batch)
            };
            let mark = if half { ", f16" } else { "" };
            let name = format!("{}: training, batch {batch}{mark}", usual.name);
            training(&name, &case, caps, take)?;
        }
    }
    let data = Examples::data_type(model, ROWS);
    for (what, graph) in graphs(model, &data, usual.batch, usual.samples)? {
        let name = format!("{}: {what}", usual.name);
        compiled(name, &graph, model, caps, PlanOptions::default(), take)?;
    }
    Ok(())
}

/// The graphs of a model that do not train it, of those that it has: evaluation, encoding and decoding of `batch` examples, samples of each
/// of the `samples` sizes, what only its kind has.
///
/// # Errors
/// When the model does not take such data.
pub fn graphs(
    model: &dyn Model,
    data: &DataType,
    batch: usize,
    samples: &[usize],
) -> Result<Vec<(String, Graph)>> {
    let mut graphs = Vec::new();
    let mut have = |what: String, graph: Result<Graph>| match graph {
        Ok(graph) => {
            graphs.push((what, graph));
            Ok(())
        }
        // What a model cannot do is such an error.
        Err(Error::Usage(_)) => Ok(()),
        Err(error) => Err(error),
    };
    have(
        format!("evaluation, batch {batch}"),
        model.evaluation(data, batch),
    )?;
    have(
        format!("encoding, batch {batch}"),
        model.encoding(data, batch),
    )?;
    have(format!("decoding, batch {batch}"), model.decoding(batch))?;
    have(
        "importance, batch 8, 5 draws".to_owned(),
        model.importance(data, 8, 5),
    )?;
    for &count in samples {
        let sampling = model.sampling(count).map(|sampling| sampling.graph);
        have(format!("sampling {count}"), sampling)?;
    }
    if let Some(graph) = model.filters() {
        have("filters".to_owned(), Ok(graph))?;
    }
    if let Some(camera) = model.camera() {
        let rays = batch.min(camera.width * camera.height);
        have(
            format!("rendering, {rays} rays"),
            model.rendering(&camera, rays),
        )?;
    }
    let places = batch.min(model.places_at_once(1 << 27));
    have(
        format!("densities, {places} places"),
        model.densities(places),
    )?;
    have(format!("colours, {places} places"), model.colours(places))?;
    let any = model.as_any();
    if let Some(diffusion) = any.downcast_ref::<Diffusion>() {
        let bound = diffusion.bound(data, batch);
        have(format!("bound, batch {batch}"), bound)?;
    }
    if let Some(classifier) = any.downcast_ref::<NoisedClassifier>() {
        let figures = classifier.at_timestep(data, batch);
        have(format!("figures at a timestep, batch {batch}"), figures)?;
    }
    Ok(graphs)
}

/// The training step of a case.
fn training(name: &str, case: &Case, caps: &Caps, take: Take<'_>) -> Result<()> {
    let model = case.model.as_ref();
    let data = Examples::data_type(model, ROWS);
    let graph = model.training(case.phase, &data, &case.update())?;
    compiled(name.to_owned(), &graph, model, caps, case.options, take)
}

fn compiled(
    name: String,
    graph: &Graph,
    model: &dyn Model,
    caps: &Caps,
    options: PlanOptions,
    take: Take<'_>,
) -> Result<()> {
    let layout = Layout::new(model.parameters(), caps.binding_bytes)?;
    let caps = options.caps(caps);
    let how = LowerOptions {
        fuse: options.fuse,
        half: options.half,
    };
    let program = lower(graph, &caps, &layout, how)?;
    take(&Named {
        name,
        program,
        caps,
    })
}
