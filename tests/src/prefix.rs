//! The fourth checker: is a replica a prefix of its home? On the files of two stores whose processes have ended.

use std::path::Path;

use valv_engine::GroupId;
use valv_engine_embedded::{EmbeddedEngine, Settings};
use valv_geo::verify::{History, Report};

/// Compares the replica of `group` in one file with its home in the other. The files are copied first: this
/// looks and changes nothing. A vault that lacks commits is compared with what home's log, if it is whole,
/// says of that commit.
///
/// Panics if a file cannot be opened: a process may still have it.
pub async fn prefix(home: &Path, replica: &Path, group: &str) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |path: &Path, name: &str| {
        let copy = folder.path().join(name);
        std::fs::copy(path, &copy).expect("the store's file");
        EmbeddedEngine::open(&copy, Settings::default()).expect("the store opens")
    };
    let (home, replica) = (open(home, "home"), open(replica, "replica"));
    let mut history = History::new(GroupId::parse(group).expect("a group"));
    history.observe(&home).await.expect("home's log");
    history.check(&replica, Some(&home)).await.expect("a check")
}
