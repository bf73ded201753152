//! `wgen sample`

use serde_json::json;

use super::common::{Output, check_count, open};
use super::outputs::{self, Content, Outputs};
use super::reading::class_of;
use super::reverse;
use super::samplers;
use super::sampling::SampleArguments;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::files::weights::Tensors;
use crate::gpu::Choice;
use crate::models::codes;
use crate::report::grid;
use crate::run::Run;
use crate::tensor::Value;

/// The most rows of a traversal.
const TRAVERSED: usize = 16;

pub(super) fn run(output: &Output, choice: &Choice, arguments: &SampleArguments) -> Result<()> {
    if arguments.list_samplers {
        return samplers::list(output);
    }
    let n = check_count(arguments.n)?;
    let (out, process) = (arguments.out(), &arguments.process);
    let output = &Outputs::default()
        .of_run(arguments.folder())
        .of_data(process.data.as_ref())
        .input("--init-noise", process.init_noise.as_ref())
        .input("--mask", process.inpainting.file())
        .inputs("--init-image", &process.init_image)
        .inputs("--low-res", &process.low_res)
        .input("--classifier", arguments.sampling.classifier())
        .file("--out", out, Content::Picture)
        .optional(
            "--save-tensor",
            arguments.save_tensor.as_ref(),
            Content::Tensors,
        )
        .optional("--chain", process.chain.as_ref(), Content::Picture)
        .optional("--gif", process.gif.as_ref(), Content::Animation)
        .check(output)?;
    let device = open(output, choice)?;
    let run = arguments.sampling.apply(Run::open(arguments.folder())?)?;
    if !arguments.every_sampler.is_empty() {
        return samplers::draw(output, &device, &run, arguments, n);
    }
    if run.sampler_settings().is_some() {
        return reverse::sample(output, &device, &run, arguments, n);
    }
    arguments.process.refuse()?;
    let model = run.model();
    let side = (n as f64).sqrt().ceil() as usize;
    outputs::check_size(out, grid::size(n, run.image(), side))?;
    let class = class_of(&run, arguments.class.as_deref())?;
    let mut evaluator = Evaluator::of(&device, &run, n, arguments.seed)?;
    let images = match from_codes(arguments, &run, class, &mut evaluator, n, side)? {
        Some(images) => images,
        None => {
            let samples = evaluator.samples(model, n, class)?;
            Value::f32([n, samples.images.len() / n], samples.images)?
        }
    };
    let picture = grid::picture(&images.data.to_f32(), run.image(), side);
    outputs::write_picture(out, &picture)?;
    if let Some(path) = &arguments.save_tensor {
        let tensor = |value: &Value| (value.shape.dims().to_vec(), value.data.to_f32());
        let mut tensors = Tensors::from([("images".to_owned(), tensor(&images))]);
        let drawn = !(arguments.filters || arguments.traverse || arguments.manifold);
        if drawn && model.latent().is_some() {
            let sampling = model.sampling(n)?;
            let inputs = run.conditioning().input(n, class, 0)?;
            let inputs = inputs.into_iter().collect();
            let z = evaluator.once(&sampling.graph, inputs, "z", 0)?;
            tensors.insert("z".to_owned(), tensor(&z));
        }
        outputs::write_tensors(path, &tensors)?;
    }
    output.say(&format!(
        "{} images in {}",
        images.shape.dims()[0],
        outputs::shown(out)
    ));
    output.result(&json!({"samples": images.shape.dims()[0], "file": out}))
}

/// What is asked for instead of samples: filters, a traversal, a manifold.
fn from_codes(
    arguments: &SampleArguments,
    run: &Run,
    class: Option<usize>,
    evaluator: &mut Evaluator,
    n: usize,
    side: usize,
) -> Result<Option<Value>> {
    let model = run.model();
    let mut decode = |z: Value| {
        let count = z.shape.dims()[0];
        let classes = run.conditioning().input(count, class, 0)?;
        let inputs = classes.into_iter().chain([("z", z)]).collect();
        evaluator.once(&model.decoding(count)?, inputs, "images", 0)
    };
    if arguments.filters {
        let filters = model.filters().ok_or_else(|| {
            Error::Usage(format!(
                "--filters: a {} model has no filters to draw",
                model.name()
            ))
        })?;
        let all = evaluator.once(&filters, Vec::new(), "images", 0)?;
        let (count, width) = (all.shape.dims()[0].min(n), all.shape.dims()[1]);
        let values = grid::stretched(&all.data.to_f32(), width, count);
        return Value::f32([count, width], values).map(Some);
    }
    if !arguments.traverse && !arguments.manifold {
        return Ok(None);
    }
    let Some(latent) = model.latent() else {
        return Err(model
            .decoding(1)
            .err()
            .unwrap_or_else(|| model.cannot("decode")));
    };
    if arguments.traverse {
        let rows = latent.min(TRAVERSED);
        return decode(codes::traversal(latent, rows, side)).map(Some);
    }
    if latent != 2 {
        return Err(Error::Usage(format!(
            "--manifold needs a latent size of 2; this model has {latent}"
        )));
    }
    decode(codes::manifold(side)).map(Some)
}
