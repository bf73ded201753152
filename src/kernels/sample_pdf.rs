//! The fine samples of NeRF, where the coarse ones weigh most, merged with these: `shaders/sample_pdf.wgsl`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::sample_pdf::SamplePdf;
//! use wgen::tensor::Data;
//!
//! // All weight lies at the middle one of five depths: between 2.5 and 3.5, the middles of its neighbours.
//! let kernel = SamplePdf::new(&Caps::portable(), 1, 5, 3, false)?;
//! let [z, weights, out] = [vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![0.0, 0.0, 1.0, 0.0, 0.0], vec![0.0; 8]].map(Data::F64);
//! let mut buffers = [z, weights, out];
//! kernel.reference(&mut buffers);
//! // The ends of [0, 1] are the ends of what is sampled.
//! let expected = [1.0, 1.5, 2.0, 3.0, 3.0, 4.0, 4.5, 5.0];
//! for (x, expected) in buffers[2].to_f64().iter().zip(expected) {
//!     assert!((x - expected).abs() < 1e-9);
//! }
//! # Ok::<(), wgen::Error>(())
//! ```

use serde_json::json;

use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// `[rays, samples + count]` of depths and weights `[rays, samples]`.
#[derive(Clone, Debug)]
pub struct SamplePdf {
    /// Rays.
    pub rays: usize,
    /// Coarse samples of each; at least 3.
    pub samples: usize,
    /// Fine samples of each.
    pub count: usize,
    /// Whether the numbers that are looked up in the distribution are an operand; else they are evenly spaced on [0, 1].
    pub given: bool,
    /// Invocations that share a ray.
    pub workgroup: u32,
}

impl SamplePdf {
    /// For a device.
    ///
    /// # Errors
    /// When there are too few coarse samples to have a distribution, or more samples than workgroup memory holds.
    pub fn new(
        caps: &Caps,
        rays: usize,
        samples: usize,
        count: usize,
        given: bool,
    ) -> Result<Self> {
        let wrong = |why: String| Err(Error::shape("sample_pdf", why));
        if samples < 3 || count == 0 {
            return wrong(format!(
                "{samples} samples and {count} more of a ray: at least 3 make a distribution, of which at least 1 is drawn"
            ));
        }
        // What every device has: plans are the same everywhere.
        let most = Caps::portable().workgroup_bytes as usize / 4;
        if 2 * samples + count > most {
            return wrong(format!(
                "{samples} samples and {count} more of a ray: twice the first and the second may be {most} together"
            ));
        }
        Ok(Self {
            rays,
            samples,
            count,
            given,
            workgroup: if caps.software { 8 } else { 64 },
        })
    }

    /// Samples of a ray in the result.
    pub fn merged(&self) -> usize {
        self.samples + self.count
    }
}

impl Kernel for SamplePdf {
    fn family(&self) -> &'static str {
        "sample_pdf"
    }

    fn variant(&self) -> String {
        let given = if self.given { "given" } else { "even" };
        format!(
            "{} + {}, {given}, {} a ray",
            self.samples, self.count, self.workgroup
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let coarse = self.rays * self.samples;
        let mut bindings = vec![
            Binding::read("z", DType::F32, coarse),
            Binding::read("weights", DType::F32, coarse),
        ];
        if self.given {
            let uniforms = self.rays * self.count;
            bindings.push(Binding::read("uniforms", DType::F32, uniforms));
        }
        bindings.push(Binding::write("out", DType::F32, self.rays * self.merged()));
        bindings
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "sample_pdf",
            entry: "sample_pdf",
            context: json!({
                "given": self.given,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![
                ("WORKGROUP", f64::from(self.workgroup)),
                ("SAMPLES", self.samples as f64),
                ("COUNT", self.count as f64),
                ("MERGED", self.merged() as f64),
            ],
            params: vec![self.rays as u32, 0],
            workgroups: fold(self.rays as u64),
            grid: Grid::Line { first: 1 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let merged = self.merged() as f64;
        Cost {
            flops: self.rays as f64 * merged * merged,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
