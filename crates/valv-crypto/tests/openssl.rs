//! RSA and AES-CBC against `openssl` on the command line, both ways.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use valv_crypto::{Algorithm, Decrypt, Encrypt, JsonWebKey, PrivateKey, import};

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).unwrap();
    bytes
}

/// What `openssl` writes when it is given `input`; nothing if it fails.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then_some(output.stdout)
}

fn pkeyutl(action: &str, key: &Path, options: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut arguments = vec!["pkeyutl", action, "-keyform", "DER", "-inkey", key.to_str().unwrap()];
    for option in options {
        arguments.extend(["-pkeyopt", option]);
    }
    openssl(&arguments, input)
}

/// Each sample, and its PKCS#8 form in a file.
fn rsa(check: impl Fn(&PrivateKey, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        include_str!("samples/rsa-2048.json"),
        include_str!("samples/rsa-3072.json"),
        include_str!("samples/rsa-4096.json"),
    ] {
        let key = import(&serde_json::from_str(text).unwrap()).unwrap();
        let file = folder.path().join(key.bits().to_string());
        // Behind version, type and curve.
        std::fs::write(&file, &key.to_stored().unwrap()[3..]).unwrap();
        check(&key, &file);
    }
}

#[test]
fn rsa_encryption() {
    let oaep = "rsa_padding_mode:oaep";
    rsa(|key, file| {
        for (algorithm, options) in [
            (Algorithm::Rsa15, &["rsa_padding_mode:pkcs1"][..]),
            (Algorithm::RsaOaep, &[oaep, "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1"][..]),
            (Algorithm::RsaOaep256, &[oaep, "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"][..]),
        ] {
            let data = bytes(100);
            let value = key.encrypt(algorithm, &data, &Encrypt::default()).unwrap().value;
            assert_eq!(pkeyutl("-decrypt", file, options, &value).unwrap(), data, "{algorithm}");
            let value = pkeyutl("-encrypt", file, options, &data).unwrap();
            assert_eq!(key.decrypt(algorithm, &value, &Decrypt::default()).unwrap()[..], data, "{algorithm}");
        }
    });
}

#[test]
fn rsa_signatures() {
    rsa(|key, file| {
        for (algorithm, hash) in [
            (Algorithm::Rs256, "digest:sha256"),
            (Algorithm::Rs384, "digest:sha384"),
            (Algorithm::Rs512, "digest:sha512"),
            (Algorithm::Ps256, "digest:sha256"),
            (Algorithm::Ps384, "digest:sha384"),
            (Algorithm::Ps512, "digest:sha512"),
        ] {
            let pss = ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest"];
            let padding =
                if algorithm.as_str().starts_with('P') { &pss[..] } else { &["rsa_padding_mode:pkcs1"] };
            let options = [&[hash], padding].concat();
            let digest = bytes(algorithm.digest_bytes().unwrap());
            let signature = pkeyutl("-sign", file, &options, &digest).unwrap();
            assert!(key.verify(algorithm, &digest, &signature).unwrap(), "{algorithm}");

            let ours = file.with_extension("signature");
            std::fs::write(&ours, key.sign(algorithm, &digest).unwrap()).unwrap();
            let mut arguments =
                vec!["pkeyutl", "-verify", "-keyform", "DER", "-inkey", file.to_str().unwrap()];
            for option in &options {
                arguments.extend(["-pkeyopt", option]);
            }
            arguments.extend(["-sigfile", ours.to_str().unwrap()]);
            assert!(openssl(&arguments, &digest).is_some(), "{algorithm}");
            assert!(openssl(&arguments, &bytes(digest.len())).is_none(), "{algorithm}");
        }
    });
}

#[test]
fn aes_cbc() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (length, plain, padded) in [
        (16, Algorithm::A128Cbc, Algorithm::A128CbcPad),
        (24, Algorithm::A192Cbc, Algorithm::A192CbcPad),
        (32, Algorithm::A256Cbc, Algorithm::A256CbcPad),
    ] {
        let (k, iv) = (bytes(length), bytes(16));
        let jwk = JsonWebKey {
            kty: "oct".to_owned(),
            k: Some(URL_SAFE_NO_PAD.encode(&k).into()),
            ..JsonWebKey::default()
        };
        let key = import(&jwk).unwrap();
        for (algorithm, nopad, data) in
            [(plain, true, bytes(64)), (padded, false, bytes(64)), (padded, false, bytes(65))]
        {
            let theirs = |action: &str, input: &[u8]| {
                let cipher = format!("-aes-{}-cbc", length * 8);
                let (k, iv) = (hex(&k), hex(&iv));
                let mut arguments = vec!["enc", action, &cipher, "-K", &k, "-iv", &iv];
                arguments.extend(nopad.then_some("-nopad"));
                openssl(&arguments, input).unwrap()
            };
            let value = key.encrypt(algorithm, &data, &Encrypt { iv: Some(&iv), aad: None }).unwrap().value;
            assert_eq!(value, theirs("-e", &data), "{algorithm}");
            assert_eq!(theirs("-d", &value), data, "{algorithm}");
            let with = Decrypt { iv: Some(&iv), ..Decrypt::default() };
            assert_eq!(key.decrypt(algorithm, &value, &with).unwrap()[..], data, "{algorithm}");
        }
    }
}
