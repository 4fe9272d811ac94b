//! New keys.

use aws_lc_rs::{rand, rsa::KeySize};
use valv_model::{Error, Result};
use zeroize::Zeroizing;

use crate::{
    ec::EcKey,
    kind::{Curve, Family, KeyType},
    oct::OctKey,
    private_key::{Material, PrivateKey},
    rsa::RsaKey,
};

/// RSA key sizes in bits, as Azure has them.
const RSA_BITS: [u32; 3] = [2048, 3072, 4096];

/// The one public exponent that AWS-LC makes keys with (FIPS 186-5 wants 65537 or more).
const PUBLIC_EXPONENT: u64 = 65_537;

/// What key to make. Everything but the type has a default: RSA 2048, P-256, `oct` 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generate {
    /// The type.
    pub kty: KeyType,
    /// RSA: 2048, 3072 or 4096. `oct`: 128, 192 or 256. EC: the curve's bits, if said at all.
    pub size: Option<u32>,
    /// EC only.
    pub curve: Option<Curve>,
    /// RSA only: 65537.
    pub public_exponent: Option<u64>,
}

impl Generate {
    /// A key of this type with all defaults.
    #[must_use]
    pub fn new(kty: KeyType) -> Self {
        Self { kty, size: None, curve: None, public_exponent: None }
    }

    /// Checks sizes, curve and exponent; what [`generate`] does first, to be asked before work is queued.
    ///
    /// # Errors
    /// 400 `BadParameter` that names the property and what it may be.
    pub fn check(&self) -> Result<()> {
        let family = self.kty.family();
        if family != Family::Ec && self.curve.is_some() {
            return Err(Error::bad(format!(
                "Property crv has invalid value: keys of type {} have no curve.",
                self.kty
            )));
        }
        if family != Family::Rsa && self.public_exponent.is_some() {
            return Err(Error::bad(format!(
                "Property public_exponent has invalid value: keys of type {} have no exponent.",
                self.kty,
            )));
        }
        match (family, self.size) {
            (_, None) => {}
            (Family::Rsa, Some(bits)) if RSA_BITS.contains(&bits) => {}
            (Family::Rsa, Some(_)) => {
                return Err(Error::bad(
                    "Property key_size has invalid value: RSA keys have 2048, 3072 or 4096 bits.",
                ));
            }
            (Family::Ec, Some(bits)) if bits == self.curve().bits() => {}
            (Family::Ec, Some(_)) => {
                return Err(Error::bad(format!(
                    "Property key_size has invalid value: keys on curve {0} have {1} bits.",
                    self.curve(),
                    self.curve().bits(),
                )));
            }
            (Family::Oct, Some(bits)) => OctKey::check_bits(bits)?,
        }
        match self.public_exponent {
            None | Some(PUBLIC_EXPONENT) => Ok(()),
            Some(_) => Err(Error::bad(
                "Property public_exponent has invalid value: keys are made with the exponent 65537. Keys with a larger odd exponent can be imported.",
            )),
        }
    }

    fn curve(&self) -> Curve {
        self.curve.unwrap_or(Curve::P256)
    }
}

/// Makes a key. RSA takes 0.1 to 2 s of computation: call it off the threads that answer requests.
///
/// # Errors
/// What [`Generate::check`] refuses; 500 if the library fails.
pub fn generate(what: &Generate) -> Result<PrivateKey> {
    what.check()?;
    let material = match what.kty.family() {
        Family::Rsa => Material::Rsa(RsaKey::generate(match what.size {
            Some(4096) => KeySize::Rsa4096,
            Some(3072) => KeySize::Rsa3072,
            _ => KeySize::Rsa2048,
        })?),
        Family::Ec => Material::Ec(EcKey::generate(what.curve())?),
        Family::Oct => {
            let mut key = Zeroizing::new(vec![0; what.size.unwrap_or(256) as usize / 8]);
            rand::fill(&mut key).map_err(|_| Error::internal("the library has no random numbers"))?;
            Material::Oct(OctKey::new(key)?)
        }
    };
    Ok(PrivateKey { kty: what.kty, material })
}

/// Is this a size of RSA keys that we take?
pub(crate) fn is_rsa_size(bits: u32) -> bool {
    RSA_BITS.contains(&bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(what: Generate) -> String {
        let message = what.check().unwrap_err().message;
        assert_eq!(generate(&what).unwrap_err().message, message);
        message
    }

    #[test]
    fn sizes_curves_and_exponents_that_do_not_fit_are_refused() {
        for bits in [0, 1024, 2047, 2049, 8192, u32::MAX] {
            assert!(
                refused(Generate { size: Some(bits), ..Generate::new(KeyType::Rsa) }).contains("key_size")
            );
            assert!(
                refused(Generate { size: Some(bits), ..Generate::new(KeyType::OctHsm) }).contains("key_size")
            );
            assert!(
                refused(Generate { size: Some(bits), ..Generate::new(KeyType::Ec) }).contains("key_size")
            );
        }
        for exponent in [0, 1, 2, 3, 65_536, 65_539, u64::MAX] {
            let what = Generate { public_exponent: Some(exponent), ..Generate::new(KeyType::RsaHsm) };
            assert!(refused(what).contains("public_exponent"));
        }
        assert!(
            refused(Generate { public_exponent: Some(65_537), ..Generate::new(KeyType::Ec) })
                .contains("exponent")
        );
        assert!(
            refused(Generate { curve: Some(Curve::P256), ..Generate::new(KeyType::Rsa) }).contains("crv")
        );
        let what = Generate { size: Some(256), curve: Some(Curve::P384), ..Generate::new(KeyType::Ec) };
        assert!(refused(what).contains("384 bits"));
    }

    #[test]
    fn keys_have_the_size_that_was_asked_for() {
        for (kty, bits) in
            [(KeyType::Rsa, 3072), (KeyType::Rsa, 4096), (KeyType::Oct, 128), (KeyType::Oct, 192)]
        {
            assert_eq!(generate(&Generate { size: Some(bits), ..Generate::new(kty) }).unwrap().bits(), bits);
        }
        for curve in Curve::ALL {
            let what =
                Generate { curve: Some(curve), size: Some(curve.bits()), ..Generate::new(KeyType::EcHsm) };
            assert_eq!(generate(&what).unwrap().curve(), Some(curve));
        }
    }

    #[test]
    fn defaults_are_azures() {
        let key = generate(&Generate::new(KeyType::Ec)).unwrap();
        assert_eq!((key.kty(), key.curve()), (KeyType::Ec, Some(Curve::P256)));
        let key = generate(&Generate::new(KeyType::OctHsm)).unwrap();
        assert_eq!((key.kty(), key.bits()), (KeyType::OctHsm, 256));
        let key = generate(&Generate::new(KeyType::RsaHsm)).unwrap();
        assert_eq!((key.kty(), key.bits()), (KeyType::RsaHsm, 2048));
        assert_eq!(key.public().e.unwrap(), "AQAB");
    }
}
