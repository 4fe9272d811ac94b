use std::fmt;

use valv_engine::GroupId;
use valv_model::VaultId;
use valv_sealing::{Chain, Head};

/// The longest place of a record that a question may name, in bytes.
const MAX_PLACE: usize = 1_024;

/// A question of [`valv_geo::source::Source`], as it stands in the path below `/peer/v1/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    Heads(GroupId),
    Log(GroupId, VaultId, Head),
    Copy(GroupId, VaultId),
    Buckets(GroupId, VaultId),
    Bucket(GroupId, VaultId, u8, String),
}

impl Pull {
    /// Reads `what/rest`; the error is for the peer.
    pub(crate) fn parse(what: &str, rest: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("no question for {what}: {why}");
        let mut parts = rest.split('/');
        let mut part = |name: &str| parts.next().ok_or_else(|| wrong(&format!("{name} is missing")));
        let group = GroupId::parse(part("group")?).map_err(|e| wrong(&e.message))?;
        let vault = |text: &str| VaultId::parse(text).map_err(|e| wrong(&e.message));
        let question = match what {
            "heads" => Self::Heads(group),
            "log" => {
                let vault = vault(part("vault")?)?;
                let number = part("number")?.parse().map_err(|_| wrong("number"))?;
                let chain = unhex(part("chain")?).and_then(|chain| <[u8; 32]>::try_from(chain).ok());
                Self::Log(group, vault, Head { number, chain: Chain(chain.ok_or_else(|| wrong("chain"))?) })
            }
            "copy" => Self::Copy(group, vault(part("vault")?)?),
            "buckets" => Self::Buckets(group, vault(part("vault")?)?),
            "bucket" => {
                let vault = vault(part("vault")?)?;
                let bucket = part("bucket")?.parse().map_err(|_| wrong("bucket"))?;
                let after = unhex(part("place")?).filter(|after| after.len() <= MAX_PLACE);
                let after = after.and_then(|after| String::from_utf8(after).ok());
                Self::Bucket(group, vault, bucket, after.ok_or_else(|| wrong("place"))?)
            }
            _ => return Err(wrong("it is none")),
        };
        match parts.next() {
            None => Ok(question),
            Some(_) => Err(wrong("the path is too long")),
        }
    }

    /// The group asked about.
    pub(crate) fn group(&self) -> &GroupId {
        match self {
            Self::Heads(group)
            | Self::Log(group, ..)
            | Self::Copy(group, _)
            | Self::Buckets(group, _)
            | Self::Bucket(group, ..) => group,
        }
    }
}

impl fmt::Display for Pull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heads(group) => write!(f, "/peer/v1/heads/{group}"),
            Self::Log(group, vault, head) => {
                write!(f, "/peer/v1/log/{group}/{vault}/{}/{}", head.number, hex(&head.chain.0))
            }
            Self::Copy(group, vault) => write!(f, "/peer/v1/copy/{group}/{vault}"),
            Self::Buckets(group, vault) => write!(f, "/peer/v1/buckets/{group}/{vault}"),
            Self::Bucket(group, vault, bucket, after) => {
                write!(f, "/peer/v1/bucket/{group}/{vault}/{bucket}/{}", hex(after.as_bytes()))
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_reads_back_from_its_path() {
        let group = GroupId::parse("eastus").unwrap();
        let vault = VaultId::parse("00482a5a-887f-4fb3-b363-3b7fe8e74483").unwrap();
        let head = Head { number: u64::MAX, chain: Chain([0xa7; 32]) };
        for question in [
            Pull::Heads(GroupId::system()),
            Pull::Log(group.clone(), vault.clone(), head),
            Pull::Copy(group.clone(), vault.clone()),
            Pull::Buckets(group.clone(), vault.clone()),
            Pull::Bucket(group.clone(), vault.clone(), 255, String::new()),
            Pull::Bucket(group.clone(), vault.clone(), 0, "secrets/Ä/\u{1}vault?#%".into()),
        ] {
            let path = question.to_string();
            http::Uri::try_from(&path).unwrap();
            let (what, rest) = path.strip_prefix("/peer/v1/").unwrap().split_once('/').unwrap();
            assert_eq!(Pull::parse(what, rest).unwrap(), question);
            assert!(Pull::parse(what, &format!("{rest}/more")).is_err());
        }
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let vault = "00482a5a-887f-4fb3-b363-3b7fe8e74483";
        for (what, rest) in [
            ("heads", ""),
            ("heads", "EAST"),
            ("copy", "eastus"),
            ("copy", "eastus/no-vault"),
            ("log", &format!("eastus/{vault}/1/{}", "0".repeat(63))),
            ("log", &format!("eastus/{vault}/-1/{}", "0".repeat(64))),
            ("bucket", &format!("eastus/{vault}/256/")),
            ("bucket", &format!("eastus/{vault}/1/ff")),
            ("bucket", &format!("eastus/{vault}/1/{}", "61".repeat(1_025))),
            ("other", "eastus"),
        ] {
            assert!(Pull::parse(what, rest).is_err(), "{what}/{rest}");
        }
    }
}
