//! Expanded kernels in other languages, by naga: for people who take one home, and for the test that every kernel reaches every
//! backend.
//!
//! ```
//! use wgen::kernels::{Kernel, cast::Cast};
//! use wgen::program::template::Templates;
//! use wgen::program::translate::{Target, translate};
//! use wgen::tensor::DType;
//!
//! let launch = Cast { count: 100, from: DType::U8, to: DType::F32 }.launch();
//! let wgsl = Templates::embedded().expand(&launch)?;
//! let metal = translate(&wgsl, &launch, Target::Msl)?;
//! assert!(String::from_utf8_lossy(&metal).contains("kernel void convert("));
//! let spirv = translate(&wgsl, &launch, Target::Spirv)?;
//! assert_eq!(spirv[..4], 0x0723_0203_u32.to_ne_bytes()); // SPIR-V's magic number
//! # Ok::<(), wgen::Error>(())
//! ```

use naga::back;
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use crate::error::{Error, Result};
use crate::kernels::Launch;

/// A shading language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Target {
    /// SPIR-V 1.3, with cooperative matrices 1.6, as bytes.
    Spirv,
    /// Metal 2.4.
    Msl,
    /// HLSL, shader model 6.0.
    Hlsl,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spirv, Self::Msl, Self::Hlsl];

    /// The ending of its files.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Spirv => "spv",
            Self::Msl => "metal",
            Self::Hlsl => "hlsl",
        }
    }
}

/// Validates an expanded kernel with naga and translates it, its `override` constants set as `launch` says.
///
/// # Errors
/// When it is not valid, or the target cannot express it.
pub fn translate(source: &str, launch: &Launch, target: Target) -> Result<Vec<u8>> {
    let fail = |message: String| Error::Shader {
        name: launch.template.to_owned(),
        message,
    };
    if launch.is_cooperative() && target == Target::Hlsl {
        return Err(fail(
            "HLSL has no cooperative matrices, nor has DX12 in wgpu".to_owned(),
        ));
    }
    let module =
        naga::front::wgsl::parse_str(source).map_err(|e| fail(e.emit_to_string(source)))?;
    let mut capabilities = Capabilities::empty();
    if launch.is_half() {
        capabilities |= Capabilities::SHADER_FLOAT16;
    }
    if launch.is_cooperative() {
        capabilities |= Capabilities::COOPERATIVE_MATRIX;
    }
    if launch.subgroups {
        capabilities |= Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| fail(e.emit_to_string(source)))?;
    let constants = launch
        .constants
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let (module, info) =
        back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .map_err(|e| fail(format!("{e:?}")))?;
    match target {
        Target::Spirv => {
            let options = back::spv::Options {
                // Cooperative matrices want the Vulkan memory model.
                lang_version: if launch.is_cooperative() {
                    (1, 6)
                } else {
                    (1, 3)
                },
                ..back::spv::Options::default()
            };
            back::spv::write_vec(&module, &info, &options, None)
                .map(|words| bytemuck::cast_slice(&words).to_vec())
                .map_err(|e| fail(format!("to SPIR-V: {e}")))
        }
        Target::Msl => {
            let options = back::msl::Options {
                lang_version: (2, 4),
                fake_missing_bindings: true,
                ..back::msl::Options::default()
            };
            let pipeline = back::msl::PipelineOptions::default();
            back::msl::write_string(&module, &info, &options, &pipeline)
                .map(|(text, _)| text.into_bytes())
                .map_err(|e| fail(format!("to MSL: {e}")))
        }
        Target::Hlsl => {
            let options = back::hlsl::Options {
                shader_model: back::hlsl::ShaderModel::V6_0,
                fake_missing_bindings: true,
                ..back::hlsl::Options::default()
            };
            let pipeline = back::hlsl::PipelineOptions::default();
            let mut text = String::new();
            back::hlsl::Writer::new(&mut text, &options, &pipeline)
                .write(&module, &info, None)
                .map_err(|e| fail(format!("to HLSL: {e}")))?;
            Ok(text.into_bytes())
        }
    }
}
