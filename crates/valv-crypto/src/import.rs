//! Keys that were made elsewhere: complete or refused.

use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use crypto_primes::{Flavor, is_prime};
use rsa::{BoxedUint, traits::PrivateKeyParts as _};
use valv_model::{Error, Result};
use zeroize::Zeroizing;

use crate::{
    ec::EcKey,
    generate::is_rsa_size,
    jwk::{JsonWebKey, optional, required},
    kind::{Curve, Family, KeyType},
    oct::OctKey,
    private_key::{Material, PrivateKey},
    rsa::RsaKey,
};

type Bytes = Zeroizing<Vec<u8>>;

/// Takes a key that was made elsewhere.
///
/// - RSA (RFC 7518, section 6.3): `n`, `e` and `d`, with all of `p`, `q`, `dp`, `dq`, `qi` or with none, which are
///   then recovered (SP 800-56B, appendix C). 2048, 3072 or 4096 bits, an odd `e` from 65537 to 2^33 - 1, `d`
///   longer than half of `n`, two primes of half the length of `n` that are not close (FIPS 186-5, A.1), and all
///   members consistent. Computes for 5 to 40 ms: call it off the threads that answer requests.
/// - EC (section 6.2): `crv`, `x`, `y`, `d`; the point must be the private key's.
/// - `oct` (section 6.4): `k` of 128, 192 or 256 bits.
///
/// # Errors
/// 400 `BadParameter` that says what is missing, broken or weak.
pub fn import(jwk: &JsonWebKey) -> Result<PrivateKey> {
    let kty = KeyType::parse(&jwk.kty)?;
    if jwk.key_hsm.is_some() {
        return Err(Error::bad(
            "Property key_hsm is not supported: keys wrapped for an HSM of another make can not be opened.",
        ));
    }
    let material = match kty.family() {
        Family::Rsa => Material::Rsa(rsa(jwk)?),
        Family::Ec => Material::Ec(ec(jwk)?),
        Family::Oct => Material::Oct(OctKey::new(required("k", jwk.k.as_ref(), "oct")?)?),
    };
    Ok(PrivateKey { kty, material })
}

fn ec(jwk: &JsonWebKey) -> Result<EcKey> {
    let curve = Curve::parse(jwk.crv.as_deref().unwrap_or_default())?;
    let member = |name, member| {
        let bytes = required(name, member, "EC")?;
        let digits = without_zeros(&bytes);
        let mut whole = Zeroizing::new(vec![0; curve.field_bytes()]);
        let start = curve.field_bytes().checked_sub(digits.len()).ok_or_else(|| {
            Error::bad(format!(
                "Property {name} of the key has invalid value: it is too long for curve {curve}."
            ))
        })?;
        whole[start..].copy_from_slice(digits);
        Ok::<Bytes, Error>(whole)
    };
    let (d, x, y) =
        (member("d", jwk.d.as_ref())?, member("x", jwk.x.as_ref())?, member("y", jwk.y.as_ref())?);
    EcKey::from_members(curve, &d, &x, &y).ok_or_else(|| {
        Error::bad(format!(
            "The key is not valid: x and y are not the point of d on curve {curve}, or d is out of range."
        ))
    })
}

/// The members that RSA can do without, and we can not.
struct Factors {
    p: Bytes,
    q: Bytes,
    dp: Bytes,
    dq: Bytes,
    qi: Bytes,
}

fn rsa(jwk: &JsonWebKey) -> Result<RsaKey> {
    let (n, e) = (required("n", jwk.n.as_ref(), "RSA")?, required("e", jwk.e.as_ref(), "RSA")?);
    let d = required("d", jwk.d.as_ref(), "RSA")?;
    let (n, e, d) = (without_zeros(&n), without_zeros(&e), without_zeros(&d));
    let size = bits(n);
    if !is_rsa_size(size) || n.last().is_none_or(|last| last % 2 == 0) {
        return Err(Error::bad(format!(
            "Property n of the key has invalid value: it has {size} bits. RSA keys have an odd modulus of 2048, 3072 or 4096 bits.",
        )));
    }
    if !(65_537..1 << 33).contains(&number(e)) || number(e).is_multiple_of(2) {
        return Err(Error::bad(
            "Property e of the key has invalid value: it is an odd number from 65537 to 8589934591.",
        ));
    }
    // With such an e, the d of a sound key is longer (FIPS 186-5, A.1.1); recovery counts on it.
    if bits(d) <= size / 2 || bits(d) > size {
        return Err(Error::bad(
            "Property d of the key has invalid value: it is longer than half of n, and not longer than n.",
        ));
    }
    let factors = match factors(jwk)? {
        Some(factors) => factors,
        None => recover(n, e, d, size)?,
    };
    let (p, q) = (without_zeros(&factors.p), without_zeros(&factors.q));
    if bits(p) != size / 2 || bits(q) != size / 2 {
        return Err(Error::bad("The key is weak: p and q do not have half the length of n."));
    }
    // |p - q| > 2^(size/2 - 100): FIPS 186-5, A.1.3. Closer factors are found by Fermat's method.
    if number(&p[..16]).abs_diff(number(&q[..16])) >> 28 == 0 {
        return Err(Error::bad("The key is weak: p and q are too close."));
    }
    let key = RsaKey::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: &factors.dp,
        dQ: &factors.dq,
        qInv: &factors.qi,
    })
    .ok_or_else(|| {
        Error::bad("The key is not valid: its members n, e, d, p, q, dp, dq, qi do not belong together.")
    })?;
    // The library checks everything but this.
    let prime = |factor| {
        uint(factor, size / 2).map(Zeroizing::new).is_some_and(|factor| is_prime(Flavor::Any, &*factor))
    };
    if !prime(p) || !prime(q) {
        return Err(Error::bad("The key is not valid: p or q is not a prime number."));
    }
    Ok(key)
}

fn factors(jwk: &JsonWebKey) -> Result<Option<Factors>> {
    let members = (
        optional("p", jwk.p.as_ref())?,
        optional("q", jwk.q.as_ref())?,
        optional("dp", jwk.dp.as_ref())?,
        optional("dq", jwk.dq.as_ref())?,
        optional("qi", jwk.qi.as_ref())?,
    );
    match members {
        (Some(p), Some(q), Some(dp), Some(dq), Some(qi)) => Ok(Some(Factors { p, q, dp, dq, qi })),
        (None, None, None, None, None) => Ok(None),
        _ => Err(Error::bad(
            "The key is not complete: it holds all of p, q, dp, dq and qi, or none of them (RFC 7518, section 6.3.2).",
        )),
    }
}

fn recover(n: &[u8], e: &[u8], d: &[u8], size: u32) -> Result<Factors> {
    let members = || Some((uint(n, size)?, uint(e, 64)?, uint(d, size)?));
    let recovered = || {
        let (n, e, d) = members()?;
        let key = rsa::PrivateKey::from_components(n, e, d, Vec::new()).ok()?;
        let bytes = |uint: &BoxedUint| Zeroizing::new(uint.to_be_bytes().into_vec());
        let [p, q] = key.primes() else { return None };
        Some(Factors {
            p: bytes(p),
            q: bytes(q),
            dp: bytes(key.dp()?),
            dq: bytes(key.dq()?),
            qi: bytes(&key.crt_coefficient()?),
        })
    };
    recovered().ok_or_else(|| Error::bad("The key is not valid: d does not belong to n and e."))
}

fn uint(bytes: &[u8], bits: u32) -> Option<BoxedUint> {
    BoxedUint::from_be_slice(bytes, bits).ok()
}

/// Big-endian numbers may begin with zeros (RFC 7518 forbids it; some programs do it).
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// The length of a number without leading zeros.
fn bits(digits: &[u8]) -> u32 {
    let whole = u32::try_from(digits.len()).unwrap_or(u32::MAX).saturating_mul(8);
    whole.saturating_sub(digits.first().map_or(0, |first| first.leading_zeros()))
}

/// A number of at most 16 bytes; the largest there is for longer ones.
fn number(digits: &[u8]) -> u128 {
    if digits.len() > 16 {
        return u128::MAX;
    }
    digits.iter().fold(0, |sum, digit| sum << 8 | u128::from(*digit))
}

#[cfg(test)]
mod tests;
