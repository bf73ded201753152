//! What environment variables say. One that is empty is not set; one whose value means nothing is named.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Names of `WGPU_BACKEND`, as wgpu has them.
const BACKENDS: [&str; 9] = [
    "vulkan", "vk", "metal", "mtl", "dx12", "d3d12", "opengl", "gles", "gl",
];

/// A variable that is set.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable that holds a path, as the base directory specification has it: a relative one is not heeded.
pub(super) fn folder(name: &str) -> Option<PathBuf> {
    variable(name)
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
}

/// The backends that are asked: those of `WGPU_BACKEND`, or wgpu's primary ones.
pub(super) fn backends() -> Result<wgpu::Backends> {
    let Some(value) = variable("WGPU_BACKEND") else {
        return Ok(wgpu::Backends::PRIMARY);
    };
    let value = value.to_string_lossy().to_lowercase();
    let words = value.split(',').map(str::trim).filter(|w| !w.is_empty());
    let mut backends = wgpu::Backends::empty();
    for word in words {
        if !BACKENDS.contains(&word) {
            return Err(wrong("WGPU_BACKEND", &value, "vulkan, metal, dx12, gl"));
        }
        backends |= wgpu::Backends::from_comma_list(word);
    }
    if backends.is_empty() {
        return Err(wrong("WGPU_BACKEND", &value, "vulkan, metal, dx12, gl"));
    }
    Ok(backends)
}

/// Which drivers the Vulkan loader looks at, where a variable says so: in words for whom no driver is found.
pub(super) fn drivers_named() -> Option<String> {
    const NAMES: [&str; 5] = [
        "VK_DRIVER_FILES",
        "VK_ICD_FILENAMES",
        "VK_LOADER_DRIVERS_SELECT",
        "VK_LOADER_DRIVERS_DISABLE",
        "VK_ADD_DRIVER_FILES",
    ];
    let (name, value) = NAMES.iter().find_map(|n| Some((n, variable(n)?)))?;
    let missing = std::env::split_paths(&value).find(|path| !path.exists());
    let missing = match missing.filter(|_| name.ends_with("S") && !name.contains("SELECT")) {
        Some(path) => format!(", and there is no {}", path.display()),
        None => String::new(),
    };
    Some(format!(
        "the environment variable {name} is '{}'{missing}; correct it or unset it",
        value.display()
    ))
}

/// Whether a weak adapter is wanted before a strong one: `WGPU_POWER_PREF`.
pub(super) fn saves_power() -> Result<bool> {
    let Some(value) = variable("WGPU_POWER_PREF") else {
        return Ok(false);
    };
    match wgpu::PowerPreference::from_env() {
        Some(preference) => Ok(preference == wgpu::PowerPreference::LowPower),
        None => {
            let value = value.to_string_lossy();
            Err(wrong("WGPU_POWER_PREF", &value, "low, high, none"))
        }
    }
}

/// Options of single backends: `WGPU_DX12_COMPILER`, `WGPU_GLES_MINOR_VERSION`.
pub(super) fn backend_options() -> Result<wgpu::BackendOptions> {
    let mut options = wgpu::BackendOptions::default();
    if let Some(value) = variable("WGPU_DX12_COMPILER") {
        let value = value.to_string_lossy();
        options.dx12.shader_compiler = value
            .parse()
            .map_err(|_| wrong("WGPU_DX12_COMPILER", &value, "auto, fxc, dxc, staticdxc"))?;
    }
    if let Some(value) = variable("WGPU_GLES_MINOR_VERSION") {
        let value = value.to_string_lossy();
        options.gl.gles_minor_version = wgpu::Gles3MinorVersion::from_env()
            .ok_or_else(|| wrong("WGPU_GLES_MINOR_VERSION", &value, "automatic, 0, 1, 2"))?;
    }
    Ok(options)
}

fn wrong(name: &str, value: &str, values: &str) -> Error {
    Error::Usage(format!(
        "the environment variable {name} is '{value}', which is none of {values}; correct it or unset it"
    ))
}
