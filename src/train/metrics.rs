//! `metrics.jsonl`, and the search for the tensor that stopped being finite.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::feed::Feed;
use super::session::Session;
use super::{Training, folder};
use crate::data::epoch_order;
use crate::error::{Error, Result};
use crate::graph::interpreter::{Known, evaluate};
use crate::graph::op::EvalContext;
use crate::graph::ops::leaf::LeafKind;
use crate::graph::update::Update;
use crate::graph::{NodeId, Sink};
use crate::kernels::SCHEDULE_COLUMNS;
use crate::kernels::philox::RandomState;
use crate::models::{DataType, Model};
use crate::plan::program::Flat;
use crate::real::Precision;
use crate::tensor::{Data, Value};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done.
    pub step: u64,
    /// Figures by name.
    #[serde(flatten)]
    pub values: serde_json::Map<String, serde_json::Value>,
}

/// The file, open for appending.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    last: serde_json::Map<String, serde_json::Value>,
}

/// All records of a file.
///
/// # Errors
/// When it cannot be read. A last line that was cut short is passed over.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

impl Metrics {
    /// Opens the file and cuts it back to records up to `step`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let kept: Vec<Record> = read(path)?.into_iter().filter(|r| r.step <= step).collect();
        let mut text = String::new();
        for record in &kept {
            text.push_str(
                &serde_json::to_string(record).map_err(|e| Error::format(path, e.to_string()))?,
            );
            text.push('\n');
        }
        folder::write_synced(path, text.as_bytes())?;
        let file = File::options()
            .append(true)
            .open(path)
            .map_err(|e| Error::io(path, e))?;
        let last = kept
            .into_iter()
            .next_back()
            .map(|r| r.values)
            .unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            file,
            last,
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let mut line =
            serde_json::to_string(record).map_err(|e| Error::format(&self.path, e.to_string()))?;
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| Error::io(&self.path, e))?;
        self.last = record.values.clone();
        Ok(())
    }

    /// Brings all lines to the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, e))
    }

    /// The figures of the newest line.
    pub fn last(&self) -> serde_json::Map<String, serde_json::Value> {
        self.last.clone()
    }
}

/// Computes step `step` on the CPU in f64 from the session's weights, and names the first node whose value an f32 cannot hold.
pub(super) fn first_fault(
    model: &dyn Model,
    session: &Session,
    feed: &Feed,
    training: &Training,
    step: u64,
    schedule: [f32; SCHEDULE_COLUMNS],
) -> Result<Option<(String, String)>> {
    let weights = session.read(Flat::Parameters)?;
    for (parameter, tensor) in session.layout().parameters.iter().zip(&weights) {
        if let Some(i) = tensor.iter().position(|x| !x.is_finite()) {
            return Ok(Some((
                format!("parameter '{}'", parameter.name),
                format!("{} at {i}", tensor[i]),
            )));
        }
    }
    let dataset = feed.dataset();
    let per_epoch = feed.steps_per_epoch();
    let order = epoch_order(dataset.rows(), training.seed, step / per_epoch);
    let first = (step % per_epoch) as usize * training.batch;
    let batch = feed.batch_of(step);
    let rows: Vec<usize> = order[first..first + batch]
        .iter()
        .map(|&r| r as usize)
        .collect();
    let part = dataset.select(&rows);
    let data = DataType {
        rows: batch,
        indices: batch,
        ..feed.data_type()
    };
    let update = Update {
        rule: training.optimizer,
        max_norm: 0.0,
        ema: false,
        metrics: model.metrics(),
        batch,
    };
    let graph = model.training(&data, &update)?;
    let nodes = graph.nodes();
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: training.seed,
            step,
            cursor: 0,
        },
    };
    let mut known = Known::new();
    for (i, node) in nodes.iter().enumerate() {
        let Some(leaf) = node.op.as_leaf() else {
            continue;
        };
        let data = match (&leaf.kind, leaf.name.as_str()) {
            (LeafKind::Input, "data") => part.values.clone(),
            (LeafKind::Input, "index") => Data::U32((0..batch as u32).collect()),
            (LeafKind::Parameter, name) => match session.layout().find(name) {
                Some(position) => Data::F32(weights[position].clone()),
                None => continue,
            },
            (LeafKind::Schedule(column), _) => Data::F32(vec![schedule[*column]]),
            _ => continue,
        };
        let value = Value::new(node.ty.shape.clone(), data.in_precision(Precision::F64))?;
        known.insert(NodeId(i as u32), Arc::new(value));
    }
    for (i, node) in nodes.iter().enumerate() {
        let id = NodeId(i as u32);
        let value = evaluate(&nodes, &[id], &known, &cx)?.remove(0);
        let beyond = |x: &f64| !x.is_finite() || x.abs() > f64::from(f32::MAX);
        if let Some(at) = value.data.to_f64().iter().position(beyond) {
            let x = value.data.to_f64()[at];
            let name = node
                .op
                .as_leaf()
                .map_or(String::new(), |l| format!(" '{}'", l.name));
            return Ok(Some((
                format!("{}{name} (node {i}, {:?})", node.op.name(), node.ty.shape),
                format!("{x:e} at element {at}"),
            )));
        }
        known.insert(id, value);
    }
    // Every value fits, but the sum of the gradients' squares may not.
    let mut total = 0.0;
    let mut largest = (String::new(), 0.0);
    for (sink, id) in graph.sinks() {
        if let Sink::Gradient(name) = sink {
            let squares: f64 = known[&id].data.to_f64().iter().map(|x| x * x).sum();
            total += squares;
            if squares > largest.1 {
                largest = (name, squares);
            }
        }
    }
    let overflows = total > f64::from(f32::MAX);
    let detail = format!("its squares sum to {:e}, beyond f32", largest.1);
    Ok(overflows.then(|| (format!("gradient of '{}'", largest.0), detail)))
}
