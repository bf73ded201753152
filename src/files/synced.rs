//! Writing a file so that a power cut leaves the old one or the new one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file whole and syncs it: a temporary file beside it, renamed over.
///
/// # Errors
/// When the disk is full or the folder cannot be written; what was there before stays.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        fs::remove_file(&temporary).ok();
        Error::io(path, e)
    })
}
