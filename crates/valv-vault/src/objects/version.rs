//! Version ids: UUID version 7 (RFC 9562, section 5.7) without dashes, so that key order is version order.

use valv_model::{Error, Result, VersionId};

/// The random part of a version id.
pub(crate) type Random = [u8; 10];

/// Draws the random part, once per request: a decision that runs again makes the same id.
pub(crate) fn draw() -> Result<Random> {
    let mut random = Random::default();
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Error::internal("the operating system gave no random bytes"))?;
    Ok(random)
}

/// The id of a new version: the time's, but always greater than `last`, also when the clock went back.
pub(crate) fn next(now_ms: i64, random: Random, last: Option<&VersionId>) -> Result<VersionId> {
    let now = u64::try_from(now_ms).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(now, &random).into_uuid().as_u128();
    let id = match last {
        Some(last) => {
            let last = u128::from_str_radix(last.as_str(), 16)
                .map_err(|_| Error::internal("a version id that is no number"))?;
            if id > last {
                id
            } else {
                successor(last).ok_or_else(|| Error::internal("the version ids of an object are used up"))?
            }
        }
        None => id,
    };
    Ok(VersionId::from_bytes(id.to_be_bytes()))
}

/// The next id of the same form. Version and variant bits stand between the parts that count:
/// 48 bits of time, 4 of version, 12 random, 2 of variant, 62 random.
fn successor(id: u128) -> Option<u128> {
    const LOW: u128 = (1 << 62) - 1;
    const MIDDLE: u128 = 0xfff << 64;
    const TIME: u128 = 0xffff_ffff_ffff << 80;
    if id & LOW != LOW {
        Some(id + 1)
    } else if id & MIDDLE != MIDDLE {
        Some((id & !LOW) + (1 << 64))
    } else if id & TIME != TIME {
        Some((id & !LOW & !MIDDLE) + (1 << 80))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(id: &VersionId) -> (u128, u128) {
        let id = u128::from_str_radix(id.as_str(), 16).unwrap();
        (id >> 76 & 0xf, id >> 62 & 0b11)
    }

    #[test]
    fn the_successor_carries_around_version_and_variant() {
        let id = |text| u128::from_str_radix(text, 16).unwrap();
        assert_eq!(
            successor(id("00000000000070008000000000000000")),
            Some(id("00000000000070008000000000000001"))
        );
        assert_eq!(
            successor(id("0000000000007000bfffffffffffffff")),
            Some(id("00000000000070018000000000000000"))
        );
        assert_eq!(
            successor(id("0000000000007fffbfffffffffffffff")),
            Some(id("00000000000170008000000000000000"))
        );
        assert_eq!(successor(id("ffffffffffff7fffbfffffffffffffff")), None);
    }

    proptest! {
        #[test]
        fn versions_ascend_whatever_the_clock_does(
            steps in prop::collection::vec((-10_000_000_000i64..4_000_000_000_000, any::<Random>()), 1..40),
            frozen: bool,
        ) {
            let mut last: Option<VersionId> = None;
            for (now, random) in steps {
                let now = if frozen { 1_700_000_000_000 } else { now };
                let id = next(now, random, last.as_ref()).unwrap();
                prop_assert_eq!(layout(&id), (7, 0b10));
                if let Some(last) = &last {
                    prop_assert!(id > *last);
                }
                last = Some(id);
            }
        }

        #[test]
        fn a_first_version_begins_with_its_time(now in 0i64..4_000_000_000_000, random: Random) {
            let id = next(now, random, None).unwrap();
            prop_assert_eq!(i64::from_str_radix(&id.as_str()[..12], 16).unwrap(), now);
        }
    }
}
