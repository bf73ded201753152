//! The pipeline cache on disk, where the backend has one (Vulkan).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::environment;

/// A pipeline cache and its file.
pub(super) struct DiskCache {
    pub(super) cache: wgpu::PipelineCache,
    path: PathBuf,
    saved: Mutex<usize>,
}

/// wgen's folder in the user's cache; none where no variable says where that is.
pub(super) fn folder() -> Option<PathBuf> {
    let root = environment::folder("XDG_CACHE_HOME")
        .or_else(|| environment::folder("LOCALAPPDATA"))
        .or_else(|| Some(environment::folder("HOME")?.join(".cache")))?;
    Some(root.join("wgen"))
}

/// Writes a file whole, by a rename: processes may do so at once.
pub(super) fn replace(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(data)?;
    temporary.persist(path)?;
    Ok(())
}

impl DiskCache {
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        let key = wgpu::util::pipeline_cache_key(info)?;
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = folder()?.join(key);
        let data = std::fs::read(&path).ok();
        // SAFETY: the data is what `get_data` of a cache with the same key returned, written whole by a rename; the driver checks
        // its own header besides, and `fallback` makes it start empty where it does not like it.
        let cache = unsafe {
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("wgen"),
                data: data.as_deref(),
                fallback: true,
            })
        };
        let saved = Mutex::new(data.map_or(0, |d| d.len()));
        Some(Self { cache, path, saved })
    }

    /// Writes the cache if it has grown. Failure costs only compile time, so it is logged.
    pub(super) fn save(&self) {
        let Some(data) = self.cache.get_data() else {
            return;
        };
        let mut saved = super::lock(&self.saved);
        if data.len() == *saved {
            return;
        }
        *saved = data.len();
        let written = replace(&self.path, &data);
        if let Err(error) = written {
            log::debug!("pipeline cache {}: {error}", self.path.display());
        }
    }
}
