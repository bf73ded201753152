//! Writing a file so that a power cut or an interruption leaves the old one or the new one, and nothing beside it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Links are followed so far; who follows one that leads to itself never arrives.
const LINKS: usize = 40;

/// What lies at a path, links followed.
enum Place {
    /// Nothing yet; the path is that of the file to be made.
    New(PathBuf),
    /// A file that can be written, open for it.
    Existing(PathBuf, File, Metadata),
    /// A device, a pipe, a socket, an open file of a process: it is written to and never replaced.
    Through,
}

/// What lies at `path`. A file that must not be written is an error here, though its folder would let it be replaced.
fn place(path: &Path) -> io::Result<Place> {
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        // Links of the kernel's own: what they say of themselves is no path.
        if cfg!(unix) && (at.starts_with("/proc") || at.starts_with("/dev/fd")) {
            return match fs::metadata(&at)?.is_dir() {
                true => Err(ErrorKind::IsADirectory.into()),
                false => Ok(Place::Through),
            };
        }
        let what = match fs::symlink_metadata(&at) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // "x/" is no file's name.
                return match at.to_string_lossy().ends_with(std::path::is_separator) {
                    true => Err(ErrorKind::IsADirectory.into()),
                    false => Ok(Place::New(at)),
                };
            }
            what => what?,
        };
        if what.is_symlink() {
            at = folder_of(&at).join(fs::read_link(&at)?);
        } else if what.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        } else if what.is_file() {
            let file = OpenOptions::new().write(true).open(&at)?;
            return Ok(Place::Existing(at, file, what));
        } else {
            return Ok(Place::Through);
        }
    }
    Err(io::Error::other("is a link that leads to itself"))
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Where a path's file lies, links followed: equal for two spellings of one path. `None` for what may be written by two at once, as a
/// device may be, and where nothing can be.
#[cfg(feature = "cli")]
pub(crate) fn same_file_key(path: &Path) -> Option<PathBuf> {
    let at = match place(path).ok()? {
        Place::New(at) | Place::Existing(at, ..) => at,
        #[cfg(unix)]
        Place::Through => {
            use std::os::unix::fs::FileTypeExt;
            let kind = fs::metadata(path).ok()?.file_type();
            if kind.is_char_device() {
                return None;
            }
            path.to_owned()
        }
        #[cfg(not(unix))]
        Place::Through => return None,
    };
    let folder = fs::canonicalize(folder_of(&at)).ok()?;
    Some(folder.join(at.file_name()?))
}

/// Whether a file can be written at `path`, before the work for it is done. Nothing is changed.
///
/// # Errors
/// When it is a folder, its folder is missing, or either must not be written.
#[cfg(feature = "cli")]
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    let check = || match place(path)? {
        Place::New(at) if !folder_of(&at).exists() => {
            let folder = folder_of(&at).display().to_string();
            Err(io::Error::other(format!(
                "its folder {folder} does not exist; make that first"
            )))
        }
        Place::New(at) => tempfile::tempfile_in(folder_of(&at)).map(drop),
        Place::Existing(..) => Ok(()),
        #[cfg(unix)]
        Place::Through => Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?),
        #[cfg(not(unix))]
        Place::Through => Ok(()),
    };
    check().map_err(|e| Error::io(path, e))
}

/// Writes a file whole and syncs it: a temporary file beside it, renamed over. Links stay and what they lead to is written, permissions and
/// owner stay; other names of the same file (hard links) keep what it held. Devices, pipes and sockets are written to. Where a file may
/// be written and its folder not, the file is written in its place.
///
/// # Errors
/// When the disk is full or the file must not be written; what was there before stays.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || match place(path)? {
        Place::New(at) => Temporary::beside(&at)?.become_file(&at, bytes, None),
        Place::Through => write_through(path, bytes),
        Place::Existing(at, file, what) => {
            let replaced = Temporary::beside(&at)
                .and_then(|temporary| temporary.become_file(&at, bytes, Some(&what)));
            match replaced {
                Err(e) if cannot_replace(&e) => write_in_place(file, bytes),
                done => done,
            }
        }
    };
    write().map_err(|e| Error::io(path, e))
}

/// Writes a new file by `fill`, which is given the path of a temporary one, and syncs it.
pub(super) fn write_new(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let io = |e| Error::io(path, e);
    let temporary = Temporary::beside(path).map_err(io)?;
    let permissions = temporary.file.as_file().metadata().map_err(io)?;
    fill(temporary.file.path())?;
    // What fills it may have put a file of its own in its place.
    let sync = || {
        let file = OpenOptions::new().write(true).open(temporary.file.path())?;
        file.set_permissions(permissions.permissions())?;
        file.sync_all()
    };
    sync().map_err(io)?;
    temporary.file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// Whether a file must be written where it is: its folder is not ours, it is a mount, its owner is another.
fn cannot_replace(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
    )
}

fn write_in_place(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    if fs::metadata(path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_socket(&m.file_type()))
        && let Ok(mut socket) = std::os::unix::net::UnixStream::connect(path)
    {
        return socket.write_all(bytes);
    }
    #[cfg(unix)]
    let own = descriptor(path);
    #[cfg(not(unix))]
    let own: Option<io::Result<File>> = None;
    let mut file = match own {
        // Opened anew, a file would have a second position, and what is written next would lie over this.
        Some(file) => file?,
        None => OpenOptions::new().write(true).open(path)?,
    };
    file.write_all(bytes)?;
    match file.sync_all() {
        // Pipes and terminals cannot be synced.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

/// The open file of this process that a path is: `/dev/fd/3`, `/dev/stdout`.
#[cfg(unix)]
fn descriptor(path: &Path) -> Option<io::Result<File>> {
    use std::os::fd::BorrowedFd;
    let number = match path.to_str()? {
        "/dev/stdout" => 1,
        "/dev/stderr" => 2,
        path => ["/dev/fd/", "/proc/self/fd/"]
            .iter()
            .find_map(|folder| path.strip_prefix(folder)?.parse::<u16>().ok())?
            .into(),
    };
    // SAFETY: it is borrowed for as long as it takes to make a copy of it, which fails where no such file is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Some(borrowed.try_clone_to_owned().map(File::from))
}

/// Temporary files and folders of this process.
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn temporaries() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every temporary file of this process and lets no thread make another: the process is about to end.
#[cfg(feature = "cli")]
pub(crate) fn remove_temporaries() {
    let paths = temporaries();
    // What lies in a folder was listed after it. The thread that writes may still end a file there that it has begun, and then waits for the
    // list: a folder that is not empty after all is tried again.
    for path in paths.iter().rev() {
        for _ in 0..50 {
            let removed = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
            if removed.is_ok() || !path.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    std::mem::forget(paths);
}

/// A temporary file's name begins and ends so.
const NAME: (&str, &str) = (".wgen-", ".tmp");

/// Removes what a process that was killed left in folders. What is young another may be writing.
pub(super) fn remove_stale(folders: &[&Path]) {
    const YOUNG: Duration = Duration::from_secs(600);
    let entries = folders.iter().filter_map(|f| fs::read_dir(f).ok());
    for entry in entries.flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if name.starts_with(NAME.0) && name.ends_with(NAME.1) && age() > Some(YOUNG) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// While it lives, [`remove_temporaries`] knows of a path.
pub(super) struct Registered(PathBuf);

impl Registered {
    /// Takes a path in that `make` makes.
    pub(super) fn new<T>(make: impl FnOnce() -> io::Result<(PathBuf, T)>) -> io::Result<(Self, T)> {
        // Made while the list is locked: there is no moment at which it exists and is not listed.
        let mut paths = temporaries();
        let (path, made) = make()?;
        paths.push(path.clone());
        Ok((Self(path), made))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        temporaries().retain(|path| *path != self.0);
    }
}

/// A file with a name that nobody else has. Dropped, it is removed.
struct Temporary {
    // Removed first, then no longer known.
    file: NamedTempFile,
    _registered: Registered,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(NAME.0).suffix(NAME.1);
        #[cfg(unix)]
        // As any file: what is left of these is the umask's to say.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let (registered, file) = Registered::new(|| {
            let file = builder.tempfile_in(folder_of(path))?;
            Ok((file.path().to_owned(), file))
        })?;
        Ok(Self {
            file,
            _registered: registered,
        })
    }

    /// Becomes the file at `path`, like the one that was there in owner and permissions.
    fn become_file(mut self, path: &Path, bytes: &[u8], like: Option<&Metadata>) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if let Some(like) = like {
            #[cfg(unix)]
            {
                use std::os::unix::fs::{MetadataExt, fchown};
                let own = self.file.as_file().metadata()?;
                if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                    fchown(self.file.as_file(), Some(like.uid()), Some(like.gid()))?;
                }
            }
            self.file.as_file().set_permissions(like.permissions())?;
        }
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|e| e.error)?;
        Ok(())
    }
}

/// The text of a file that people edit: UTF-8 or UTF-16, with or without the mark in front that some editors write.
///
/// # Errors
/// When it cannot be read, or is no text.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|b| unit([b[0], b[1]]));
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .ok()
    };
    let text = match &bytes[..] {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        _ => String::from_utf8(bytes.clone()).ok(),
    };
    text.ok_or_else(|| Error::format(path, "is no text in UTF-8 or UTF-16"))
}
