//! A kernel as `wgen shaders` writes it, and its translation as wgpu-hal 30.0.1 makes it.

use std::path::Path;

use naga::back::{hlsl, pipeline_constants, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{
    Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator,
};

/// What wgpu-hal would know of the device.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    pub lang_version: (u8, u8),
    pub subgroup: bool,
    pub f16: bool,
    pub f16_io: bool,
    pub robust_buffer_access2: bool,
    pub robust_image_access: bool,
    pub integer_dot_product: bool,
    pub int8: bool,
    pub qualcomm: bool,
    pub cooperative_matrix: bool,
}

impl Abilities {
    /// A device that can do everything that a kernel may ask for.
    pub fn everything(lang_version: (u8, u8)) -> Self {
        Self {
            lang_version,
            subgroup: true,
            f16: true,
            robust_image_access: true,
            cooperative_matrix: lang_version >= (1, 6),
            ..Self::default()
        }
    }
}

/// A kernel in SPIR-V.
pub struct Kernel {
    pub words: Vec<u32>,
    pub entry: String,
    /// Binding, and what descriptor it takes.
    pub bindings: Vec<(u32, Descriptor)>,
    pub invocations: u32,
    /// Bytes of workgroup memory as WGSL lays it out.
    pub workgroup_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    Storage,
    Uniform,
    Image,
}

/// The text of a file, and what of it makes the kernel: everything but the notes in front, whose `constants` do.
pub struct Source {
    pub text: String,
    constants: Vec<(String, f64)>,
}

impl Source {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("// constants: "));
        let list = line.and_then(|l| l.split("];").next()).unwrap_or_default();
        // [("WORKGROUP", 64.0)]
        let pairs = list.split('(').skip(1).filter_map(|pair| {
            let (name, value) = pair.split(')').next()?.split_once(',')?;
            let value = value.trim().parse().ok()?;
            Some((name.trim().trim_matches('"').to_owned(), value))
        });
        let constants = pairs.collect();
        Ok(Self { text, constants })
    }

    /// The same for every file that makes the same kernel: FNV-1a, 64 bits, of it and of `with`.
    pub fn key(&self, with: &str) -> String {
        let body = self.text.split_once("\n\n").map_or("", |(_, body)| body);
        let all = format!("{with}\n{:?}\n{body}", self.constants);
        let hash = all.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// Checked, with constants in their places.
    fn module(&self, has: &Abilities) -> Result<(naga::Module, ModuleInfo, String), String> {
        let text = &self.text;
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let mut capabilities = Capabilities::all();
        capabilities.set(Capabilities::SHADER_FLOAT16, has.f16);
        capabilities.set(Capabilities::SUBGROUP, has.subgroup);
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|e| format!("naga: {}", e.emit_to_string(text)))?;
        let entry = module.entry_points.first().ok_or("no entry point")?;
        let entry = entry.name.clone();
        let constants = self.constants.iter().cloned().collect();
        let (module, info) = pipeline_constants::process_overrides(
            &module,
            &info,
            Some((naga::ShaderStage::Compute, &entry)),
            &constants,
        )
        .map_err(|e| format!("constants: {e}"))?;
        Ok((module.into_owned(), info.into_owned(), entry))
    }

    /// As `wgpu_hal::vulkan` does it (`adapter.rs`, `naga_options`; `device.rs`, `compile_stage`), with the checks that wgen asks for: bounds,
    /// where the device does not see to them; no count of a loop's turns, no look at divisors, workgroup memory not zeroed.
    pub fn spirv(&self, has: &Abilities) -> Result<Kernel, String> {
        let (module, info, entry) = self.module(has)?;
        let checked_unless = |hardware_does: bool| match hardware_does {
            true => BoundsCheckPolicy::Unchecked,
            false => BoundsCheckPolicy::Restrict,
        };
        let mut flags = spv::WriterFlags::FORCE_POINT_SIZE;
        flags.set(spv::WriterFlags::LABEL_VARYINGS, !has.qualcomm);
        let options = spv::Options {
            lang_version: has.lang_version,
            flags,
            capabilities: Some(allowed(has).into_iter().collect()),
            bounds_check_policies: BoundsCheckPolicies {
                index: BoundsCheckPolicy::Restrict,
                buffer: checked_unless(has.robust_buffer_access2),
                image_load: checked_unless(has.robust_image_access),
                binding_array: BoundsCheckPolicy::Unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            use_storage_input_output_16: has.f16 && has.f16_io,
            debug_info: None,
            ..spv::Options::default()
        };
        let pipeline = spv::PipelineOptions {
            entry_point: entry.clone(),
            shader_stage: naga::ShaderStage::Compute,
        };
        let words = spv::write_vec(&module, &info, &options, Some(&pipeline))
            .map_err(|e| format!("SPIR-V: {e}"))?;
        let mut layouter = naga::proc::Layouter::default();
        layouter
            .update(module.to_ctx())
            .map_err(|e| e.to_string())?;
        let (mut bindings, mut workgroup_bytes) = (Vec::new(), 0);
        for (_, variable) in module.global_variables.iter() {
            if variable.space == naga::AddressSpace::WorkGroup {
                workgroup_bytes += layouter[variable.ty].size;
            }
            if let Some(place) = &variable.binding {
                let descriptor = match variable.space {
                    naga::AddressSpace::Uniform => Descriptor::Uniform,
                    naga::AddressSpace::Storage { .. } => Descriptor::Storage,
                    _ => Descriptor::Image,
                };
                bindings.push((place.binding, descriptor));
            }
        }
        let [x, y, z] = module.entry_points[0].workgroup_size;
        Ok(Kernel {
            words,
            entry,
            bindings,
            invocations: x * y * z,
            workgroup_bytes,
        })
    }

    /// HLSL as `wgpu_hal::dx12` asks for it, and the name of its entry point. Bindings are as they come: nothing is linked.
    pub fn hlsl(&self) -> Result<(String, String), String> {
        let (module, info, entry) = self.module(&Abilities::everything((1, 6)))?;
        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_2,
            fake_missing_bindings: true,
            restrict_indexing: true,
            force_loop_bounding: false,
            zero_initialize_workgroup_memory: false,
            ..hlsl::Options::default()
        };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((naga::ShaderStage::Compute, entry)),
        };
        let mut text = String::new();
        let reflection = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        let names = reflection.entry_point_names.into_iter();
        let name = names.flatten().next().ok_or("HLSL: no entry point")?;
        Ok((text, name))
    }
}

fn allowed(has: &Abilities) -> Vec<spv::Capability> {
    use spv::Capability as C;
    let mut allowed = vec![
        C::Shader,
        C::Matrix,
        C::Sampled1D,
        C::Image1D,
        C::ImageQuery,
        C::DerivativeControl,
        C::StorageImageExtendedFormats,
    ];
    let mut also = |has: bool, list: &[C]| {
        if has {
            allowed.extend(list);
        }
    };
    also(
        has.subgroup,
        &[
            C::GroupNonUniform,
            C::GroupNonUniformVote,
            C::GroupNonUniformArithmetic,
            C::GroupNonUniformBallot,
            C::GroupNonUniformShuffle,
            C::GroupNonUniformShuffleRelative,
            C::GroupNonUniformQuad,
        ],
    );
    also(has.f16, &[C::Float16]);
    also(
        has.integer_dot_product,
        &[
            C::DotProductInputAllKHR,
            C::DotProductInput4x8BitKHR,
            C::DotProductInput4x8BitPackedKHR,
            C::DotProductKHR,
        ],
    );
    also(has.int8, &[C::Int8]);
    also(
        has.cooperative_matrix,
        &[C::CooperativeMatrixKHR, C::VulkanMemoryModel],
    );
    allowed
}
