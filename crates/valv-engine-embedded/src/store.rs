//! The open file: making it, opening it, reading it, and opening it again after a fault.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, StorageError};
use rustix::fs::{CWD, RenameFlags};
use tokio::sync::watch;
use uuid::Uuid;
use valv_engine::{GroupId, GroupMeta, Lineage, Revision, layout};

use crate::disk::{Disk, Opening};
use crate::settings::Settings;
use crate::tables::{self, FORMAT, FORMAT_NOW, LINEAGE, META, RECORDS, REVISION, STORED};

/// Why there is no engine. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no file.
    #[error("there is no store at {0}; run `valv init` to make one, or restore the file")]
    Missing(PathBuf),
    /// A store is never made over something else.
    #[error(
        "{0} exists already; a store is never made over a file: move it away, or use it with `valv serve`"
    )]
    Exists(PathBuf),
    /// Another process has it open.
    #[error("the store {0} is in use by another process; stop that one first")]
    Locked(PathBuf),
    /// The file is something else.
    #[error("{path} is not a Valv store ({why}); check the configured path")]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// The file is damaged.
    #[error(
        "the store {path} is damaged ({why}); restore it from a backup or rebuild it from the paired region"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file system refused.
    #[error("the store {path} cannot be opened: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        why: String,
    },
}

/// Why a read gave nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The file is, or has to be, opened again.
    Closed(String),
    /// What was read makes no sense.
    Damaged(String),
}

/// Files up to this size are checked page by page whenever they are opened; larger ones only after a crash
/// (by redb itself), because opening must not take seconds.
const CHECKED_BYTES: u64 = 64 * 1024 * 1024;

/// Every redb file begins so.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

pub(crate) struct Store {
    database: RwLock<Option<Database>>,
    /// Counts openings; changes when a fault has been overcome.
    pub(crate) opened: watch::Sender<u64>,
    /// The opening that a reader found broken.
    broken: AtomicU64,
    pub(crate) disk: Arc<Disk>,
    pub(crate) settings: Settings,
    path: PathBuf,
    pub(crate) lineage: Lineage,
}

impl Store {
    /// Makes a store's file. It appears under its name whole, or not at all.
    pub(crate) fn create(
        path: &Path,
        groups: &[(GroupId, GroupMeta)],
        root_key_record: &Bytes,
        settings: &Settings,
    ) -> Result<(), OpenError> {
        let failed = |error: &dyn Display| OpenError::Io { path: path.into(), why: error.to_string() };
        if path.symlink_metadata().is_ok() {
            return Err(OpenError::Exists(path.into()));
        }
        let name = path.file_name().ok_or_else(|| failed(&"the path names no file"))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let new = folder.join(format!(".{}.{}", name.display(), Uuid::new_v4().as_simple()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new);
        let made = file.map_err(|e| failed(&e)).and_then(|file| {
            let copy = file.try_clone().map_err(|e| failed(&e))?;
            let backend = FileBackend::new(file).map_err(|e| failed(&e))?;
            let disk =
                Arc::new(Disk::new(Box::new(backend), Some(copy.try_clone().map_err(|e| failed(&e))?)));
            fill(&disk, groups, root_key_record, settings).map_err(|e| failed(&e))?;
            copy.sync_all().map_err(|e| failed(&e))?;
            rename_new(&new, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => OpenError::Exists(path.into()),
                _ => failed(&error),
            })?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(&e))
        });
        if made.is_err() {
            // What is left of a failed attempt is of no use; the error that matters is already known.
            std::fs::remove_file(&new).ok();
        }
        made
    }

    /// Makes a store on an empty backend.
    pub(crate) fn create_backend(
        backend: Box<dyn StorageBackend>,
        groups: &[(GroupId, GroupMeta)],
        root_key_record: &Bytes,
        settings: Settings,
    ) -> Result<(Self, Revision), OpenError> {
        let disk = Arc::new(Disk::new(backend, None));
        let path = PathBuf::from("(backend)");
        if disk.len().map_err(|e| OpenError::Io { path: path.clone(), why: e.to_string() })? > 0 {
            return Err(OpenError::Exists(path));
        }
        fill(&disk, groups, root_key_record, &settings)
            .map_err(|e| OpenError::Io { path: path.clone(), why: e.to_string() })?;
        Self::open_disk(disk, path, settings)
    }

    /// Opens a store's file, which must be there.
    pub(crate) fn open(path: &Path, settings: Settings) -> Result<(Self, Revision), OpenError> {
        let failed = |error: &dyn Display| OpenError::Io { path: path.into(), why: error.to_string() };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => OpenError::Missing(path.into()),
            _ => failed(&e),
        })?;
        let copy = file.try_clone().map_err(|e| failed(&e))?;
        let backend = FileBackend::new(file).map_err(|e| failed(&e))?;
        Self::open_disk(Arc::new(Disk::new(Box::new(backend), Some(copy))), path.into(), settings)
    }

    /// Opens what a backend holds.
    pub(crate) fn open_backend(
        backend: Box<dyn StorageBackend>,
        settings: Settings,
    ) -> Result<(Self, Revision), OpenError> {
        Self::open_disk(Arc::new(Disk::new(backend, None)), PathBuf::from("(backend)"), settings)
    }

    fn open_disk(disk: Arc<Disk>, path: PathBuf, settings: Settings) -> Result<(Self, Revision), OpenError> {
        let (database, lineage, revision) = open_database(&disk, &path, &settings)?;
        let store = Self {
            database: RwLock::new(Some(database)),
            opened: watch::Sender::new(1),
            broken: AtomicU64::new(0),
            disk,
            settings,
            path,
            lineage,
        };
        Ok((store, revision))
    }

    /// The number of the present opening.
    pub(crate) fn generation(&self) -> u64 {
        *self.opened.borrow()
    }

    /// Begins a read transaction, which sees everything that was acknowledged.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, Trouble> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = &*database else {
            return Err(Trouble::Closed("the store is being opened again after a fault".into()));
        };
        guarded(|| Ok(database.begin_read()?))
    }

    /// Runs `work` on the open database; for the writer.
    pub(crate) fn with_database<T>(&self, work: impl FnOnce(&Database) -> T) -> Option<T> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(work)
    }

    /// Notes that a reader found this opening broken.
    pub(crate) fn report(&self, generation: u64) {
        self.broken.fetch_max(generation, Ordering::AcqRel);
    }

    /// Whether the writer has to open the file again.
    pub(crate) fn needs_reopening(&self) -> bool {
        self.broken.load(Ordering::Acquire) >= self.generation()
            || self.database.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Closes the file. Reads wait from now on.
    pub(crate) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // Outside the lock, because closing writes. Closing a broken database may panic inside redb; it
        // holds nothing that was acknowledged.
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!(store = %self.path.display(), "the store's file could not be closed cleanly");
        }
    }

    /// Opens the file again after [`Self::close`]; `reached` is a revision that was acknowledged.
    pub(crate) fn reopen(&self, reached: Revision) -> Result<Revision, OpenError> {
        self.disk.settle().map_err(|e| OpenError::Io { path: self.path.clone(), why: e.to_string() })?;
        let (database, lineage, revision) = open_database(&self.disk, &self.path, &self.settings)?;
        if lineage != self.lineage || revision < reached {
            let why = "it is older than what was acknowledged".into();
            return Err(OpenError::Damaged { path: self.path.clone(), why });
        }
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        self.opened.send_modify(|generation| *generation += 1);
        Ok(revision)
    }
}

/// Runs something on redb. redb panics on some damage; such a panic is damage found, and must not take down
/// the process, which has other vaults and other duties.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Corrupted(why))) => Err(Trouble::Damaged(why)),
        Ok(Err(error @ (redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }))) => {
            Err(Trouble::Damaged(error.to_string()))
        }
        Ok(Err(error)) => Err(Trouble::Closed(error.to_string())),
        Err(_) => Err(Trouble::Damaged("the file's structure makes no sense".into())),
    }
}

/// Renames without replacing.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag; a hard link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(from, to).and_then(|()| std::fs::remove_file(from))
        }
        done => Ok(done?),
    }
}

fn fill(
    disk: &Arc<Disk>,
    groups: &[(GroupId, GroupMeta)],
    root_key_record: &Bytes,
    settings: &Settings,
) -> Result<(), redb::Error> {
    let database = redb::Builder::new()
        .set_cache_size(settings.cache_bytes)
        .create_with_backend(Opening(Arc::clone(disk)))?;
    let txn = database.begin_write()?;
    {
        let mut records = txn.open_table(RECORDS)?;
        let mut stored = 0;
        let metas = groups.iter().map(|(group, meta)| (layout::group_meta(group), meta.encode()));
        for (key, value) in metas.chain([(layout::root_key(), root_key_record.clone())]) {
            records.insert(&*key, &*value)?;
            stored += (key.len() + value.len()) as u64;
        }
        let mut meta = txn.open_table(META)?;
        meta.insert(FORMAT, &FORMAT_NOW.to_be_bytes()[..])?;
        meta.insert(LINEAGE, &Uuid::new_v4().as_bytes()[..])?;
        meta.insert(REVISION, &1_u64.to_be_bytes()[..])?;
        meta.insert(STORED, &stored.to_be_bytes()[..])?;
    }
    txn.commit()?;
    Ok(())
}

fn open_database(
    disk: &Arc<Disk>,
    path: &Path,
    settings: &Settings,
) -> Result<(Database, Lineage, Revision), OpenError> {
    let io = |e: io::Error| OpenError::Io { path: path.into(), why: e.to_string() };
    let not_a_store = |why: &str| OpenError::NotAStore { path: path.into(), why: why.into() };
    let damaged = |why: String| OpenError::Damaged { path: path.into(), why };
    // redb would make a new database of an empty file; a store is only ever made by `create`.
    if disk.beginning().map_err(io)? != Some(MAGIC) {
        return Err(not_a_store("it does not begin as one"));
    }
    let small = disk.len().map_err(io)? <= CHECKED_BYTES;
    let build = |check: bool| {
        catch_unwind(AssertUnwindSafe(|| {
            redb::Builder::new()
                .set_cache_size(settings.cache_bytes)
                .set_check_integrity_on_open(check)
                .create_with_backend(Opening(Arc::clone(disk)))
        }))
    };
    let opened = match build(small) {
        // The check writes, for which a full disk may have no room; opening without it needs none.
        Ok(Err(DatabaseError::Storage(StorageError::Io(e)))) if small && crate::disk::is_full(&e) => {
            build(false)
        }
        opened => opened,
    };
    let database = match opened {
        Ok(Ok(database)) => database,
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(OpenError::Locked(path.into())),
        Ok(Err(DatabaseError::Storage(StorageError::Corrupted(why)))) => return Err(damaged(why)),
        Ok(Err(DatabaseError::RepairAborted)) => return Err(damaged("it cannot be repaired".into())),
        Ok(Err(error)) => return Err(OpenError::Io { path: path.into(), why: error.to_string() }),
        Err(_) => return Err(damaged("its structure makes no sense".into())),
    };
    let identity = guarded(|| {
        let txn = database.begin_read()?;
        txn.open_table(RECORDS)?;
        let meta = txn.open_table(META)?;
        Ok((
            tables::number(&meta, FORMAT)?,
            tables::lineage(&meta)?,
            Revision(tables::number(&meta, REVISION)?),
        ))
    });
    match identity {
        Ok((FORMAT_NOW, lineage, revision)) => Ok((database, lineage, revision)),
        Ok((format, ..)) => {
            Err(not_a_store(&format!("it has format {format}; this program reads {FORMAT_NOW}")))
        }
        Err(Trouble::Damaged(why)) if why.contains("does not exist") => Err(not_a_store(&why)),
        Err(Trouble::Damaged(why)) => Err(damaged(why)),
        Err(Trouble::Closed(why)) => Err(OpenError::Io { path: path.into(), why }),
    }
}
