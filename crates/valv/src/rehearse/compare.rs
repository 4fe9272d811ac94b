//! Are all acknowledged writes there, and no refused one?

use std::collections::HashSet;

use super::figures::Compared;
use super::load::{Fate, Found, Written};

/// Compares what was written with what is found after the return.
pub fn compare(written: &[Written], found: &Found) -> Compared {
    let mut compared = Compared::default();
    for write in written {
        let Some(versions) = found.get(&write.object) else {
            compared.unreadable.push(write.object.clone());
            continue;
        };
        match &write.fate {
            Fate::Acknowledged(version) => {
                compared.acknowledged += 1;
                if versions.get(version) != Some(&write.value) {
                    compared.missing.push(format!("{}/{version}", write.object));
                }
            }
            Fate::Refused if versions.values().any(|value| *value == write.value) => {
                compared.took_effect.push(write.value.clone());
            }
            Fate::Refused | Fate::Unknown => {}
        }
    }
    // A write that took effect twice is a version nobody was told of.
    for (object, versions) in found {
        let mut values = HashSet::new();
        for (version, value) in versions {
            if !values.insert(value) {
                compared.took_effect.push(format!("{object}/{version} once more"));
            }
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn write(value: &str, fate: Fate) -> Written {
        Written { object: "load-1".into(), value: value.into(), fate }
    }

    fn found(versions: &[(&str, &str)]) -> Found {
        let versions = versions.iter().map(|(v, value)| ((*v).to_owned(), (*value).to_owned())).collect();
        HashMap::from([("load-1".to_owned(), versions)])
    }

    #[test]
    fn what_is_lost_changed_doubled_or_done_in_spite_of_a_refusal_is_seen() {
        let acknowledged = write("load-1/0", Fate::Acknowledged("v0".into()));
        let good = compare(
            &[acknowledged.clone(), write("load-1/1", Fate::Refused), write("load-1/2", Fate::Unknown)],
            &found(&[("v0", "load-1/0"), ("v2", "load-1/2")]),
        );
        assert_eq!(good, Compared { acknowledged: 1, ..Compared::default() });
        let missing = compare(std::slice::from_ref(&acknowledged), &found(&[]));
        assert_eq!(missing.missing, ["load-1/v0"]);
        let changed = compare(std::slice::from_ref(&acknowledged), &found(&[("v0", "load-1/9")]));
        assert_eq!(changed.missing, ["load-1/v0"]);
        let done = compare(&[write("load-1/1", Fate::Refused)], &found(&[("v1", "load-1/1")]));
        assert_eq!(done.took_effect, ["load-1/1"]);
        let twice =
            compare(std::slice::from_ref(&acknowledged), &found(&[("v0", "load-1/0"), ("v1", "load-1/0")]));
        assert_eq!(twice.took_effect.len(), 1);
        assert_eq!(compare(&[acknowledged], &Found::new()).unreadable, ["load-1"]);
    }
}
