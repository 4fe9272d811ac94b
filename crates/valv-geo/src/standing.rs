//! May a home speak for its vaults? A home that returns empty or older than its replica must not mask the
//! failover: it would answer 404 for what was acknowledged, and give numbers out twice.
//!
//! The answer is made from what the home's own store holds and what the pair says it copied from it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use valv_engine::{GroupId, Lineage};
use valv_model::VaultId;
use valv_sealing::Head;

/// How long an unreachable pair is waited for, by default.
pub const WAIT_FOR_PAIR: Duration = Duration::from_secs(2);

/// Whether a home may serve a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "standing", content = "reason")]
pub enum Standing {
    /// Not decided yet: the pair has not been asked. Serves nothing.
    Checking,
    /// Serves.
    Good,
    /// Does not serve: the pair goes on answering reads, writes are refused, and a person chooses.
    Masked(Reason),
}

impl Standing {
    /// Only a home in good standing serves.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good)
    }

    /// The standing of a store with several groups: the worst.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (masked @ Self::Masked(_), _) | (_, masked @ Self::Masked(_)) => masked,
            (Self::Checking, _) | (_, Self::Checking) => Self::Checking,
            (Self::Good, Self::Good) => Self::Good,
        }
    }
}

/// Why a home is masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", tag = "why")]
pub enum Reason {
    /// The store was made or restored since the pair copied from it.
    #[error(
        "this store is not the one that the pair copied group {group} from (lineage {own}, the pair copied {copied}): it was made anew or restored"
    )]
    OtherLineage {
        /// The group.
        group: String,
        /// This store's lineage.
        own: String,
        /// The lineage of the pair's copy.
        copied: String,
    },
    /// The pair has commits that this store lacks.
    #[error(
        "the pair's copy of group {group} is ahead of this store: vault {vault} has commit {copied} there and {own} here"
    )]
    Behind {
        /// The group.
        group: String,
        /// The first vault found.
        vault: String,
        /// Its last commit in this store; 0: none.
        own: u64,
        /// Its last commit in the pair's copy.
        copied: u64,
    },
    /// Both have a commit of one number with different content.
    #[error("the pair's copy of group {group} has another history of vault {vault} at commit {number}")]
    Forked {
        /// The group.
        group: String,
        /// The first vault found.
        vault: String,
        /// The commit.
        number: u64,
    },
    /// The store has no vault, and the pair, who would know whether that is right, does not answer.
    #[error(
        "this store holds nothing of group {group}, and the pair, which may hold a copy, cannot be reached"
    )]
    EmptyAlone {
        /// The group.
        group: String,
    },
}

/// What the home's store holds of a group.
#[derive(Clone, Debug)]
pub struct Own<'a> {
    /// The group asked about.
    pub group: &'a GroupId,
    /// The store's lineage.
    pub lineage: Lineage,
    /// The heads of all its vaults, read *after* the pair's answer came: read before, they would look older than
    /// the copy although nothing is lost.
    pub heads: &'a BTreeMap<VaultId, Head>,
}

/// What is known of the pair's copy of a group.
#[derive(Clone, Debug)]
pub enum Copy<'a> {
    /// The group has no replica, so nobody can contradict.
    NoPair,
    /// Nobody has answered for this time since the question was first asked.
    Unanswered(Duration),
    /// The pair answered that it has copied nothing yet.
    Nothing,
    /// The pair answered what it copied.
    Has {
        /// From which store.
        lineage: Lineage,
        /// How far.
        heads: &'a BTreeMap<VaultId, Head>,
    },
}

/// The decision for one group. Pure: the caller asks again when the pair becomes reachable, and from time to time.
#[must_use]
pub fn decide(own: &Own<'_>, copy: &Copy<'_>, wait: Duration) -> Standing {
    let group = own.group.to_string();
    match copy {
        Copy::NoPair | Copy::Nothing => Standing::Good,
        Copy::Unanswered(since) if *since < wait => Standing::Checking,
        Copy::Unanswered(_) if own.heads.is_empty() => Standing::Masked(Reason::EmptyAlone { group }),
        Copy::Unanswered(_) => Standing::Good,
        Copy::Has { lineage, .. } if *lineage != own.lineage => Standing::Masked(Reason::OtherLineage {
            group,
            own: own.lineage.to_string(),
            copied: lineage.to_string(),
        }),
        Copy::Has { heads, .. } => {
            for (vault, copied) in *heads {
                let own = own.heads.get(vault).copied().unwrap_or(Head::START);
                if own.number < copied.number {
                    return Standing::Masked(Reason::Behind {
                        group,
                        vault: vault.to_string(),
                        own: own.number,
                        copied: copied.number,
                    });
                }
                if own.number == copied.number && own.chain != copied.chain {
                    return Standing::Masked(Reason::Forked {
                        group,
                        vault: vault.to_string(),
                        number: own.number,
                    });
                }
            }
            Standing::Good
        }
    }
}

#[cfg(test)]
mod tests;
