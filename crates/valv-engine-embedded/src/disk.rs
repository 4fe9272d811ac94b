//! The file below redb, watched: which faults were faults of a sync, whether the header was touched, and
//! growth that takes its room before anything is written to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{BackendError, StorageBackend};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use valv_engine::planted::{self, Bug};

/// What all openings of one file share; it outlives a database that had to be closed.
#[derive(Debug)]
pub(crate) struct Disk {
    backend: Box<dyn StorageBackend>,
    /// The backend's file, where there is one.
    file: Option<File>,
    header_written: AtomicBool,
    sync_failed: AtomicBool,
    /// Length by offset of what was written since the last good sync.
    unsynced: Mutex<BTreeMap<u64, usize>>,
    /// Bytes that the last growth asked for and the file system did not have; 0 when it had them.
    lacking: AtomicU64,
}

impl Disk {
    pub(crate) fn new(backend: Box<dyn StorageBackend>, file: Option<File>) -> Self {
        Self {
            backend,
            file,
            header_written: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
            unsynced: Mutex::default(),
            lacking: AtomicU64::new(0),
        }
    }

    /// The beginning of the file, as far as there is one.
    pub(crate) fn beginning<const N: usize>(&self) -> io::Result<Option<[u8; N]>> {
        if self.backend.len()? < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.backend.read(0, &mut bytes)?;
        Ok(Some(bytes))
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    /// Begins to watch for writes of the header.
    pub(crate) fn watch_header(&self) {
        self.header_written.store(false, Ordering::Release);
    }

    /// Whether a write of the header was tried since [`Self::watch_header`]. Until then redb has published
    /// nothing: pages that no header names do not exist.
    pub(crate) fn header_written(&self) -> bool {
        self.header_written.load(Ordering::Acquire)
    }

    /// Free bytes of the file system for us, where that can be asked.
    pub(crate) fn free(&self) -> Option<u64> {
        let space = rustix::fs::fstatvfs(self.file.as_ref()?).ok()?;
        Some(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Bytes that the last refused growth needs.
    pub(crate) fn lacking(&self) -> u64 {
        self.lacking.load(Ordering::Acquire)
    }

    /// Makes what reads return what the disk holds, before a database is opened again. After a failed sync
    /// the system may take pages for clean that never reached the disk, so a second sync proves nothing:
    /// everything written since the last good one is read back, written again, and synced.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if !self.sync_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        if !planted::active(Bug::SyncBelieved) {
            let end = self.backend.len()?;
            for (&offset, &len) in unsynced.iter() {
                let Ok(len) = usize::try_from(end.saturating_sub(offset).min(len as u64)) else { continue };
                let mut bytes = vec![0; len];
                self.backend.read(offset, &mut bytes)?;
                self.backend.write(offset, &bytes)?;
            }
        }
        self.backend.sync_data()?;
        unsynced.clear();
        self.sync_failed.store(false, Ordering::Release);
        Ok(())
    }

    fn grow(&self, file: &File, now: u64, len: u64) -> io::Result<()> {
        // A file with holes would find out that the disk is full in the middle of a commit.
        match rustix::fs::fallocate(file, FallocateFlags::empty(), now, len - now) {
            Ok(()) => {
                self.lacking.store(0, Ordering::Release);
                Ok(())
            }
            // Some file systems cannot reserve; the error then comes with the write, and is handled there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.backend.set_len(len),
            Err(error) => {
                if is_full(&error.into()) {
                    self.lacking.store(len - now, Ordering::Release);
                }
                // Gives back what was reserved before the room ran out.
                self.backend.set_len(now)?;
                Err(error.into())
            }
        }
    }
}

/// Whether the file system, or our share of it, has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// One opening of the disk, for redb to own and close.
#[derive(Debug)]
pub(crate) struct Opening(pub(crate) Arc<Disk>);

impl StorageBackend for Opening {
    fn len(&self) -> io::Result<u64> {
        self.0.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.0.backend.len()?;
        match &self.0.file {
            Some(file) if len > now => self.0.grow(file, now, len),
            _ => self.0.backend.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut unsynced = self.0.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        match self.0.backend.sync_data() {
            Ok(()) => {
                unsynced.clear();
                Ok(())
            }
            Err(error) => {
                self.0.sync_failed.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            self.0.header_written.store(true, Ordering::Release);
        }
        {
            let mut unsynced = self.0.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            let len = unsynced.entry(offset).or_default();
            *len = data.len().max(*len);
        }
        self.0.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.query_lock_range(start, end)
    }
}
