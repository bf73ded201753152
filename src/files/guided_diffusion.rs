//! Files of guided-diffusion (Dhariwal & Nichol 2021): a `.pt` of weights that says nothing of its model. [`crate::Run::open`] takes such a file
//! itself where it is one of those that were published; [`convert`] makes a folder of any, which diffusers opens too where it has such a network.
//!
//! ```
//! use wgen::Run;
//! use wgen::files::guided_diffusion::{Untold, convert};
//! # use wgen::files::weights::{to_file, write_tensors};
//! # use wgen::models::diffusion::process::BetaSchedule;
//! # use wgen::models::diffusion::{Denoiser, adm::{Config, UNetConfig, UNetModel}};
//! # use wgen::nn::init::draw;
//! # use wgen::tensor::ImageShape;
//! # let dir = tempfile::tempdir().unwrap();
//! # let (file, folder) = (dir.path().join("ema_0.9999_300000.pt"), dir.path().join("mine"));
//! # let network = Config { channel_mult: vec![1.0, 2.0], num_res_blocks: 1, attention_resolutions: vec![], ..Config::of(32) };
//! # let image = ImageShape { height: 16, width: 16, channels: 3 };
//! # let net = UNetModel::new(UNetConfig::of(image, network))?;
//! # let weights: Vec<_> = net.parameters().iter().map(|p| draw(p, 0)).collect();
//! # write_tensors(&file, &to_file(&net.parameters(), &weights, ""))?;
//!
//! // One's own network: what its names and shapes leave open has to be said.
//! let error = convert(&file, Untold::default(), &folder).unwrap_err().to_string();
//! assert!(error.contains("saying `image_size`, `num_head_channels` or `num_heads`"), "{error}");
//! let untold = Untold {
//!     image_size: Some(16),
//!     num_heads: Some(4),
//!     use_new_attention_order: Some(false),
//!     beta_schedule: Some(BetaSchedule::Linear),
//!     ..Untold::default()
//! };
//! let converted = convert(&file, untold, &folder)?;
//! assert_eq!((converted.published, converted.for_diffusers), (None, Ok(())));
//! assert_eq!(Run::open(&folder)?.image(), image);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, View};

use super::found::{self, Values};
use super::synced::{write_new, write_synced};
use super::{Config, Training, diffusers};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;
use crate::models::Model;
use crate::models::diffusion::adm::names::{Renamed, Rows, as_unet2d, renamed};
use crate::models::diffusion::{Diffusion, Network};
pub use crate::models::published::Untold;
use crate::models::published::{self, Published};

/// The configuration of a file.
///
/// # Errors
/// When it cannot be read, or is none of guided-diffusion's published files.
pub(crate) fn read_config(path: &Path) -> Result<Config> {
    let (model, known) = model(path, Untold::default())?;
    log::info!("{}: {}", path.display(), words(known));
    config_of(path, model, known)
}

fn words(known: Option<&Published>) -> String {
    match known {
        Some(known) => format!("guided-diffusion's {}", known.name),
        None => "a network of guided-diffusion's kind".to_owned(),
    }
}

fn model(path: &Path, untold: Untold) -> Result<(Arc<dyn Model>, Option<&'static Published>)> {
    let shapes = found::file(path.to_owned())?.shapes()?;
    let named: BTreeMap<&str, &[usize]> = shapes.iter().map(|(n, s)| (&n[..], &s[..])).collect();
    if !published::is_adm(&named) {
        return Err(Error::format(
            path,
            "holds weights, and none of a network of guided-diffusion, which are known by their names; weights of other models are read from a \
             folder, as model.safetensors or model.pt beside the config.json of such a model",
        ));
    }
    published::model(&named, untold).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
}

fn config_of(
    path: &Path,
    model: Arc<dyn Model>,
    known: Option<&'static Published>,
) -> Result<Config> {
    let as_any = model.as_any();
    let image = if let Some(diffusion) = as_any.downcast_ref::<Diffusion>() {
        diffusion.config().image
    } else if let Some(noised) =
        as_any.downcast_ref::<crate::models::noised_classifier::NoisedClassifier>()
    {
        noised.config().image
    } else {
        return Err(Error::format(path, "holds a model without images"));
    };
    let data = match known {
        Some(known) => format!("guided-diffusion's, {}", known.name),
        None => "guided-diffusion's".to_owned(),
    };
    let config = Config::new(model, image, data, Training::default());
    config
        .check()
        .map_err(|e| Error::format(path, e.to_string()))?;
    Ok(config)
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The published file that it is, if it is one.
    pub published: Option<&'static str>,
    /// Tensors of the folder's file of weights.
    pub tensors: usize,
    /// Parameters of the network.
    pub parameters: usize,
    /// Whether the folder is one that diffusers opens (`UNet2DModel.from_pretrained(FOLDER, subfolder="unet")`; without classes it is a
    /// `DDPMPipeline`), or why diffusers has no such network.
    pub for_diffusers: std::result::Result<(), String>,
}

/// Makes a folder of a file: one that diffusers opens too, with diffusers' names, where it has such a network, else a run folder with
/// guided-diffusion's names. Tensors are read and written one at a time.
///
/// # Errors
/// When the file cannot be read or is no network of guided-diffusion; when something that its names and shapes leave open is known neither of
/// published files nor from `untold`; when the folder is there already and not empty, or cannot be written.
pub fn convert(path: &Path, untold: Untold, folder: &Path) -> Result<Converted> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(Error::Usage(format!(
            "{}: is there already; choose another `folder`",
            folder.display()
        )));
    }
    let was_there = folder.exists();
    let (model, known) = model(path, untold)?;
    let layout = Layout::new(model.parameters(), u64::MAX)?;
    let values = found::file(path.to_owned())?.checked(&layout, |name| name)?;
    let config = config_of(path, model, known)?;
    let diffusion = config.model.as_any().downcast_ref::<Diffusion>();
    let network = diffusion.map(|d| (d.config(), &d.config().network));
    let for_diffusers = match network {
        Some((diffusion, Network::Adm(adm))) => as_unet2d(adm).map(|unet| (diffusion, adm, unet)),
        _ => Err("a classifier of noised images".to_owned()),
    };
    let shapes: BTreeMap<&str, Vec<usize>> = layout
        .parameters
        .iter()
        .map(|p| (&p.name[..], p.file_shape().dims().to_vec()))
        .collect();
    let own = |(name, shape): (&&str, &Vec<usize>)| Piece {
        name: (*name).to_owned(),
        source: (*name).to_owned(),
        shape: shape.clone(),
        rows: None,
    };
    let (to, pieces) = match &for_diffusers {
        Ok((_, adm, _)) => {
            let pieces = renamed(adm).into_iter();
            let pieces = pieces.filter_map(|r| {
                let from = shapes.get(&r.source[..])?;
                Some(Piece::of_diffusers(r, from))
            });
            (folder.join(diffusers::UNET_WEIGHTS), pieces.collect())
        }
        Err(_) => (
            folder.join("model.safetensors"),
            shapes.iter().map(own).collect::<Vec<_>>(),
        ),
    };
    // Last what makes it a model's folder.
    write(&to, values, &pieces).inspect_err(|_| {
        let inside = |p: &&Path| p.starts_with(folder) && !(was_there && *p == folder);
        for made in to.ancestors().skip(1).take_while(inside) {
            fs::remove_dir(made).ok();
        }
    })?;
    match &for_diffusers {
        Ok((diffusion, _, unet)) => diffusers::write_about(folder, diffusion, unet)?,
        Err(_) => {
            let text = serde_json::to_string_pretty(&config)
                .map_err(|e| Error::format(folder, e.to_string()))?;
            write_synced(&folder.join("config.json"), text.as_bytes())?;
        }
    }
    Ok(Converted {
        published: known.map(|p| p.name),
        tensors: pieces.len(),
        parameters: layout.parameters.iter().map(|p| p.shape.count()).sum(),
        for_diffusers: for_diffusers.map(|_| ()),
    })
}

/// A tensor to be written.
struct Piece {
    name: String,
    source: String,
    shape: Vec<usize>,
    rows: Option<Rows>,
}

impl Piece {
    /// Convolutions of one pixel are linear layers in diffusers' attention, a third of the rows of `qkv` each.
    fn of_diffusers(renamed: Renamed, from: &[usize]) -> Self {
        let attention = renamed.name.contains(".attentions.");
        let axes = if attention { 2 } else { from.len() };
        let mut shape: Vec<usize> = from.iter().copied().take(axes).collect();
        if renamed.rows.is_some()
            && let Some(rows) = shape.first_mut()
        {
            *rows /= 3;
        }
        Self {
            name: renamed.name,
            source: renamed.source,
            shape,
            rows: renamed.rows,
        }
    }
}

/// A tensor that is read when its turn comes.
struct Lazy<'a> {
    piece: &'a Piece,
    values: &'a RefCell<Values>,
    /// What went wrong: a view cannot say it.
    error: &'a RefCell<Option<Error>>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.piece.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let read = self.values.borrow_mut().read(&self.piece.source);
        let values = match read {
            Ok(values) => match self.piece.rows {
                Some(rows) => rows.of(&values, self.piece.shape[0]),
                None => values,
            },
            Err(error) => {
                self.error.borrow_mut().get_or_insert(error);
                vec![0.0; self.data_len() / 4]
            }
        };
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        Cow::Owned(bytes.collect())
    }

    fn data_len(&self) -> usize {
        self.piece.shape.iter().product::<usize>() * 4
    }
}

/// Writes the pieces.
fn write(path: &Path, values: Values, pieces: &[Piece]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    let (values, error) = (RefCell::new(values), RefCell::new(None));
    let views = pieces.iter().map(|piece| {
        let view = Lazy {
            piece,
            values: &values,
            error: &error,
        };
        (piece.name.clone(), view)
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_new(path, |temporary| {
        let written = safetensors::serialize_to_file(views, Some(metadata), temporary);
        match error.take() {
            Some(error) => Err(error),
            None => written.map_err(|e| Error::format(path, e.to_string())),
        }
    })
}
