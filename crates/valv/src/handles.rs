//! File handles: as many as the machine allows, and no more connections than that (F38).

use rustix::process::{Resource, getrlimit, setrlimit};

/// Kept back from connections for the store, logs, listeners, health and issuers.
const RESERVE: u64 = 64;

/// Raises this process's limit of open files to what it may be, and returns how many of the connections that
/// the configuration wants fit into it.
pub fn connections(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let files = getrlimit(Resource::Nofile).current;
    let fit = fit(files, wanted);
    if fit < wanted {
        tracing::warn!(
            limit = files,
            "limits.connections is {wanted}, but this process may open too few files: it takes {fit}. Raise the limit (ulimit -n, LimitNOFILE=), or lower limits.connections"
        );
    }
    fit
}

/// How many connections fit into a limit of open files, at least one; none is no limit.
fn fit(files: Option<u64>, wanted: usize) -> usize {
    let Some(files) = files else { return wanted };
    usize::try_from(files.saturating_sub(RESERVE)).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f38_connections_leave_handles_for_the_rest() {
        assert_eq!(fit(None, 10_000), 10_000);
        assert_eq!(fit(Some(20_000), 10_000), 10_000);
        assert_eq!(fit(Some(1024), 10_000), 960);
        assert_eq!(fit(Some(10), 10_000), 1);
    }
}
