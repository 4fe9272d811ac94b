//! Method and path to a row of the table of operations. There is no second list of routes.

use std::cmp::Reverse;
use std::sync::LazyLock;

use valv_model::{Method, OPERATIONS, ObjectType, Operation, Spec};

/// Through which listener a request came: each knows its own operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// HTTPS, for everybody.
    Public,
    /// Health and metrics; plain HTTP on a loopback address.
    Health,
    /// The managed identity of this machine; plain HTTP on a loopback address.
    ManagedIdentity,
}

impl Door {
    fn knows(self, spec: &Spec) -> bool {
        let identity = spec.operation == Operation::ManagedIdentityToken;
        let own = spec.object == ObjectType::Service && spec.operation != Operation::HealthStatusGet;
        match self {
            Self::Public => !own && !identity,
            Self::Health => own,
            Self::ManagedIdentity => identity,
        }
    }
}

/// The variable segments of a path, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(&'static str, String)>);

impl Params {
    /// A segment by the name it has in the table; empty where an optional one is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }
}

/// What the table says to a method and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// This operation.
    Found(Operation, Params),
    /// The path exists with these methods only.
    OtherMethod(Vec<Method>),
    /// No such path.
    Unknown,
}

enum Segment {
    Literal(&'static str),
    Param(&'static str),
    Optional(&'static str),
}

struct Template {
    spec: &'static Spec,
    segments: Vec<Segment>,
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let mut templates: Vec<Template> = OPERATIONS.iter().map(Template::new).collect();
    // A literal wins over a parameter: `/secrets/{name}/versions` is no version called "versions".
    templates.sort_by_key(|t| Reverse(t.segments.iter().map(Segment::weight).collect::<Vec<_>>()));
    templates
});

impl Segment {
    fn weight(&self) -> u8 {
        match self {
            Self::Literal(_) => 2,
            Self::Param(_) => 1,
            Self::Optional(_) => 0,
        }
    }
}

impl Template {
    fn new(spec: &'static Spec) -> Self {
        let segment = |text: &'static str| match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            None => Segment::Literal(text),
            Some(name) => name.strip_suffix('?').map_or(Segment::Param(name), Segment::Optional),
        };
        Self { spec, segments: spec.path.split('/').filter(|s| !s.is_empty()).map(segment).collect() }
    }

    fn params(&self, path: &[String]) -> Option<Params> {
        // The optional segment, wherever it stands, is the one that may be missing.
        let missing = self.segments.len().checked_sub(path.len())?;
        let optional = self.segments.iter().filter(|s| matches!(s, Segment::Optional(_))).count();
        if missing > optional {
            return None;
        }
        let mut params = Params::default();
        let mut given = path.iter();
        for segment in &self.segments {
            match segment {
                Segment::Optional(_) if missing > 0 => {}
                Segment::Param(name) | Segment::Optional(name) => {
                    params.0.push((name, given.next()?.clone()));
                }
                Segment::Literal(literal) if given.next()?.eq_ignore_ascii_case(literal) => {}
                Segment::Literal(_) => return None,
            }
        }
        Some(params)
    }
}

/// Looks a method and a path up. Empty segments do not count; letters compare without case.
pub(crate) fn find(door: Door, method: Option<Method>, path: &[String]) -> Match {
    let mut others = Vec::new();
    for template in TEMPLATES.iter().filter(|t| door.knows(t.spec)) {
        let Some(params) = template.params(path) else { continue };
        if method == Some(template.spec.method) {
            return Match::Found(template.spec.operation, params);
        }
        others.push(template.spec.method);
    }
    if others.is_empty() { Match::Unknown } else { Match::OtherMethod(others) }
}

/// Splits a path at its slashes and decodes each segment (RFC 3986 section 2.1). What is no UTF-8 becomes
/// U+FFFD, which no name contains.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|s| !s.is_empty()).map(decode).collect()
}

fn decode(segment: &str) -> String {
    if !segment.contains('%') {
        return segment.to_owned();
    }
    // Form decoding is percent decoding that also turns `+` into a blank: hide the plus.
    let hidden = segment.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    url::form_urlencoded::parse(hidden.as_bytes())
        .map(|(name, _)| name.into_owned())
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn door_of(spec: &Spec) -> Door {
        [Door::Public, Door::Health, Door::ManagedIdentity].into_iter().find(|d| d.knows(spec)).unwrap()
    }

    fn found(method: Method, path: &str) -> (&'static str, String, String) {
        match find(Door::Public, Some(method), &segments(path)) {
            Match::Found(operation, params) => {
                (operation.name(), params.get("name").to_owned(), params.get("version").to_owned())
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_row_resolves_from_a_made_up_path() {
        let mut seen = HashSet::new();
        for spec in OPERATIONS {
            for path in [
                spec.path.replace("/{version?}", "").replace(['{', '}'], ""),
                spec.path.replace('?', "").replace(['{', '}'], "").to_uppercase() + "/",
                format!("/{}", spec.path.replace(['{', '}', '?'], "")),
            ] {
                match find(door_of(spec), Some(spec.method), &segments(&path)) {
                    Match::Found(operation, _) => assert_eq!(operation, spec.operation, "{path}"),
                    other => panic!("{} {path}: {other:?}", spec.name),
                }
            }
            seen.insert(spec.operation);
        }
        assert_eq!(seen.len(), OPERATIONS.len());
    }

    #[test]
    fn literals_win_over_names_only_where_the_method_fits() {
        use Method::{Delete, Get, Patch, Post};
        let name = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let (a, b, c) = found(Get, "/secrets/x/versions");
        assert_eq!((a, (b, c)), ("SecretListVersions", name("x", "")));
        assert_eq!(found(Post, "/secrets/restore").0, "SecretRestore");
        assert_eq!(found(Get, "/secrets/restore"), ("SecretGet", "restore".into(), String::new()));
        assert_eq!(found(Delete, "/secrets/Restore").0, "SecretDelete");
        assert_eq!(found(Get, "/secrets/x/backup"), ("SecretGet", "x".into(), "backup".into()));
        assert_eq!(found(Get, "/secrets/x/").0, "SecretGet");
        assert_eq!(found(Patch, "//SECRETS/x/").0, "SecretUpdate");
    }

    #[test]
    fn a_version_may_be_missing_from_the_middle_of_a_path() {
        use Method::{Get, Patch, Post, Put};
        let row = |operation, name: &str, version: &str| (operation, name.to_owned(), version.to_owned());
        const VERSION: &str = "0123456789abcdef0123456789abcdef";
        for (word, operation) in [
            ("encrypt", "KeyEncrypt"),
            ("decrypt", "KeyDecrypt"),
            ("wrapkey", "KeyWrap"),
            ("unwrapkey", "KeyUnwrap"),
            ("sign", "KeySign"),
            ("verify", "KeyVerify"),
        ] {
            assert_eq!(found(Post, &format!("/keys/x/{word}")), row(operation, "x", ""));
            assert_eq!(found(Post, &format!("/keys/x//{word}/")), row(operation, "x", ""));
            assert_eq!(found(Post, &format!("/Keys/x/{VERSION}/{word}")), row(operation, "x", VERSION));
            let upper = word.to_uppercase();
            assert_eq!(found(Post, &format!("/keys/x/{VERSION}/{upper}")), row(operation, "x", VERSION));
            // A key may have the name of an operation, of a collection, or of a reserved word.
            for name in [word, "keys", "restore", "create", "rotate"] {
                assert_eq!(found(Post, &format!("/keys/{name}/{word}")), row(operation, name, ""));
            }
            assert_eq!(
                find(Door::Public, Some(Post), &segments(&format!("/keys/x/y/z/{word}"))),
                Match::Unknown
            );
            // What stands in the place of a version is read as one, and refused as one.
            assert_eq!(found(Get, &format!("/keys/x/{word}")), row("KeyGet", "x", word));
        }
        assert_eq!(found(Post, "/keys/restore"), row("KeyRestore", "", ""));
        assert_eq!(found(Put, "/keys/restore"), row("KeyImport", "restore", ""));
        assert_eq!(found(Get, "/keys/Restore/"), row("KeyGet", "Restore", ""));
        assert_eq!(found(Post, "/keys/restore/create"), row("KeyCreate", "restore", ""));
        assert_eq!(found(Post, "/keys/create/create"), row("KeyCreate", "create", ""));
        assert_eq!(found(Post, "/keys/x/rotate"), row("KeyRotate", "x", ""));
        assert_eq!(found(Get, "/keys/x/rotationpolicy"), row("KeyRotationPolicyGet", "x", ""));
        assert_eq!(found(Put, "/keys/x/RotationPolicy"), row("KeyRotationPolicySet", "x", ""));
        assert_eq!(found(Get, "/keys/x/versions"), row("KeyListVersions", "x", ""));
        assert_eq!(found(Patch, "/keys/x/"), row("KeyUpdate", "x", ""));
        assert_eq!(found(Post, "/rng"), row("RandomBytesGet", "", ""));
        for path in ["/keys/create", "/keys//create", "/keys/x", "/keys/x/release"] {
            let found = find(Door::Public, Some(Post), &segments(path));
            assert!(matches!(found, Match::OtherMethod(_)), "{path}: {found:?}");
        }
    }

    #[test]
    fn another_method_is_told_from_another_path() {
        let find = |method, path| find(Door::Public, method, &segments(path));
        assert_eq!(find(Some(Method::Post), "/secrets"), Match::OtherMethod(vec![Method::Get]));
        assert!(matches!(find(None, "/secrets/x"), Match::OtherMethod(_)));
        for path in
            ["/", "", "/keys/x/y/z/w", "/secrets/a/b/c", "/healthz", "/metadata/identity/oauth2/token"]
        {
            assert_eq!(find(Some(Method::Get), path), Match::Unknown, "{path}");
        }
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        assert_eq!(segments("/secrets/a%2Fb+c%26%3d"), ["secrets", "a/b+c&="]);
        assert_eq!(segments("/%73ecrets/%ff%zz"), ["secrets", "\u{fffd}%zz"]);
    }
}
