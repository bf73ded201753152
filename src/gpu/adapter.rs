//! Which adapter: what the environment and the user say, hardware before software.

use serde::{Deserialize, Serialize};

use super::environment;
use crate::error::{Error, Result};
use crate::kernels::{Caps, MAX_WORKGROUPS, devices};

/// What wgen uses where an adapter has it. Nothing here is needed.
pub(super) const USEFUL_FEATURES: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// Which device a computation should run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best adapter; where none is, the caller may fall back to the CPU.
    #[default]
    Auto,
    /// No GPU: the interpreter.
    Cpu,
    /// An adapter by its index in `wgen info`, or by part of its name.
    Named(String),
}

impl std::str::FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            other => Self::Named(other.to_owned()),
        })
    }
}

/// An adapter in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterSummary {
    /// Its name.
    pub name: String,
    /// Vulkan, Metal, Dx12.
    pub backend: String,
    /// DiscreteGpu, IntegratedGpu, VirtualGpu, Cpu, Other.
    pub kind: String,
    /// The driver and its version.
    pub driver: String,
    /// Why it was chosen.
    pub reason: String,
}

impl AdapterSummary {
    pub(super) fn of(info: &wgpu::AdapterInfo, reason: &str) -> Self {
        Self {
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            kind: format!("{:?}", info.device_type),
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Whether it is a CPU pretending to be a GPU.
    pub fn is_software(&self) -> bool {
        self.kind == "Cpu"
    }
}

/// Capabilities as plain numbers.
pub(super) fn caps(
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: &wgpu::Limits,
) -> Caps {
    let subgroups = features.contains(wgpu::Features::SUBGROUP);
    let vendor = vendor(info);
    let size = |n: u32| match (subgroups, vendor) {
        (false, _) => 0,
        // Every GPU of Apple's has SIMD groups of 32; wgpu 30 says 4 to 64 on Metal, which it does not ask.
        (true, devices::APPLE) => 32,
        (true, _) => n,
    };
    Caps {
        software: info.device_type == wgpu::DeviceType::Cpu,
        vendor,
        subgroup_min_size: size(info.subgroup_min_size),
        subgroup_max_size: size(info.subgroup_max_size),
        storage_buffers: limits.max_storage_buffers_per_shader_stage.min(16),
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        invocations: limits
            .max_compute_invocations_per_workgroup
            .min(limits.max_compute_workgroup_size_x),
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroups: limits
            .max_compute_workgroups_per_dimension
            .min(MAX_WORKGROUPS),
        offset_alignment: limits.min_storage_buffer_offset_alignment.max(256),
        f16: features.contains(wgpu::Features::SHADER_F16),
        matrix_units: 0,
        half_products: false,
    }
}

/// Side of the largest square blocks that an adapter's matrix units multiply, f16 with sums in f32; 0 where there are none.
pub(super) fn matrix_units(adapter: &wgpu::Adapter, features: wgpu::Features) -> u32 {
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        .union(wgpu::Features::SHADER_F16)
        .union(wgpu::Features::SUBGROUP);
    if !features.contains(needed) {
        return 0;
    }
    let all = adapter.cooperative_matrix_properties().into_iter();
    let ours = all.filter(|p| {
        [p.n_size, p.k_size] == [p.m_size; 2]
            && p.ab_type == wgpu::CooperativeScalarType::F16
            && p.cr_type == wgpu::CooperativeScalarType::F32
    });
    ours.map(|p| p.m_size).max().unwrap_or(0)
}

/// Apple's GPUs have no vendor on Metal, and that of Mesa on its driver.
fn vendor(info: &wgpu::AdapterInfo) -> u32 {
    if info.name.starts_with("Apple ") {
        return devices::APPLE;
    }
    info.vendor
}

/// Refuses a device on which no portable kernel could run.
pub(super) fn check_floor(caps: &Caps) -> Result<()> {
    match caps.below_floor() {
        None => Ok(()),
        Some((limit_name, limit, needed)) => Err(Error::Limit {
            what: "the borrowed device".to_owned(),
            needed,
            limit_name,
            limit,
            hint: "request it with wgpu::Limits::default() at least".to_owned(),
        }),
    }
}

/// A device with all that wgen makes use of; without what is experimental where the driver refuses it so.
pub(super) fn request(
    adapter: &wgpu::Adapter,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
    let experimental = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let has = adapter.features() & USEFUL_FEATURES;
    let with = |features: wgpu::Features| {
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("wgen"),
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features: if features.contains(experimental) {
                // SAFETY: nothing experimental but cooperative matrices is asked for. What a driver does wrong with them verification looks for, as with
                // all else.
                unsafe { wgpu::ExperimentalFeatures::enabled() }
            } else {
                wgpu::ExperimentalFeatures::disabled()
            },
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        }))
    };
    match with(has) {
        Err(error) if has.contains(experimental) => {
            log::warn!(
                "a device with cooperative matrices was refused ({error}); one without is asked for"
            );
            with(has - experimental)
        }
        other => other,
    }
}

fn instance(backends: wgpu::Backends) -> Result<wgpu::Instance> {
    Ok(wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        backend_options: environment::backend_options()?,
        // Beyond this share of a heap's budget a driver may page, or take the desktop down: an error is better.
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(95),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    }))
}

/// Hardware first, the stronger kinds before the weaker, or those that save power before the stronger.
fn rank(info: &wgpu::AdapterInfo, saves_power: bool) -> u32 {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => u32::from(saves_power),
        wgpu::DeviceType::IntegratedGpu => u32::from(!saves_power),
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn all() -> Result<Vec<wgpu::Adapter>> {
    let (backends, saves_power) = (environment::backends()?, environment::saves_power()?);
    let mut adapters = pollster::block_on(instance(backends)?.enumerate_adapters(backends));
    adapters.retain(|a| a.get_info().backend != wgpu::Backend::Noop);
    adapters.sort_by_key(|a| rank(&a.get_info(), saves_power));
    Ok(adapters)
}

/// Every adapter with what it can do, in the order in which they would be tried. There is none where an environment variable asks for what
/// is not, which the log says.
pub fn list() -> Vec<(AdapterSummary, Caps, Vec<String>)> {
    let row = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        let features = adapter.features();
        let named = [
            (wgpu::Features::SUBGROUP, "subgroup"),
            (wgpu::Features::SHADER_F16, "shader_f16"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamp_query"),
            (wgpu::Features::PIPELINE_CACHE, "pipeline_cache"),
            (
                wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
                "cooperative_matrix",
            ),
        ];
        let names = named
            .iter()
            .filter(|(f, _)| features.contains(*f))
            .map(|(_, n)| (*n).to_owned())
            .collect();
        (
            AdapterSummary::of(&info, ""),
            Caps {
                matrix_units: matrix_units(adapter, features),
                ..caps(&info, features & USEFUL_FEATURES, &adapter.limits())
            },
            names,
        )
    };
    let adapters = all().unwrap_or_else(|error| {
        log::warn!("{error}");
        Vec::new()
    });
    adapters.iter().map(row).collect()
}

/// Opens the adapter that `choice` names.
pub(super) fn open(choice: &Choice) -> Result<(wgpu::Adapter, AdapterSummary)> {
    let adapters = all()?;
    let names = || {
        let lines: Vec<String> = adapters
            .iter()
            .enumerate()
            .map(|(i, a)| format!("{i}: {}", a.get_info().name))
            .collect();
        if lines.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are {}", lines.join("; "))
        }
    };
    let environment =
        environment::variable("WGPU_ADAPTER_NAME").map(|name| name.to_string_lossy().into_owned());
    let (wanted, source) = match choice {
        Choice::Cpu => {
            return Err(Error::Usage(
                "the CPU was asked for, which is no GPU adapter".to_owned(),
            ));
        }
        Choice::Named(name) => (Some(name.clone()), "`device`"),
        Choice::Auto => (environment, "WGPU_ADAPTER_NAME"),
    };
    let (position, reason) = match wanted {
        Some(name) => {
            let lower = name.to_lowercase();
            let by_index = name.parse::<usize>().ok().filter(|&i| i < adapters.len());
            let by_name = || {
                adapters
                    .iter()
                    .position(|a| a.get_info().name.to_lowercase().contains(&lower))
            };
            match by_index.or_else(by_name) {
                Some(position) => (position, format!("{source} is '{name}'")),
                None => {
                    return Err(Error::NoAdapter(format!(
                        "'{name}' ({source}) matches none; {}",
                        names()
                    )));
                }
            }
        }
        None if adapters.is_empty() && environment::variable("WGPU_BACKEND").is_some() => {
            let value = environment::variable("WGPU_BACKEND").unwrap_or_default();
            return Err(Error::NoAdapter(format!(
                "the environment variable WGPU_BACKEND is '{}', and nothing here has that; unset it, correct it or use `device` cpu",
                value.display()
            )));
        }
        None if adapters.is_empty() => {
            return Err(Error::NoAdapter(match environment::drivers_named() {
                Some(named) => format!("no driver was found: {named}, or use `device` cpu"),
                None => "no Vulkan, Metal or DX12 driver was found; install one (Debian: apt-get install mesa-vulkan-drivers) or use \
                 `device` cpu"
                    .to_owned(),
            }));
        }
        None if adapters[0].get_info().device_type == wgpu::DeviceType::Cpu => (
            0,
            "no hardware adapter was found; this one is software".to_owned(),
        ),
        None => (0, "the first of the strongest kind".to_owned()),
    };
    let adapter = adapters
        .into_iter()
        .nth(position)
        .ok_or_else(|| Error::NoAdapter("it is gone".to_owned()))?;
    let summary = AdapterSummary::of(&adapter.get_info(), &reason);
    Ok((adapter, summary))
}
