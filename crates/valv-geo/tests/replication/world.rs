//! A home and a replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use valv_engine::Engine;
use valv_geo::apply::{Replica, ReplicaSettings, ReplicaState};
use valv_geo::ship::Shipper;
use valv_geo::source::Source;
use valv_geo::verify::{History, Report};
use valv_sealing::Keyring;

use crate::engine::Disk;
use crate::home::{Home, group, groups, keyring, pair_region};

pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) pair: Disk,
    pub(crate) history: History,
    pub(crate) running: Vec<Running>,
}

/// A replica's task.
pub(crate) struct Running {
    pub(crate) replica: Arc<Replica>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn settings() -> ReplicaSettings {
    ReplicaSettings {
        compare: Duration::from_secs(3600),
        copy_patience: Duration::from_millis(800),
        grace: Duration::from_secs(1),
        ..ReplicaSettings::default()
    }
}

pub(crate) fn start(
    pair: &Disk,
    keyring: Arc<Keyring>,
    source: Arc<dyn Source>,
    settings: ReplicaSettings,
) -> Running {
    let engine = pair.engine() as Arc<dyn Engine>;
    let replica = Arc::new(Replica::new(engine, keyring, source, group(), pair_region(), settings));
    let task = {
        let replica = Arc::clone(&replica);
        tokio::spawn(async move { replica.run().await })
    };
    Running { replica, task }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let home = Home::new(Disk::new(1, &groups(), seed), keyring());
        let pair = Disk::new(2, &groups(), seed ^ 0xffff);
        Self { home, pair, history: History::new(group()), running: Vec::new() }
    }

    pub(crate) fn shipper(&self) -> Arc<dyn Source> {
        Arc::new(Shipper::new(self.home.disk.engine()))
    }

    /// Starts a replica on what home has now.
    pub(crate) fn follow(&mut self) -> Arc<Replica> {
        self.follow_with(self.shipper(), settings())
    }

    pub(crate) fn follow_with(&mut self, source: Arc<dyn Source>, settings: ReplicaSettings) -> Arc<Replica> {
        let running = start(&self.pair, Arc::clone(&self.home.keyring), source, settings);
        let replica = Arc::clone(&running.replica);
        self.running.push(running);
        replica
    }

    pub(crate) async fn observe(&mut self) {
        let faults = std::mem::take(&mut *self.home.disk.faults.lock().unwrap());
        self.history.observe(&*self.home.disk.engine()).await.unwrap();
        *self.home.disk.faults.lock().unwrap() = faults;
    }

    pub(crate) async fn check(&mut self) -> Report {
        self.observe().await;
        let both = [&self.home.disk, &self.pair];
        let faults = both.map(|disk| std::mem::take(&mut *disk.faults.lock().unwrap()));
        let (home, pair) = (self.home.disk.engine(), self.pair.engine());
        let report = self.history.check(&*pair, Some(&*home)).await.unwrap();
        for (disk, faults) in both.into_iter().zip(faults) {
            *disk.faults.lock().unwrap() = faults;
        }
        report
    }

    /// Checks against what was observed before, and nothing that home has now.
    pub(crate) async fn check_old(&self) -> Report {
        let faults = std::mem::take(&mut *self.pair.faults.lock().unwrap());
        let report = self.history.check(&*self.pair.engine(), None).await.unwrap();
        *self.pair.faults.lock().unwrap() = faults;
        report
    }

    /// Waits until the replica has everything, and checks that it is right.
    pub(crate) async fn caught_up(&mut self) -> Report {
        let mut report = Report::default();
        for _ in 0..6000 {
            report = self.check().await;
            assert!(
                report.violations.is_empty(),
                "{:#?}",
                report.violations.iter().take(3).collect::<Vec<_>>()
            );
            let following = self
                .running
                .last()
                .is_none_or(|running| running.replica.status().state == ReplicaState::Following);
            if report.behind == 0 && following {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let status = self.running.last().map(|running| running.replica.status());
        panic!("the replica does not catch up: {report:?}, {status:?}");
    }

    /// Waits for a state of the replica.
    pub(crate) async fn reaches(&self, reached: impl Fn(&ReplicaState) -> bool) -> ReplicaState {
        let replica = &self.running.last().unwrap().replica;
        for _ in 0..3000 {
            let state = replica.status().state;
            if reached(&state) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not reached: {:?}", replica.status());
    }
}
