//! The pipeline cache on disk, where the backend has one (Vulkan).

use std::path::PathBuf;
use std::sync::Mutex;

/// A pipeline cache and its file.
pub(super) struct DiskCache {
    pub(super) cache: wgpu::PipelineCache,
    path: PathBuf,
    saved: Mutex<usize>,
}

impl DiskCache {
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Self> {
        let key = wgpu::util::pipeline_cache_key(info)?;
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let root = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("LOCALAPPDATA").map(PathBuf::from))
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
        let path = root.join("wgen").join(key);
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
        let temporary = self
            .path
            .with_extension(format!("{}.tmp", std::process::id()));
        let written = self
            .path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&temporary, &data))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        if let Err(error) = written {
            log::debug!("pipeline cache {}: {error}", self.path.display());
        }
    }
}
