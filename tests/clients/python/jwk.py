"""Keys of the peer: made by `cryptography` or by the `openssl` command, as JSON Web Keys and back."""

import os
import subprocess

from azure.keyvault.keys import JsonWebKey
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

CURVES = {
    "P-256": (ec.SECP256R1(), "prime256v1"),
    "P-384": (ec.SECP384R1(), "secp384r1"),
    "P-521": (ec.SECP521R1(), "secp521r1"),
    "P-256K": (ec.SECP256K1(), "secp256k1"),
}
# The members that RSA can do without (RFC 7518, section 6.3.2).
OPTIONAL = ("p", "q", "dp", "dq", "qi")


def size_of(crv):
    return (CURVES[crv][0].key_size + 7) // 8


def number(value, size=None):
    return value.to_bytes(size or (value.bit_length() + 7) // 8, "big")


def integer(data):
    return int.from_bytes(data, "big")


def openssl(*words, data=b""):
    """What the command writes; it must succeed."""
    done = subprocess.run(["openssl", *words], input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, f"openssl {words}: {done.stderr.decode()}"
    return done.stdout


def make(kind, size, by="python"):
    """A private key made by the peer: an object of `cryptography`, or the bytes of a symmetric key."""
    if kind == "oct":
        return os.urandom(size // 8) if by == "python" else openssl("rand", str(size // 8))
    if by == "python":
        if kind == "RSA":
            return rsa.generate_private_key(public_exponent=65537, key_size=size)
        return ec.generate_private_key(CURVES[size][0])
    option = f"rsa_keygen_bits:{size}" if kind == "RSA" else f"ec_paramgen_curve:{CURVES[size][1]}"
    return load_pem_private_key(openssl("genpkey", "-algorithm", kind, "-pkeyopt", option), None)


def to_jwk(key, without=(), **more):
    """The key with its private members, as an import takes it."""
    if isinstance(key, bytes):
        members = {"kty": "oct", "k": key}
    elif isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        members = {
            "kty": "RSA", "n": number(numbers.public_numbers.n), "e": number(numbers.public_numbers.e),
            "d": number(numbers.d), "p": number(numbers.p), "q": number(numbers.q),
            "dp": number(numbers.dmp1), "dq": number(numbers.dmq1), "qi": number(numbers.iqmp),
        }
    else:
        crv = next(name for name, (curve, _) in CURVES.items() if curve.name == key.curve.name)
        point, size = key.public_key().public_numbers(), size_of(crv)
        members = {
            "kty": "EC", "crv": crv, "x": number(point.x, size), "y": number(point.y, size),
            "d": number(key.private_numbers().private_value, size),
        }
    return JsonWebKey(**{name: member for name, member in members.items() if name not in without}, **more)


def public_key(jwk):
    """The public half that an answer shows, as `cryptography` knows it."""
    if jwk.kty.startswith("RSA"):
        return rsa.RSAPublicNumbers(integer(jwk.e), integer(jwk.n)).public_key()
    curve = CURVES[jwk.crv][0]
    return ec.EllipticCurvePublicNumbers(integer(jwk.x), integer(jwk.y), curve).public_key()


def assert_public(jwk):
    """Nothing private is in an answer."""
    private = [name for name in ("d", "p", "q", "dp", "dq", "qi", "k", "t") if getattr(jwk, name)]
    assert not private, f"private members {private} in an answer"
