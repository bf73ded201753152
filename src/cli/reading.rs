//! Data that a command is given: how it is read, by a run's own configuration where there is one, and what is said of it.

use clap::Args;
use serde_json::{Value, json};

use super::common::{Output, spec};
use super::flags::message;
use super::posed::SceneArguments;
use super::said::{counted, lines, shown, used};
use crate::data::held_out::HeldOut;
use crate::data::idx::Part;
use crate::data::images::{self, Background, Options};
use crate::data::report::Used;
use crate::data::scene;
use crate::data::{Dataset, Loaded, Reading, Report, Spec};
use crate::error::{Error, Result};
use crate::files::Config;
use crate::run::Run;
use crate::tensor::ImageShape;

fn background(text: &str) -> Result<Background, String> {
    text.parse().map_err(|error| message(&error))
}

fn held_out(text: &str) -> Result<HeldOut, String> {
    text.parse().map_err(|error| message(&error))
}

/// How the pictures of a folder are read; where a run is given, it knows.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ReadingArguments {
    /// Resize the pictures of a folder to squares of this many pixels, oblong ones stretched
    #[arg(long)]
    size: Option<u32>,
    /// Read the pictures of a folder as grey
    #[arg(long)]
    grey: bool,
    /// Take the square in the middle of oblong pictures instead of stretching them
    #[arg(long)]
    crop: bool,
    /// What transparent pictures are composed over: white, black or RRGGBB [default: white]
    #[arg(long, value_name = "COLOUR", value_parser = background)]
    background: Option<Background>,
    /// Pass over pictures that cannot be decoded, instead of refusing the folder
    #[arg(long)]
    skip_broken: bool,
    /// Keep this share of a folder's pictures, or so many, away from training [default: 0.1 from 50 pictures on, unless the folder has test/]
    #[arg(long, value_name = "SHARE|COUNT", value_parser = held_out)]
    held_out: Option<HeldOut>,
    /// The seed that they are drawn by [default: 0]
    #[arg(long, value_name = "SEED")]
    held_out_seed: Option<u64>,
    #[command(flatten)]
    scene: SceneArguments,
}

/// Data, and how it is read.
#[derive(Debug, Args)]
pub(super) struct DataArguments {
    /// digits[:COUNT], toy:ring8|moons|swissroll[:COUNT], idx:DIR, images:DIR, scene:DIR or analytic[:VIEWS]
    #[arg(long, value_parser = spec)]
    pub(super) data: Spec,
    #[command(flatten)]
    pub(super) reading: ReadingArguments,
}

/// Data that a run was given, and what it is to that run.
pub(super) struct Given {
    pub(super) data: Dataset,
    report: Report,
    seen: Seen,
    /// Of a folder whose held-out part is drawn anew: whether other files lie there than when the run was trained.
    changed: bool,
}

/// Whether a run was trained on what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It was kept away from training, or is a part of its own.
    HeldOut,
    /// It was trained on it.
    Trained,
    /// It is of another folder than the run's.
    Other,
}

impl ReadingArguments {
    /// Refuses what says how pictures are read, of data that is no folder of pictures or no scene: it would do nothing.
    fn check(&self, spec: &Spec) -> Result<()> {
        let of_scenes = [
            ("scene_scale", self.scene.scene_scale.is_some()),
            ("scene_downscale", self.scene.downscale.is_some()),
            ("scene_format", self.scene.scene_format.is_some()),
        ];
        let first = of_scenes.iter().find(|(_, given)| *given);
        if let (Some((field, _)), false) = (first, matches!(spec, Spec::Scene(_))) {
            let message =
                format!("is for posed pictures (scene:DIR), which {spec} is not: leave it out");
            return Err(Error::field(field, message));
        }
        let given = [
            ("size", self.size.is_some()),
            ("grey", self.grey),
            ("crop", self.crop),
            ("background", self.background.is_some()),
            ("skip_broken", self.skip_broken),
            ("held_out", self.held_out.is_some()),
            ("held_out_seed", self.held_out_seed.is_some()),
        ];
        // The pictures of a scene may be broken, too.
        let counts = |field: &str| field == "skip_broken" && matches!(spec, Spec::Scene(_));
        let first = given.iter().find(|(field, given)| *given && !counts(field));
        match (spec, first) {
            (Spec::Images(_), _) | (_, None) => Ok(()),
            (Spec::Scene(_), Some((field, _))) => Err(Error::field(
                field,
                "is for folders of pictures (images:DIR); the pictures of a scene are read as they are, with their alpha, its parts by its lists: leave it out",
            )),
            (Spec::Idx(_), Some((field, _))) => Err(Error::field(
                field,
                "is for folders of pictures (images:DIR); the files of idx:DIR are read as they are, a part to test on among them: leave it out",
            )),
            (_, Some((field, _))) => Err(Error::field(
                field,
                format!(
                    "is for folders of pictures (images:DIR); {spec} is drawn by the program: leave it out"
                ),
            )),
        }
    }

    /// What they say, for data of no run.
    pub(super) fn options(&self, spec: &Spec) -> Result<Options> {
        self.check(spec)?;
        Ok(Options {
            size: self.size,
            grey: self.grey,
            crop: self.crop,
            background: self.background.unwrap_or_default(),
            skip_broken: self.skip_broken,
            held_out: match self.held_out {
                Some(given) => given,
                None => spec.usually_held_out()?,
            },
            held_out_seed: self.held_out_seed.unwrap_or(0),
            ..self.scene.options()
        })
    }

    /// How a run read its data, with what is given here; and what contradicts the run, though it can be done.
    pub(super) fn of_run(&self, config: &Config) -> Result<(Options, Vec<String>)> {
        let (run, image) = (config.reading.images, config.image);
        let square = (image.width == image.height).then_some(image.width as u32);
        if let Some(size) = self.size.filter(|&s| square != Some(s)) {
            let message = format!("{size}: {}; leave it out", of_run(image));
            return Err(Error::field("size", message));
        }
        if self.grey && image.channels != 1 {
            let message = format!("cannot be: {}; leave it out", of_run(image));
            return Err(Error::field("grey", message));
        }
        let mut notes = Vec::new();
        let mut differ = |flag: &str, differs: bool, run: &str| {
            if differs {
                notes.push(format!("{flag}: the run was trained {run}"));
            }
        };
        differ(
            "--crop",
            self.crop && !run.crop,
            "on pictures that were not cropped",
        );
        let background = self.background.filter(|b| *b != run.background);
        differ(
            "--background",
            background.is_some(),
            &format!("over {}", run.background),
        );
        let scale = run.scene_scale.unwrap_or(1.0);
        if let Some(other) = self.scene.scene_scale.filter(|s| *s != scale) {
            let message =
                format!("{other}: the run was trained on a scene of scale {scale}; leave it out");
            return Err(Error::field("scene_scale", message));
        }
        let smaller = run.scene_downscale.unwrap_or(1);
        differ(
            "--downscale",
            self.scene.downscale.is_some_and(|n| n != smaller),
            &format!("on pictures made {smaller} times smaller"),
        );
        let options = Options {
            size: run.size.or(square),
            grey: run.grey || image.channels == 1,
            crop: run.crop || self.crop,
            background: self.background.unwrap_or(run.background),
            skip_broken: run.skip_broken || self.skip_broken,
            held_out: self.held_out.unwrap_or(run.held_out),
            held_out_seed: self.held_out_seed.unwrap_or(run.held_out_seed),
            scene_scale: run.scene_scale,
            scene_downscale: self.scene.downscale.or(run.scene_downscale),
            scene_format: self.scene.scene_format.or(run.scene_format),
        };
        Ok((options, notes))
    }
}

impl DataArguments {
    /// The part to train on: of a run that goes on as it began, else as the arguments say.
    pub(super) fn to_train(&self, resumed: Option<&Config>) -> Result<(Loaded, Reading)> {
        let Some(config) = resumed else {
            let options = self.reading.options(&self.data)?;
            let read = self.data.read(Part::Training, &options)?;
            let reading = Reading::of(&read.report, &options);
            return Ok((read, reading));
        };
        self.reading.check(&self.data)?;
        let (options, _) = self.reading.of_run(config)?;
        let run = config.reading.images;
        if (options.crop, options.background) != (run.crop, run.background)
            || (options.held_out, options.held_out_seed) != (run.held_out, run.held_out_seed)
            || (options.scene_downscale, options.scene_format)
                != (run.scene_downscale, run.scene_format)
        {
            return Err(Error::Usage(format!(
                "`resume`: the run reads its pictures {}; leave --crop, --background, --held-out, --held-out-seed, --downscale and --scene-format out",
                how(&run)
            )));
        }
        let mut read = self.data.read(Part::Training, &options)?;
        read.data = numbered(read.data, &config.reading);
        Ok((read, config.reading.clone()))
    }

    /// What a run that was trained on these is judged on while it is trained.
    pub(super) fn to_judge(&self, output: &Output, config: &Config) -> Result<Dataset> {
        let read = self.data.read(Part::Test, &config.reading.images)?;
        let what = match (&self.data, &read.report.used) {
            (Spec::Images(_), Used::All) => "the training pictures: no part is held out".to_owned(),
            _ => used(&read.report),
        };
        output.say(&format!("judged on {what}"));
        Ok(numbered(read.data, &config.reading))
    }

    /// A part of the data for a run, read as the run read its own, and what it is to the run, which is said.
    pub(super) fn for_run(&self, output: &Output, run: &Run, part: Part) -> Result<Given> {
        let given = given(output, &self.data, &self.reading, run, part)?;
        for line in lines(&given.report, given.data.shape) {
            output.say(&line);
        }
        output.say(&format!("data: {}", given.words(run)));
        Ok(given)
    }
}

impl DataArguments {
    /// The part to train on, as real pictures beside which samples are judged.
    pub(super) fn for_anchors(&self, output: &Output, run: &Run) -> Result<Dataset> {
        Ok(given(output, &self.data, &self.reading, run, Part::Training)?.data)
    }
}

/// The class that is asked for, by its name or its number.
pub(super) fn class_of(run: &Run, class: Option<&str>) -> Result<Option<usize>> {
    class
        .map(|text| run.config().reading.class(text))
        .transpose()
}

/// A part of data for a run.
pub(super) fn given(
    output: &Output,
    spec: &Spec,
    arguments: &ReadingArguments,
    run: &Run,
    part: Part,
) -> Result<Given> {
    arguments.check(spec)?;
    let config = run.config();
    let (mut options, notes) = arguments.of_run(config)?;
    for note in notes {
        output.say(&note);
    }
    let own = is_own(spec, config)?;
    if !own && arguments.held_out.is_none() {
        options.held_out = HeldOut::default();
    }
    let Loaded { data, report } = spec.read(part, &options)?;
    if data.shape != config.image {
        return Err(Error::Usage(format!(
            "{spec}: the data is {}, {} values an example; {}, {} values",
            shown(data.shape),
            data.shape.count(),
            of_run(config.image),
            config.image.count()
        )));
    }
    let data = numbered(data, &config.reading);
    let known = config.reading.classes.len();
    if let Some(name) = data
        .classes
        .get(known)
        .filter(|_| known > 0 && run.classes() > 0)
    {
        return Err(Error::Usage(format!(
            "{spec} has examples of the class {name}, which the run was not trained on; it knows {}",
            config.reading.classes.join(", ")
        )));
    }
    let run_images = config.reading.images;
    let as_trained = (options.held_out, options.held_out_seed)
        == (run_images.held_out, run_images.held_out_seed);
    let seen = match &report.used {
        Used::Part(name) if was_trained_on(spec, name, config)? => Seen::Trained,
        Used::Part(_) => Seen::HeldOut,
        _ if !own => Seen::Other,
        Used::HeldOut { .. } if as_trained => Seen::HeldOut,
        _ => Seen::Trained,
    };
    let changed = !matches!(report.used, Used::Part(_))
        && report.folder.is_some()
        && config.reading.folder.is_some()
        && config.reading.folder != report.folder;
    Ok(Given {
        data,
        report,
        seen,
        changed,
    })
}

/// Whether a part to test on is, alone, what a run was trained on.
fn was_trained_on(spec: &Spec, part: &str, config: &Config) -> Result<bool> {
    let Spec::Images(dir) = spec else {
        return Ok(false);
    };
    Ok(config.reading.folder == Some(images::fingerprint(&dir.join(part))?))
}

/// Whether a folder is the one that a run was trained on: by its path, or by what lies in it. Other data is, as far as it goes.
fn is_own(spec: &Spec, config: &Config) -> Result<bool> {
    let (dir, kind, fingerprint) = match spec {
        Spec::Images(dir) => (dir, "images:", images::fingerprint(dir)),
        Spec::Scene(dir) => (
            dir,
            "scene:",
            scene::fingerprint_of(dir, &config.reading.images),
        ),
        _ => return Ok(true),
    };
    let real = |dir: &std::path::Path| std::fs::canonicalize(dir).ok();
    let of_run = config.data.strip_prefix(kind).map(std::path::Path::new);
    if let (Some(here), Some(there)) = (real(dir), of_run.and_then(real))
        && here == there
    {
        return Ok(true);
    }
    Ok(config.reading.folder == Some(fingerprint?))
}

/// Classes have the run's numbers, where it knows their names.
fn numbered(data: Dataset, reading: &Reading) -> Dataset {
    if reading.classes.is_empty() {
        data
    } else {
        data.numbered(&reading.classes)
    }
}

impl Given {
    /// What it is to the run.
    pub(super) fn words(&self, run: &Run) -> String {
        let report = &self.report;
        let reading = &run.config().reading;
        let n = report.examples;
        match (self.seen, &report.used) {
            (Seen::HeldOut, _) => {
                let changed = match (self.changed, reading.of != report.of) {
                    (false, _) => String::new(),
                    (true, true) => format!(
                        "; the folder had {} when the run was trained and has {} now, so some may have been trained on",
                        counted(reading.of, "picture"),
                        report.of
                    ),
                    (true, false) => {
                        "; the folder's files have other names or sizes than when the run was trained, so some may have been trained on"
                            .to_owned()
                    }
                };
                format!("{}{changed}", used(report))
            }
            (Seen::Trained, Used::HeldOut { .. }) => format!(
                "{n} of {}, which the run did not hold out: it was trained {}",
                counted(report.of, "picture"),
                if reading.images.held_out == HeldOut::default() {
                    "on all of them"
                } else {
                    "with another held-out part"
                }
            ),
            (Seen::Trained, Used::All | Used::Part(_)) => format!(
                "the {} that the run was trained on: it holds none out, so these are no held-out figures",
                counted(n, "picture")
            ),
            (Seen::Trained, _) => format!("the {} of the training part", counted(n, "example")),
            (Seen::Other, Used::HeldOut { .. }) => format!(
                "{n} of {} of a folder that is not the run's ({})",
                counted(report.of, "picture"),
                run.data()
            ),
            (Seen::Other, _) => format!(
                "all {} of a folder that is not the run's ({})",
                counted(n, "picture"),
                run.data()
            ),
        }
    }

    /// The same for a machine.
    pub(super) fn json(&self) -> Value {
        json!({
            "used": self.report.used,
            "examples": self.report.examples,
            "of": self.report.of,
            "held_out": match self.seen {
                // Which are held out goes by their names.
                Seen::HeldOut => (!self.changed).then_some(true),
                Seen::Trained => Some(false),
                Seen::Other => None,
            },
        })
    }

    /// Whether the run was trained on it.
    pub(super) fn trained_on(&self) -> bool {
        self.seen == Seen::Trained
    }
}

/// How pictures are read, in words.
fn how(options: &Options) -> String {
    let crop = if options.crop {
        "cropped"
    } else {
        "not cropped"
    };
    format!(
        "{crop}, over {}, {} of them held out by seed {}",
        options.background, options.held_out, options.held_out_seed
    )
}

fn of_run(image: ImageShape) -> String {
    format!("the run was trained on {}", shown(image))
}

/// The first held-out examples of a data set.
pub(super) fn examples(
    output: &Output,
    (flag, spec): (&str, &Spec),
    run: &Run,
    n: usize,
) -> Result<Dataset> {
    let arguments = ReadingArguments::default();
    let given = given(output, spec, &arguments, run, Part::Test)?;
    output.say(&format!("data: {}", given.words(run)));
    let dataset = given.data;
    if dataset.rows() < n {
        return Err(Error::Usage(format!(
            "{flag} has {} examples; {n} are wanted",
            dataset.rows()
        )));
    }
    Ok(dataset.select(&(0..n).collect::<Vec<_>>()))
}
