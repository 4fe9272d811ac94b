use std::time::Duration;

/// What an operator may set. [`Settings::default`] suits a small team.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most commits kept for change streams.
    pub history_count: usize,
    /// The most bytes of keys and values kept for change streams.
    pub history_bytes: usize,
    /// The most commits that wait for the writer; one more is refused.
    pub queue: usize,
    /// Bytes of file pages kept in memory.
    pub cache_bytes: usize,
    /// Bytes of stored keys and values at which the store counts as full; 0 sets no quota. From 80 % on,
    /// commits that add records are refused. The file itself can be up to four times as large.
    pub quota_bytes: u64,
    /// Commits that add records are refused while the file system has fewer free bytes than this, or than the
    /// file itself has (up to 64 MiB), so that deletes still find room. 0 keeps no reserve.
    pub reserve_bytes: u64,
    /// How long a commit is waited for before its outcome is called unknown.
    pub commit_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            history_count: 10_000,
            history_bytes: 8 * 1024 * 1024,
            queue: 1024,
            cache_bytes: 8 * 1024 * 1024,
            quota_bytes: 0,
            reserve_bytes: 8 * 1024 * 1024,
            commit_deadline: Duration::from_secs(10),
        }
    }
}
