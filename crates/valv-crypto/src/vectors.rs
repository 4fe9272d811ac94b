//! Project Wycheproof's test vectors. Each test counts what it ran, so that a filter that lets nothing
//! through is noticed.

use aws_lc_rs::digest;
use wycheproof::{
    TestResult, aead, cipher, ecdsa, keywrap, mac, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify,
    rsa_pss_verify,
};
use zeroize::Zeroizing;

use crate::{
    Algorithm, Curve, Decrypt, Encrypt, JsonWebKey, PrivateKey, ec, import, jwk::encode, oct::OctKey, rsa,
};

fn text(bytes: &[u8]) -> Option<Zeroizing<String>> {
    Some(Zeroizing::new(encode(bytes)))
}

fn oct(key: &[u8]) -> Option<PrivateKey> {
    import(&JsonWebKey { kty: "oct".to_owned(), k: text(key), ..JsonWebKey::default() }).ok()
}

fn sized(key: &PrivateKey, algorithms: [Algorithm; 3]) -> Algorithm {
    match key.bits() {
        128 => algorithms[0],
        192 => algorithms[1],
        _ => algorithms[2],
    }
}

#[test]
fn aes_gcm() {
    let (mut opened, mut refused) = (0, 0);
    for group in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups {
        for test in group.tests {
            let key = oct(&test.key).unwrap();
            let algorithm = sized(&key, [Algorithm::A128Gcm, Algorithm::A192Gcm, Algorithm::A256Gcm]);
            let with = Decrypt { iv: Some(&test.nonce), tag: Some(&test.tag), aad: Some(&test.aad) };
            let plaintext = key.decrypt(algorithm, &test.ct, &with);
            // Only the sizes that RFC 7518 has.
            if test.result == TestResult::Valid && test.nonce.len() == 12 {
                assert_eq!(plaintext.unwrap()[..], test.pt[..], "test {}", test.tc_id);
                opened += 1;
            } else {
                assert!(plaintext.is_err(), "test {}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(opened > 100 && refused > 50, "{opened} opened, {refused} refused");
}

#[test]
fn aes_cbc_with_padding() {
    let (mut same, mut refused) = (0, 0);
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap().test_groups {
        for test in group.tests {
            let key = oct(&test.key).unwrap();
            let algorithm =
                sized(&key, [Algorithm::A128CbcPad, Algorithm::A192CbcPad, Algorithm::A256CbcPad]);
            let plaintext =
                key.decrypt(algorithm, &test.ct, &Decrypt { iv: Some(&test.nonce), ..Decrypt::default() });
            if test.result == TestResult::Valid {
                assert_eq!(plaintext.unwrap()[..], test.pt[..], "test {}", test.tc_id);
                let with = Encrypt { iv: Some(&test.nonce), ..Encrypt::default() };
                assert_eq!(key.encrypt(algorithm, &test.pt, &with).unwrap().value[..], test.ct[..]);
                // The same without padding, one block less of it.
                if !test.pt.is_empty() && test.pt.len() % 16 == 0 {
                    let plain = sized(&key, [Algorithm::A128Cbc, Algorithm::A192Cbc, Algorithm::A256Cbc]);
                    let value = key.encrypt(plain, &test.pt, &with).unwrap().value;
                    assert_eq!(value[..], test.ct[..test.pt.len()], "test {}", test.tc_id);
                }
                same += 1;
            } else {
                assert!(plaintext.is_err(), "test {}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(same > 50 && refused > 50, "{same} the same, {refused} refused");
}

#[test]
fn aes_key_wrap() {
    let (mut same, mut refused) = (0, 0);
    for group in keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).unwrap().test_groups {
        for test in group.tests {
            let Some(key) = oct(&test.key) else { continue };
            let algorithm = sized(&key, [Algorithm::A128Kw, Algorithm::A192Kw, Algorithm::A256Kw]);
            let unwrapped = key.unwrap_key(algorithm, &test.ct);
            if test.result == TestResult::Valid {
                assert_eq!(unwrapped.unwrap()[..], test.pt[..], "test {}", test.tc_id);
                assert_eq!(
                    key.wrap_key(algorithm, &test.pt).unwrap()[..],
                    test.ct[..],
                    "test {}",
                    test.tc_id
                );
                same += 1;
            } else {
                // "Acceptable" are keys of 8 bytes, which RFC 3394 does not have.
                assert!(unwrapped.is_err(), "test {}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(same > 30 && refused > 100, "{same} the same, {refused} refused");
}

#[test]
fn hmac() {
    let mut same = 0;
    for (name, algorithm) in [
        (mac::TestName::HmacSha256, Algorithm::Hs256),
        (mac::TestName::HmacSha384, Algorithm::Hs384),
        (mac::TestName::HmacSha512, Algorithm::Hs512),
    ] {
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let Ok(key) = OctKey::new(Zeroizing::new(test.key.to_vec())) else { continue };
                let whole = Some(test.tag.len()) == algorithm.digest_bytes();
                let right = test.result == TestResult::Valid && whole;
                assert_eq!(
                    key.verify(algorithm, &test.msg, &test.tag).unwrap(),
                    right,
                    "test {}",
                    test.tc_id
                );
                same += usize::from(right && key.sign(algorithm, &test.msg).unwrap() == test.tag[..]);
            }
        }
    }
    assert!(same > 20, "{same} the same");
}

/// The key of a group, imported with and without CRT members.
fn rsa_keys(members: &wycheproof::RsaPrivate) -> Option<[PrivateKey; 2]> {
    let whole = JsonWebKey {
        kty: "RSA".to_owned(),
        n: text(&members.n),
        e: text(&members.e),
        d: text(&members.d),
        p: text(&members.p),
        q: text(&members.q),
        dp: text(&members.d1),
        dq: text(&members.d2),
        qi: text(&members.c),
        ..JsonWebKey::default()
    };
    let minimal = JsonWebKey { p: None, q: None, dp: None, dq: None, qi: None, ..whole.clone() };
    let (whole, minimal) = (import(&whole).ok()?, import(&minimal).unwrap());
    assert_eq!(whole.public(), minimal.public());
    Some([whole, minimal])
}

#[test]
fn rsa_pkcs1_decryption() {
    use rsa_pkcs1_decrypt::{TestName, TestSet};
    let (mut opened, mut refused) = (0, 0);
    for name in [TestName::Rsa2048, TestName::Rsa3072, TestName::Rsa4096] {
        for group in TestSet::load(name).unwrap().test_groups {
            let keys = rsa_keys(&group.key).unwrap();
            for (test, key) in group.tests.iter().zip(keys.iter().cycle()) {
                let plaintext = key.decrypt(Algorithm::Rsa15, &test.ct, &Decrypt::default());
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(plaintext.unwrap()[..], test.pt[..], "test {}", test.tc_id);
                        opened += 1;
                    }
                    TestResult::Invalid => {
                        assert!(plaintext.is_err(), "test {}", test.tc_id);
                        refused += 1;
                    }
                    TestResult::Acceptable => {}
                }
            }
        }
    }
    assert!(opened > 50 && refused > 50, "{opened} opened, {refused} refused");
}

#[test]
fn rsa_oaep_decryption() {
    use rsa_oaep::{TestName, TestSet};
    let (mut opened, mut refused) = (0, 0);
    for (name, algorithm) in [
        (TestName::Rsa2048Sha1Mgf1Sha1, Algorithm::RsaOaep),
        (TestName::Rsa2048Sha256Mgf1Sha256, Algorithm::RsaOaep256),
        (TestName::Rsa3072Sha256Mgf1Sha256, Algorithm::RsaOaep256),
        (TestName::Rsa4096Sha256Mgf1Sha256, Algorithm::RsaOaep256),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let keys = rsa_keys(&group.key).unwrap();
            // RFC 7518 has no labels.
            let unlabelled = group.tests.iter().filter(|test| test.label.is_empty());
            for (test, key) in unlabelled.zip(keys.iter().cycle()) {
                let plaintext = key.unwrap_key(algorithm, &test.ct);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(plaintext.unwrap()[..], test.pt[..], "test {}", test.tc_id);
                        opened += 1;
                    }
                    TestResult::Invalid => {
                        assert!(plaintext.is_err(), "test {}", test.tc_id);
                        refused += 1;
                    }
                    TestResult::Acceptable => {}
                }
            }
        }
    }
    assert!(opened > 30 && refused > 50, "{opened} opened, {refused} refused");
}

fn hash(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    digest::digest(algorithm.digest().unwrap(), message).as_ref().to_vec()
}

#[test]
fn rsa_signatures() {
    let (mut right, mut wrong) = (0, 0);
    let mut count = |result: TestResult, id: usize, verified: bool| match result {
        TestResult::Valid => {
            assert!(verified, "test {id}");
            right += 1;
        }
        TestResult::Invalid => {
            assert!(!verified, "test {id}");
            wrong += 1;
        }
        TestResult::Acceptable => {}
    };
    {
        use rsa_pkcs1_verify::{TestName, TestSet};
        for (name, algorithm) in [
            (TestName::Rsa2048Sha256, Algorithm::Rs256),
            (TestName::Rsa2048Sha384, Algorithm::Rs384),
            (TestName::Rsa2048Sha512, Algorithm::Rs512),
            (TestName::Rsa3072Sha256, Algorithm::Rs256),
            (TestName::Rsa3072Sha384, Algorithm::Rs384),
            (TestName::Rsa3072Sha512, Algorithm::Rs512),
            (TestName::Rsa4096Sha256, Algorithm::Rs256),
            (TestName::Rsa4096Sha384, Algorithm::Rs384),
            (TestName::Rsa4096Sha512, Algorithm::Rs512),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                for test in group.tests {
                    let digest = hash(algorithm, &test.msg);
                    let verified = rsa::verify(&group.asn_key, algorithm, &digest, &test.sig).unwrap();
                    count(test.result, test.tc_id, verified);
                }
            }
        }
    }
    {
        use rsa_pss_verify::{TestName, TestSet};
        for (name, algorithm) in [
            (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256),
            (TestName::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384),
            (TestName::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::Ps256),
            (TestName::RsaPss4096Sha256Mgf1SaltLen32, Algorithm::Ps256),
            (TestName::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::Ps384),
            (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512),
        ] {
            for group in TestSet::load(name).unwrap().test_groups {
                for test in group.tests {
                    let digest = hash(algorithm, &test.msg);
                    let verified = rsa::verify(&group.asn_key, algorithm, &digest, &test.sig).unwrap();
                    count(test.result, test.tc_id, verified);
                }
            }
        }
        // Salts of another length than the digest's are refused.
        for group in TestSet::load(TestName::RsaPss4096Sha512Mgf1SaltLen32).unwrap().test_groups {
            for test in group.tests {
                let digest = hash(Algorithm::Ps512, &test.msg);
                assert!(!rsa::verify(&group.asn_key, Algorithm::Ps512, &digest, &test.sig).unwrap());
            }
        }
    }
    assert!(right > 100 && wrong > 1000, "{right} right, {wrong} wrong");
}

#[test]
fn ecdsa_signatures() {
    use ecdsa::{TestName, TestSet};
    let (mut right, mut wrong) = (0, 0);
    for (name, curve, algorithm) in [
        (TestName::EcdsaSecp256r1Sha256P1363, Curve::P256, Algorithm::Es256),
        (TestName::EcdsaSecp384r1Sha384P1363, Curve::P384, Algorithm::Es384),
        (TestName::EcdsaSecp521r1Sha512P1363, Curve::P521, Algorithm::Es512),
        (TestName::EcdsaSecp256k1Sha256P1363, Curve::P256K, Algorithm::Es256K),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            let public = ec::parse(curve, &group.key.key).unwrap();
            for test in group.tests {
                let verified = ec::verify(&public, curve, &hash(algorithm, &test.msg), &test.sig).unwrap();
                assert_eq!(verified, test.result == TestResult::Valid, "{curve} test {}", test.tc_id);
                if verified { right += 1 } else { wrong += 1 }
            }
        }
    }
    assert!(right > 500 && wrong > 300, "{right} right, {wrong} wrong");
}
