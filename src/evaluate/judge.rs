//! How good samples are, in figures: they are compared with held-out data in the features of a small classifier that was trained on the
//! same kind of data. Beside them stand anchors, real images that something was done to, which say what a figure means.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::judge::{Judge, as_images};
//! use wgen::session::Device;
//! # use std::sync::{Arc, atomic::AtomicBool};
//! # use wgen::files::{Config, Training};
//! # use wgen::models::classifier::{self, Classifier};
//! # let dir = tempfile::tempdir().unwrap();
//! # let folder = dir.path().join("classifier");
//! # let data = digits(16, 1);
//! # let sizes = classifier::Config { channels: [2, 4], features: 8, ..classifier::Config::mnist(data.shape, 10) };
//! # let training = Training { steps: Some(1), epochs: None, batch: 16, ..Training::default() };
//! # let config = Config::new(Arc::new(Classifier::new(sizes)?), data.shape, "digits", training);
//! # wgen::train::Trainer::new(&Device::Cpu, config, data, &folder, false)?.run(&AtomicBool::new(false), |_, _| Ok(()))?;
//!
//! // `folder` is a run of `wgen train classifier`.
//! let mut judge = Judge::load(&Device::Cpu, &folder)?;
//! let (held_out, real) = (digits(20, 2), digits(20, 3));
//! let grey = as_images(&vec![0.5; 20 * 784], held_out.shape, "grey");
//! let judgement = judge.judge("samples", &grey, &held_out, Some(&real))?;
//! // Grey images are further from digits than other digits are.
//! let anchor = judgement.anchors["real"];
//! assert!(judgement.comparison.frechet_distance > anchor.frechet_distance);
//! assert!(judgement.comparison.recall < anchor.recall);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::statistics::{self, Comparison, Features};
use super::{Evaluator, Samples, Start};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::folder::{read_config, read_weights};
use crate::graph::layout::Layout;
use crate::models::Model;
use crate::models::classifier::Classifier;
use crate::nn::init::{generator, hash, normal_pair};
use crate::session::{Device, Executable};
use crate::tensor::Data;
use crate::tensor::ImageShape;

/// A trained classifier on a device.
#[derive(Debug)]
pub struct Judge {
    classifier: Classifier,
    evaluator: Evaluator,
    seed: u64,
    weights_hash: String,
}

/// What a classifier says of images.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its last hidden layer.
    pub features: Features,
    /// The likeliest class of each.
    pub classes: Vec<usize>,
    /// Its probability.
    pub confidence: Vec<f32>,
}

/// What is reported of samples.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// What was judged: `samples` or `reconstructions`.
    pub what: String,
    /// Against held-out data.
    pub comparison: Comparison,
    /// Share of each class.
    pub class_shares: Vec<f64>,
    /// Share that is classified with a probability above 0.9. Alone it proves nothing.
    pub confident_share: f64,
    /// Share that is classified as the class that it was made for, where there is one: of a conditional model, or of reconstructions.
    pub class_agreement: Option<f64>,
    /// The same comparison of real images that something was done to.
    pub anchors: BTreeMap<String, Comparison>,
    /// The classifier: its accuracy on the held-out data,
    pub judge_accuracy: f64,
    /// the seed it was trained with,
    pub judge_seed: u64,
    /// and a hash of its weights.
    pub judge_weights: String,
}

impl Judge {
    /// Loads a run folder of `wgen train classifier`.
    ///
    /// # Errors
    /// When it is none.
    pub fn load(device: &Device, folder: &Path) -> Result<Self> {
        let config = read_config(folder)?;
        let Some(classifier) = config.model.as_any().downcast_ref::<Classifier>() else {
            return Err(Error::format(
                folder,
                "holds no classifier; make one with wgen train classifier",
            ));
        };
        let classifier = classifier.clone();
        let layout = Layout::new(classifier.parameters(), device.caps().binding_bytes)?;
        let weights = read_weights(folder, &layout)?;
        let bytes: Vec<u8> = weights
            .iter()
            .flatten()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        Ok(Self {
            evaluator: Evaluator::new(device, &classifier, &weights, 100, 0)?,
            classifier,
            seed: config.training.seed,
            weights_hash: format!("{:016x}", hash(&bytes)),
        })
    }

    /// Features, classes and probabilities of images.
    ///
    /// # Errors
    /// When they are not as large as those that it was trained on.
    pub fn verdict(&mut self, images: &Dataset) -> Result<Verdict> {
        if images.shape != self.classifier.config().image {
            return Err(Error::Usage(format!(
                "the classifier judges images of {}, these are {}",
                self.classifier.config().image,
                images.shape
            )));
        }
        let classes = self.classifier.config().classes;
        let mut verdict = Verdict {
            features: Features {
                width: self.classifier.config().features,
                values: Vec::new(),
            },
            classes: Vec::new(),
            confidence: Vec::new(),
        };
        let width = verdict.features.width;
        let classifier = &self.classifier;
        self.evaluator.over(
            images,
            1,
            |data, batch| classifier.judging(data, batch),
            &["features", "probabilities"],
            |_, real, values| {
                let features = values[0].data.to_f32();
                verdict.features.values.extend(&features[..real * width]);
                for row in values[1].data.to_f32()[..real * classes].chunks_exact(classes) {
                    let (class, p) =
                        row.iter()
                            .copied()
                            .enumerate()
                            .fold(
                                (0, f32::MIN),
                                |best, (i, p)| if p > best.1 { (i, p) } else { best },
                            );
                    verdict.classes.push(class);
                    verdict.confidence.push(p);
                }
            },
        )?;
        Ok(verdict)
    }

    /// Compares `images` with held-out data `wanted`, both cut to the same n, and, with `real` (other real images), anchors at that n.
    ///
    /// # Errors
    /// When shapes differ or there are too few.
    pub fn judge(
        &mut self,
        what: &str,
        images: &Dataset,
        wanted: &Dataset,
        real: Option<&Dataset>,
    ) -> Result<Judgement> {
        let mut n = images.rows().min(wanted.rows());
        if let Some(real) = real {
            n = n.min(real.rows());
        }
        let first = |data: &Dataset| data.select(&(0..n).collect::<Vec<_>>());
        let (wanted, images) = (first(wanted), first(images));
        let reference = self.verdict(&wanted)?;
        let found = self.verdict(&images)?;
        let agreement = |data: &Dataset, verdict: &Verdict| {
            let pairs = data.labels.as_ref()?.iter().zip(&verdict.classes);
            Some(pairs.filter(|(l, c)| **l as usize == **c).count() as f64 / n as f64)
        };
        let mut anchors = BTreeMap::new();
        if let Some(real) = real {
            for (name, data) in self::anchors(real, n)? {
                let verdict = self.verdict(&data)?;
                let compared = statistics::compare(&reference.features, &verdict.features)?;
                anchors.insert(name.to_owned(), compared);
            }
        }
        let mut class_shares = vec![0.0; self.classifier.config().classes];
        for &class in &found.classes {
            class_shares[class] += 1.0 / n as f64;
        }
        let confident = found.confidence.iter().filter(|p| **p > 0.9).count();
        Ok(Judgement {
            what: what.to_owned(),
            comparison: statistics::compare(&reference.features, &found.features)?,
            class_shares,
            confident_share: confident as f64 / n as f64,
            class_agreement: agreement(&images, &found),
            anchors,
            judge_accuracy: agreement(&wanted, &reference).unwrap_or(f64::NAN),
            judge_seed: self.seed,
            judge_weights: self.weights_hash.clone(),
        })
    }
}

/// Real images that something was done to, `n` of each.
fn anchors(real: &Dataset, n: usize) -> Result<Vec<(&'static str, Dataset)>> {
    let whole = real.select(&(0..n).collect::<Vec<_>>());
    let (Data::U8(pixels), shape) = (&whole.values, whole.shape) else {
        return Err(Error::Usage(
            "samples are judged as images; this data is none".to_owned(),
        ));
    };
    let with = |values: Vec<u8>| Dataset {
        values: Data::U8(values),
        ..whole.clone()
    };
    let noisy = |sigma: f64| {
        let mut rng = generator(0, "anchor noise");
        let add = |pair: &[u8]| -> Vec<u8> {
            let (a, b) = normal_pair(&mut rng);
            let moved = pair.iter().zip([a, b]);
            moved
                .map(|(&p, e)| (f64::from(p) + 255.0 * sigma * e).round().clamp(0.0, 255.0) as u8)
                .collect()
        };
        with(pixels.chunks(2).flat_map(add).collect())
    };
    let mut all = vec![
        ("real", whole.clone()),
        ("noise 0.1", noisy(0.1)),
        ("noise 0.2", noisy(0.2)),
        ("blur 3x3", with(blurred(pixels, shape))),
    ];
    if let Some(labels) = &real.labels {
        // The same n: other examples stand in for those that are left out.
        let kept: Vec<usize> = (0..real.rows())
            .filter(|&i| labels[i] != 0)
            .take(n)
            .collect();
        if kept.len() == n {
            all.push(("class 0 dropped", real.select(&kept)));
        }
    }
    Ok(all)
}

/// The mean of each pixel's 3x3 neighbourhood inside of the image.
fn blurred(pixels: &[u8], shape: ImageShape) -> Vec<u8> {
    let ImageShape {
        height,
        width,
        channels,
    } = shape;
    let one = |image: &[u8], y: usize, x: usize, c: usize| {
        let (mut sum, mut count) = (0_u32, 0);
        for v in y.saturating_sub(1)..(y + 2).min(height) {
            for u in x.saturating_sub(1)..(x + 2).min(width) {
                sum += u32::from(image[(v * width + u) * channels + c]);
                count += 1;
            }
        }
        ((sum + count / 2) / count) as u8
    };
    let mut out = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact(shape.count()) {
        for i in 0..shape.count() {
            out.push(one(
                image,
                i / channels / width,
                i / channels % width,
                i % channels,
            ));
        }
    }
    out
}

/// Numbers in [0, 1] as 8-bit images, as data has them.
pub fn as_images(values: &[f32], shape: ImageShape, name: &str) -> Dataset {
    let byte = |x: &f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
    Dataset {
        name: name.to_owned(),
        shape,
        values: Data::U8(values.iter().map(byte).collect()),
        labels: None,
        classes: Vec::new(),
        views: None,
    }
}

/// What of a model is judged against data: samples, of one class or of the classes in turn, or, of a model that has none, what it makes of the
/// data itself.
///
/// # Errors
/// When the model has neither.
pub fn made_by(
    evaluator: &mut Evaluator,
    model: &dyn Model,
    held_out: &Dataset,
    count: usize,
    class: Option<usize>,
) -> Result<(&'static str, Dataset)> {
    let shape = held_out.shape;
    if model.sampling(1).is_err() {
        let data = held_out.select(&(0..count.min(held_out.rows())).collect::<Vec<_>>());
        let mut images = Vec::new();
        let width = shape.count();
        let build = |data: &crate::models::DataType, batch: usize| model.encoding(data, batch);
        evaluator.over(&data, 1, build, &["images"], |_, real, values| {
            images.extend_from_slice(&values[0].data.to_f32()[..real * width]);
        })?;
        let made = as_images(&images, shape, "reconstructions");
        return Ok((
            "reconstructions",
            Dataset {
                labels: data.labels,
                ..made
            },
        ));
    }
    let start = Start::of_examples(model, held_out, count)?;
    let mut nothing = |_, _: &dyn Executable| Ok(());
    let drawn = evaluator.samples_from(model, count, class, &start, &mut nothing)?;
    let Samples { images, labels, .. } = drawn;
    // What is made of an example is of the example's class.
    let of_examples = !start.given.is_empty() && class.is_none();
    let labels = match held_out.labels.as_ref().filter(|_| of_examples) {
        Some(own) => own.iter().copied().cycle().take(count).collect(),
        None => labels,
    };
    let made = as_images(&images, shape, "samples");
    Ok((
        "samples",
        Dataset {
            labels: (!labels.is_empty()).then_some(labels),
            ..made
        },
    ))
}
