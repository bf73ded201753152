//! A report as one self-contained page.

use super::{Bounds, Report};
use crate::error::Result;
use crate::report::roofline::{self, Roofline};

impl Report {
    /// The roofline plot and the table behind it, as HTML. Nothing in it is fetched from elsewhere.
    ///
    /// # Errors
    /// When the plot cannot be drawn.
    pub fn page(&self) -> Result<String> {
        let lines = self.lines.iter().map(|line| roofline::Line {
            name: line.name.clone(),
            variant: line.variant.clone(),
            best: line.best,
            median: line.median,
            flops: line.flops,
            bytes: line.bytes,
            gflops: line.gflops,
            gbytes: line.gbytes,
            share: line.share,
            bound: match line.bound {
                Bounds::Compute => "compute".to_owned(),
                Bounds::Memory => "memory".to_owned(),
            },
            right: line.right,
        });
        roofline::page(&Roofline {
            name: self.adapter.name.clone(),
            backend: self.adapter.backend.clone(),
            kind: self.adapter.kind.clone(),
            driver: self.adapter.driver.clone(),
            version: self.wgen.clone(),
            gflops: self.ceilings.flops / 1e9,
            gbytes: self.ceilings.bytes / 1e9,
            working_set: self.ceilings.working_set,
            rounds: self.rounds,
            clock: format!("{:?}", self.clock),
            lines: lines.collect(),
        })
    }
}
