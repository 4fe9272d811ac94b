//! A disk in memory that may lose, tear and reorder what was written since the last sync.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    opened: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct State {
    /// What reads return.
    seen: Vec<u8>,
    /// What is there after a power loss, with some of `pending`.
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Writes, changes of length and syncs until the power goes.
    until_loss: Option<u64>,
    syncs: u64,
    /// Syncs that fail from now on; what they should have written is taken for clean, as Linux does.
    failing_syncs: u64,
    /// Reads that fail from now on.
    failing_reads: u64,
    /// The longest it can get.
    limit: Option<usize>,
    /// Syncs wait while this is set.
    gate_closed: bool,
    waiting: u64,
}

#[derive(Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Disk {
    pub(crate) fn with(image: &[u8]) -> Self {
        let disk = Self::default();
        disk.change(|state| (state.seen, state.durable) = (image.to_vec(), image.to_vec()));
        disk
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.change(|state| state.seen.clone())
    }

    pub(crate) fn replace(&self, image: Vec<u8>) {
        self.change(|state| state.seen = image);
    }

    /// The power goes at the `n`-th operation from now; `None`: not at all.
    pub(crate) fn lose_power_at(&self, n: Option<u64>) {
        self.change(|state| state.until_loss = n);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.change(|state| state.until_loss == Some(0))
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.change(|state| state.syncs)
    }

    pub(crate) fn fail_syncs(&self, count: u64) {
        self.change(|state| state.failing_syncs = count);
    }

    pub(crate) fn fail_reads(&self, count: u64) {
        self.change(|state| state.failing_reads = count);
    }

    pub(crate) fn limit(&self, limit: Option<usize>) {
        self.change(|state| state.limit = limit);
    }

    pub(crate) fn close_gate(&self) {
        self.change(|state| state.gate_closed = true);
    }

    pub(crate) fn open_gate(&self) {
        self.change(|state| state.gate_closed = false);
        self.opened.notify_all();
    }

    /// Syncs that wait at the gate.
    pub(crate) fn waiting(&self) -> u64 {
        self.change(|state| state.waiting)
    }

    /// The power comes back: of the sectors that were not synced, each arrived with the probability
    /// `arrived`, in any order.
    pub(crate) fn restore_power(&self, rng: &mut fastrand::Rng, arrived: f64) {
        self.change(|state| {
            let mut sectors = Vec::new();
            for pending in std::mem::take(&mut state.pending) {
                match pending {
                    Pending::SetLen(len) => {
                        if rng.f64() < arrived {
                            state.durable.resize(len, 0);
                        }
                    }
                    Pending::Write(offset, data) => {
                        let mut at = 0;
                        while at < data.len() {
                            let end = ((offset + at) / SECTOR * SECTOR + SECTOR - offset).min(data.len());
                            sectors.push((offset + at, data[at..end].to_vec()));
                            at = end;
                        }
                    }
                }
            }
            rng.shuffle(&mut sectors);
            for (offset, data) in sectors {
                if rng.f64() < arrived && offset + data.len() <= state.durable.len() {
                    state.durable[offset..offset + data.len()].copy_from_slice(&data);
                }
            }
            state.seen = state.durable.clone();
            state.until_loss = None;
        });
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        match &mut self.until_loss {
            Some(0) => return Err(io::Error::other("no power")),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.until_loss == Some(0) { Err(io::Error::other("no power")) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.change(|state| state.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.change(|state| {
            if state.until_loss == Some(0) {
                return Err(io::Error::other("no power"));
            }
            if state.failing_reads > 0 {
                state.failing_reads -= 1;
                return Err(io::Error::other("the disk failed"));
            }
            let offset = offset as usize;
            let from = state.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(from);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|state| {
            let len = len as usize;
            if state.limit.is_some_and(|limit| len > limit) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            // The write that the power goes in may still arrive, so it counts as pending.
            state.pending.push(Pending::SetLen(len));
            state.operation()?;
            state.seen.resize(len, 0);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|state| {
            let offset = offset as usize;
            state.pending.push(Pending::Write(offset, data.to_vec()));
            state.operation()?;
            let to = state.seen.get_mut(offset..offset + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            to.copy_from_slice(data);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        let mut state = self.opened.wait_while(state, |state| state.gate_closed).unwrap();
        state.waiting -= 1;
        state.operation()?;
        state.syncs += 1;
        let pending = std::mem::take(&mut state.pending);
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::other("the disk failed"));
        }
        for pending in pending {
            match pending {
                Pending::SetLen(len) => state.durable.resize(len, 0),
                Pending::Write(offset, data) => {
                    state.durable[offset..offset + data.len()].copy_from_slice(&data);
                }
            }
        }
        Ok(())
    }
}
