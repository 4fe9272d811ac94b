use aws_lc_rs::digest;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::DecodeError;

/// The first byte of a stored head: format byte, number (u64, big endian), chain value (32 bytes).
const FORMAT: u8 = 1;

/// SHA-256 over the previous chain value and the commit's log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The value before a vault's first commit.
    pub const START: Self = Self([0; 32]);

    /// The value after a commit whose log record is `record`.
    #[must_use]
    pub fn next(self, record: &[u8]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.0);
        hash.update(record);
        let mut next = [0; 32];
        next.copy_from_slice(hash.finish().as_ref());
        Self(next)
    }
}

/// How far a vault's history has come. Between nodes it has its stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last commit; 0 before the first.
    pub number: u64,
    /// The chain value after it.
    pub chain: Chain,
}

impl Head {
    /// The head of a vault without commits.
    pub const START: Self = Self { number: 0, chain: Chain::START };

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&[FORMAT][..], &self.number.to_be_bytes(), &self.chain.0].concat().into()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let damaged = |problem: String| DecodeError(format!("head: {problem}"));
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                let (number, chain) = rest
                    .split_first_chunk::<8>()
                    .and_then(|(number, chain)| Some((number, <[u8; 32]>::try_from(chain).ok()?)))
                    .ok_or_else(|| damaged(format!("{} bytes instead of 41", bytes.len())))?;
                Ok(Self { number: u64::from_be_bytes(*number), chain: Chain(chain) })
            }
            Some((format, _)) => Err(damaged(format!("unknown format {format}"))),
            None => Err(damaged("empty".into())),
        }
    }
}

impl Serialize for Head {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::decode(&Bytes::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
