//! `valv cert`: the certificates with which nodes know each other. An authority of their own, so that no public one,
//! and no certificate that clients see, lets anybody in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use valv_model::RegionName;
use valv_peer::{gateway_name, region_name};

use crate::args::{CertCommand, CertPlace};
use crate::output::{Problem, Result, line, progress};

/// How long the authority is valid, days.
const AUTHORITY_DAYS: i64 = 3_650;
/// All names in peer certificates end so (RFC 5280, name constraints).
const NAMES: &str = "valv.internal";

/// Whom a certificate is for.
pub enum Subject<'a> {
    /// The nodes of a region.
    Region(&'a RegionName),
    /// Gateways.
    Gateway,
}

impl Subject<'_> {
    fn word(&self) -> &str {
        match self {
            Self::Region(region) => region.as_str(),
            Self::Gateway => "gateway",
        }
    }

    /// The file of the certificate; the key's has the ending `key`.
    pub fn file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("peer-{}.crt", self.word()))
    }
}

/// The authority's certificate: `peer.ca` of every node.
pub fn authority_file(dir: &Path) -> PathBuf {
    dir.join("peer-ca.crt")
}

/// Runs one of them.
pub fn run(command: &CertCommand) -> Result<()> {
    match command {
        CertCommand::Ca { dir } => {
            make_authority(dir)?;
            progress(format!(
                "{} is the authority of all peers: copy it to every node. {} signs certificates: keep it where no node runs.\n\
                 next: valv cert region NAME --dir {}",
                authority_file(dir).display(),
                authority_file(dir).with_extension("key").display(),
                dir.display()
            ));
            Ok(())
        }
        CertCommand::Region { name, place } => {
            let region = RegionName::parse(name).map_err(|e| Problem::usage(e.message))?;
            issue_shown(&Subject::Region(&region), place)
        }
        CertCommand::Gateway { place } => issue_shown(&Subject::Gateway, place),
    }
}

fn issue_shown(subject: &Subject<'_>, place: &CertPlace) -> Result<()> {
    let certificate = subject.file(&place.dir);
    if certificate.exists() && !place.renew {
        return Err(Problem::usage(format!("{} exists and is not overwritten", certificate.display()))
            .way_out("with --renew it is replaced; running nodes take the new file up by themselves"));
    }
    issue(subject, &place.dir, place.days)?;
    line("[peer]");
    line(format!("certificate = {:?}", certificate.display().to_string()));
    line(format!("key = {:?}", certificate.with_extension("key").display().to_string()));
    line(format!("ca = {:?}", authority_file(&place.dir).display().to_string()));
    progress(format!(
        "next: copy the three files to the node (the key for its user only), and name them in [peer] of its configuration. Valid for {} days.",
        place.days
    ));
    Ok(())
}

/// Makes the authority; never over an old one.
pub fn make_authority(dir: &Path) -> Result<()> {
    let certificate = authority_file(dir);
    if certificate.exists() {
        return Err(Problem::usage(format!("{} exists and is not overwritten", certificate.display()))
            .way_out(
                "use it, or name another folder; a new authority means new certificates for every node",
            ));
    }
    let params = authority_params().map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&key).map_err(failed)?;
    write(&certificate.with_extension("key"), key.serialize_pem().as_bytes(), 0o600)?;
    write(&certificate, made.pem().as_bytes(), 0o644)
}

/// Makes a certificate, over an old one.
pub fn issue(subject: &Subject<'_>, dir: &Path, days: u16) -> Result<()> {
    let key_file = authority_file(dir).with_extension("key");
    let pem = fs::read_to_string(&key_file).map(zeroize::Zeroizing::new).map_err(|e| {
        Problem::usage(format!("the authority's key {} cannot be read: {e}", key_file.display()))
            .way_out(format!("make an authority first: valv cert ca --dir {}", dir.display()))
    })?;
    let authority = KeyPair::from_pem(&pem).map_err(|e| {
        Problem::new(format!("{} is no key in PEM: {e}", key_file.display()))
            .way_out("put the key of peer-ca.crt back, or make a new authority in another folder")
    })?;
    let issuer = Issuer::new(authority_params().map_err(failed)?, authority);
    let (name, usages) = match subject {
        Subject::Region(region) => (
            region_name(region),
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        ),
        // A gateway asks and is never asked.
        Subject::Gateway => (gateway_name().to_owned(), vec![ExtendedKeyUsagePurpose::ClientAuth]),
    };
    let mut leaf = CertificateParams::new([name]).map_err(failed)?;
    leaf.distinguished_name = named(&format!("Valv peer {}", subject.word()));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = usages;
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    leaf.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(i64::from(days));
    let key = KeyPair::generate().map_err(failed)?;
    let made = leaf.signed_by(&key, &issuer).map_err(failed)?;
    let certificate = subject.file(dir);
    write(&certificate.with_extension("key"), key.serialize_pem().as_bytes(), 0o600)?;
    write(&certificate, made.pem().as_bytes(), 0o644)
}

fn authority_params() -> std::result::Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name = named("Valv peers");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(NAMES.into())],
        excluded_subtrees: Vec::new(),
    });
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(AUTHORITY_DAYS);
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn failed(e: rcgen::Error) -> Problem {
    Problem::new(format!("a certificate cannot be made: {e}"))
}

/// Writes a file whole or not at all, with its mode from the start.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let failed = |e: std::io::Error| {
        Problem::new(format!("{} cannot be written: {e}", path.display()))
            .way_out("name a folder that exists and that you may write to, with --dir")
    };
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
    file.write_all(contents).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    fn read(file: &Path) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(file).unwrap().map(|one| one.unwrap()).collect();
        (chain, PrivateKeyDer::from_pem_file(file.with_extension("key")).unwrap())
    }

    /// A handshake in memory: the client's certificate, the server's, and the name that the client wants.
    fn handshake(
        dir: &Path,
        client: &Subject<'_>,
        server: &Subject<'_>,
        wanted: &str,
    ) -> std::result::Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority_file(dir)).unwrap()).unwrap();
        let roots = Arc::new(roots);
        let (chain, key) = read(&server.file(dir));
        let verifier = WebPkiClientVerifier::builder(Arc::clone(&roots)).build().unwrap();
        let config =
            ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        let mut server = ServerConnection::new(Arc::new(config))?;
        let (chain, key) = read(&client.file(dir));
        let config =
            ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        let mut client =
            ClientConnection::new(Arc::new(config), ServerName::try_from(wanted.to_owned()).unwrap())?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn peers_know_each_other_by_these_certificates_and_a_gateway_is_no_server() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let [east, west] = ["eastus", "westus"].map(|name| RegionName::parse(name).unwrap());
        make_authority(dir).unwrap();
        let subjects = [Subject::Region(&east), Subject::Region(&west), Subject::Gateway];
        for subject in &subjects {
            issue(subject, dir, 397).unwrap();
        }
        let [east_peer, west_peer, gateway] = &subjects;
        handshake(dir, west_peer, east_peer, "eastus.region.valv.internal").unwrap();
        handshake(dir, gateway, west_peer, "westus.region.valv.internal").unwrap();
        assert!(handshake(dir, gateway, west_peer, "eastus.region.valv.internal").is_err(), "another region");
        assert!(
            handshake(dir, west_peer, gateway, "gateway.valv.internal").is_err(),
            "a gateway as a server"
        );
    }

    #[test]
    fn nothing_is_overwritten_unasked_and_keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let place = |renew| CertPlace { dir: dir.to_owned(), days: 30, renew };
        let gateway = |renew| run(&CertCommand::Gateway { place: place(renew) });
        let said = gateway(false).unwrap_err().to_string();
        assert!(said.contains("valv cert ca --dir"), "{said}");
        run(&CertCommand::Ca { dir: dir.to_owned() }).unwrap();
        assert!(
            run(&CertCommand::Ca { dir: dir.to_owned() })
                .unwrap_err()
                .to_string()
                .contains("not overwritten")
        );
        gateway(false).unwrap();
        let file = Subject::Gateway.file(dir);
        let first = fs::read(&file).unwrap();
        assert!(gateway(false).unwrap_err().to_string().contains("--renew"));
        gateway(true).unwrap();
        assert_ne!(fs::read(&file).unwrap(), first);
        for key in [file.with_extension("key"), authority_file(dir).with_extension("key")] {
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
        let said = run(&CertCommand::Region { name: "East US".into(), place: place(false) })
            .unwrap_err()
            .to_string();
        assert!(said.contains("region name 'East US' is invalid"), "{said}");
    }
}
