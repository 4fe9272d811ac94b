//! A home: vaults that are created, changed, deleted and purged, commit by commit, as the service does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use valv_engine::{Compare, Engine, Epoch, Expect, GroupId, GroupMeta, KeyRange, Op, Transaction, layout};
use valv_model::{RegionName, UnixSeconds, VaultId, VaultName};
use valv_sealing::{
    DataKeys, Head, Keyring, LogRecord, Outcome, RecordKind, RootKeySource, RootKeys, VaultEnvelope,
};

use crate::engine::{Disk, Model};

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

pub(crate) fn home_region() -> RegionName {
    RegionName::parse("eastus").unwrap()
}

pub(crate) fn pair_region() -> RegionName {
    RegionName::parse("westus").unwrap()
}

pub(crate) fn group() -> GroupId {
    GroupId::of_region(&home_region())
}

pub(crate) fn groups() -> Vec<(GroupId, GroupMeta)> {
    vec![(group(), GroupMeta { home: home_region(), epoch: Epoch(1) })]
}

pub(crate) fn keyring() -> Arc<Keyring> {
    let source = RootKeySource::Text { variable: "TEST".into(), line: RootKeys::generate().unwrap() };
    Arc::new(Keyring::new(RootKeys::load(&[source]).unwrap()))
}

/// The n-th vault; ids are given once and never again.
pub(crate) fn id(n: u32) -> VaultId {
    VaultId::parse(&format!("00000000-0000-4000-8000-0000{n:08x}")).unwrap()
}

/// One vault as its home knows it.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) id: VaultId,
    pub(crate) name: VaultName,
    pub(crate) head: Head,
    pub(crate) deleted: bool,
    pub(crate) purged: bool,
    envelope: VaultEnvelope,
    keys: Arc<DataKeys>,
    log_bytes: u64,
}

/// Writes to a store as the home of its group.
pub(crate) struct Home {
    pub(crate) disk: Disk,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) vaults: BTreeMap<u32, Known>,
    next: u32,
    /// The generation of new vaults' data.
    pub(crate) generation: u64,
}

impl Home {
    pub(crate) fn new(disk: Disk, keyring: Arc<Keyring>) -> Self {
        Self { disk, keyring, vaults: BTreeMap::new(), next: 0, generation: 1 }
    }

    /// New vaults get ids from here on: a restored home knows nothing of those that were given.
    pub(crate) fn begin_at(&mut self, next: u32) {
        self.next = next;
    }

    /// Without faults of its own: what is tested here is the way to the replica.
    fn engine(&self) -> Arc<Model> {
        self.disk.engine()
    }

    async fn commit(&mut self, n: u32, operation: &str, ops: Vec<Op>, compares: Vec<Compare>) {
        let known = self.vaults.get_mut(&n).unwrap();
        let record = LogRecord {
            number: known.head.number + 1,
            time: NOW,
            operation: operation.into(),
            caller: "tester".into(),
            request: None,
            outcome: Outcome::default(),
            log_bytes: known.log_bytes,
            ops: ops.clone(),
        };
        let encoded = record.encode();
        let head = Head { number: record.number, chain: known.head.chain.next(&encoded) };
        known.log_bytes += encoded.len() as u64;
        let mut ops = ops;
        ops.push(Op::Put(layout::log(&group(), &known.id, record.number), encoded));
        ops.push(Op::Put(layout::head(&group(), &known.id), head.encode()));
        known.head = head;
        let faults = std::mem::take(&mut *self.disk.faults.lock().unwrap());
        let engine = self.engine();
        let lease = engine.lease(&group(), &home_region()).await.unwrap();
        engine.commit(&lease, Transaction { compares, ops }).await.unwrap();
        *self.disk.faults.lock().unwrap() = faults;
    }

    /// A new vault, its number.
    pub(crate) async fn create(&mut self, name: &str) -> u32 {
        let (n, name) = (self.next, VaultName::parse(name).unwrap());
        self.next += 1;
        let id = id(n);
        let data_keys = vec![self.keyring.generate(&id, 1, NOW).unwrap()];
        let keys = self.keyring.unwrap(&id, &data_keys).unwrap();
        let mut extra = serde_json::Map::new();
        extra.insert("later".into(), "kept".into());
        let envelope = VaultEnvelope {
            id: id.clone(),
            name: name.clone(),
            generation: self.generation,
            data_keys,
            body: "0".into(),
            extra,
        };
        let known = Known {
            id,
            name: name.clone(),
            head: Head::START,
            deleted: false,
            purged: false,
            envelope: envelope.clone(),
            keys,
            log_bytes: 0,
        };
        self.vaults.insert(n, known);
        let absent = |key| Compare { key, expect: Expect::Absent };
        let compares =
            vec![absent(layout::vault(&group(), &name)), absent(layout::deleted_vault(&group(), &name))];
        let put = Op::Put(layout::vault(&group(), &name), envelope.encode());
        self.commit(n, "VaultPut", vec![put], compares).await;
        n
    }

    fn key(&self, n: u32, path: &str) -> Bytes {
        let known = &self.vaults[&n];
        [&*layout::data(&group(), &known.id, known.envelope.generation), path.as_bytes()].concat().into()
    }

    fn sealed(&self, n: u32, path: &str, value: &[u8]) -> Op {
        let sealed = self.vaults[&n].keys.seal(path, RecordKind::Secret, value);
        Op::Put(self.key(n, path), sealed)
    }

    /// Puts records in one commit.
    pub(crate) async fn put(&mut self, n: u32, records: &[(&str, &[u8])]) {
        let ops = records.iter().map(|(path, value)| self.sealed(n, path, value)).collect();
        self.commit(n, "SecretSet", ops, Vec::new()).await;
    }

    /// Removes records in one commit.
    pub(crate) async fn remove(&mut self, n: u32, paths: &[&str]) {
        let ops = paths.iter().map(|path| Op::Delete(self.key(n, path))).collect();
        self.commit(n, "SecretPurge", ops, Vec::new()).await;
    }

    /// Changes the vault's own record.
    pub(crate) async fn configure(&mut self, n: u32, body: &str) {
        let known = self.vaults.get_mut(&n).unwrap();
        known.envelope.body = body.into();
        let place = if known.deleted { layout::deleted_vault } else { layout::vault };
        let op = Op::Put(place(&group(), &known.name), known.envelope.encode());
        self.commit(n, "VaultPut", vec![op], Vec::new()).await;
    }

    /// Soft-deletes or recovers.
    pub(crate) async fn set_deleted(&mut self, n: u32, deleted: bool) {
        let known = self.vaults.get_mut(&n).unwrap();
        known.deleted = deleted;
        let (live, gone) =
            (layout::vault(&group(), &known.name), layout::deleted_vault(&group(), &known.name));
        let (to, from) = if deleted { (gone, live) } else { (live, gone) };
        let ops = vec![Op::Put(to, known.envelope.encode()), Op::Delete(from)];
        self.commit(n, "VaultDelete", ops, Vec::new()).await;
    }

    pub(crate) async fn purge(&mut self, n: u32) {
        let known = self.vaults.get_mut(&n).unwrap();
        known.purged = true;
        let name = known.name.clone();
        let mark = [&*layout::data(&group(), &known.id, 0), b"purged"].concat();
        let ops = vec![
            Op::Put(mark.into(), Bytes::from_static(b"sealed")),
            Op::Delete(layout::vault(&group(), &name)),
            Op::Delete(layout::deleted_vault(&group(), &name)),
        ];
        self.commit(n, "VaultPurge", ops, Vec::new()).await;
    }

    async fn forget(&self, keys: Vec<Bytes>) {
        let faults = std::mem::take(&mut *self.disk.faults.lock().unwrap());
        let engine = self.engine();
        let lease = engine.lease(&group(), &home_region()).await.unwrap();
        for keys in keys.chunks(100) {
            let ops = keys.iter().cloned().map(Op::Delete).collect();
            engine.commit(&lease, Transaction { compares: Vec::new(), ops }).await.unwrap();
        }
        *self.disk.faults.lock().unwrap() = faults;
    }

    /// Removes what a purged vault left behind, its last log record too.
    pub(crate) async fn sweep(&self, n: u32) {
        let id = &self.vaults[&n].id;
        let mut keys = self.disk.keys(&layout::all_data(&group(), id));
        keys.extend(self.disk.keys(&layout::logs(&group(), id)));
        self.forget(keys).await;
    }

    /// Trims the log to its newest records.
    pub(crate) async fn trim(&self, n: u32, keep: usize) {
        let mut keys = self.disk.keys(&layout::logs(&group(), &self.vaults[&n].id));
        keys.truncate(keys.len().saturating_sub(keep));
        self.forget(keys).await;
    }

    /// What stands at a path.
    pub(crate) fn stored(&self, disk: &Disk, n: u32, path: &str) -> Option<Vec<u8>> {
        let known = &self.vaults[&n];
        let memory = disk.memory();
        let stored = memory.records.get(&layout::vault(&group(), &known.name))?;
        let envelope = VaultEnvelope::decode(stored).unwrap();
        let key = [&*layout::data(&group(), &known.id, envelope.generation), path.as_bytes()].concat();
        let sealed = memory.records.get(&key[..])?;
        known.keys.open(path, RecordKind::Secret, sealed).ok().map(|value| value.to_vec())
    }
}

/// All of a store's records below a prefix.
pub(crate) async fn count(engine: &dyn Engine, prefix: Bytes) -> usize {
    engine.read(&[KeyRange::prefix(prefix)]).await.unwrap().ranges[0].len()
}
