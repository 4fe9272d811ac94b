//! The deployment's own certificate authority.
//!
//! It can vouch for names under `localhost` and loopback addresses only (RFC 5280, name constraints), so that
//! trusting it does not put anything else at risk.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};

use crate::command::cert::write;
use crate::output::{Problem, Result};

/// Where Linux distributions keep the roots that programs trust.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authority's certificate.
pub fn ca_file(dir: &Path) -> PathBuf {
    dir.join("ca.crt")
}

/// The authority's certificate and the roots that the shell trusted before.
pub fn bundle_file(dir: &Path) -> PathBuf {
    dir.join("ca-bundle.crt")
}

/// Makes the authority if it is not there, and a fresh server certificate: `tls.crt`, `tls.key`.
pub fn make(dir: &Path, domain: &str) -> Result<()> {
    let failed = |e: rcgen::Error| Problem::new(format!("a certificate cannot be made: {e}"));
    let ca_params = authority_params().map_err(failed)?;
    let key_path = dir.join("ca.key");
    let ca_key = match fs::read_to_string(&key_path) {
        Ok(pem) if ca_file(dir).is_file() => KeyPair::from_pem(&pem).map_err(failed)?,
        _ => {
            let key = KeyPair::generate().map_err(failed)?;
            let certificate = ca_params.self_signed(&key).map_err(failed)?;
            write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
            write(&ca_file(dir), certificate.pem().as_bytes(), 0o644)?;
            key
        }
    };
    let issuer = Issuer::new(ca_params, ca_key);

    let names =
        [format!("*.{domain}"), domain.to_owned(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    let mut leaf = CertificateParams::new(names).map_err(failed)?;
    leaf.distinguished_name = named("Valv dev");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    leaf.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(397);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = leaf.signed_by(&key, &issuer).map_err(failed)?;
    write(&dir.join("tls.key"), key.serialize_pem().as_bytes(), 0o600)?;
    write(&dir.join("tls.crt"), certificate.pem().as_bytes(), 0o644)?;
    write(&bundle_file(dir), &bundle(dir)?, 0o644)
}

fn authority_params() -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name = named("Valv dev authority (names under localhost only)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                128,
            )),
        ],
        excluded_subtrees: Vec::new(),
    });
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(3650);
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Our authority and the roots in use, so that other programs of the shell go on working.
fn bundle(dir: &Path) -> Result<Vec<u8>> {
    let ours = bundle_file(dir);
    let mut sources: Vec<PathBuf> = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .filter(|path| !same_file(path, &ours))
        .collect();
    sources.extend(SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
    sources.dedup();
    let ca = ca_file(dir);
    let mut bundle =
        fs::read(&ca).map_err(|e| Problem::new(format!("{} cannot be read: {e}", ca.display())))?;
    for source in sources {
        // A source that is gone was not trusted either.
        if let Ok(roots) = fs::read(&source) {
            bundle.push(b'\n');
            bundle.extend(roots);
        }
    }
    Ok(bundle)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
