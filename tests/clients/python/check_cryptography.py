"""Every operation and algorithm of azure.keyvault.keys.crypto.CryptographyClient, done by the service.

The client does public operations itself where it can read the key. The one used here may not: its access policy
has the words for cryptography and not `get`, so all it does is done by the service; each answer's address shows it.
"""

import hashlib
import os
from datetime import timedelta

from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys.crypto import (
    CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm,
)
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from common import VERSION, credential, key_client, now, refused, run
from jwk import public_key

VAULT = "crypto"
CURVE_OF = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "P-256K"}


def client_of(name):
    return credential(**dict(zip(("client", "secret"), os.environ[f"VALV_{name}"].split(":", 1))))


owner = key_client(VAULT, credential=client_of("KEEPER"))
USER = client_of("CRYPTO")
keys = {}


def key_for(algorithm, hardware=False):
    """A key that does this algorithm, made once."""
    if algorithm.startswith("ES"):
        kind, size = "ec", CURVE_OF[algorithm]
    elif algorithm.startswith("A"):
        kind, size = "oct", int(algorithm[1:4])
    elif algorithm.startswith("HS"):
        kind, size = "oct", 256
    else:
        kind, size = "rsa", 2048
    name = f"py-{kind}-{size}{'-hsm' if hardware else ''}"
    if name not in keys:
        make = getattr(owner, f"create_{kind}_key")
        options = {"curve": size} if kind == "ec" else {"size": size}
        keys[name] = make(name, hardware_protected=hardware, **options)
    return keys[name]


def digest_of(algorithm, message):
    bits = "256" if algorithm.endswith("256K") else algorithm[-3:]
    return hashlib.new("sha" + bits, message).digest()


class Remote:
    """A client of this key that may not read it. Each call must have been a request of the operation's name."""

    def __init__(self, key_id):
        self.client = CryptographyClient(key_id, USER)

    def call(self, operation, *words, **options):
        seen = []
        answer = getattr(self.client, operation)(
            *words, raw_response_hook=lambda r: seen.append(r.http_request.url.split("?")[0]), **options
        )
        assert seen[-1].endswith("/" + operation.replace("_", "")), f"not done by the service: {seen}"
        return answer


def remotes(key):
    """Clients of the version, and of the name alone, which means the current version."""
    return Remote(key.id), Remote(key.id.rsplit("/", 1)[0])


def forbidden(call, inner, words):
    error = refused(call, HttpResponseError, 403, "Forbidden", inner)
    assert words in error.message, error.message


def bad(call, words):
    error = refused(call, HttpResponseError, 400, "BadParameter")
    assert words in error.message, error.message


def the_client_may_not_read_keys():
    key = key_for("RS256")
    user = key_client(VAULT, credential=USER)
    forbidden(lambda: user.get_key(key.name), "AccessDenied", "keys get permission")
    forbidden(lambda: user.create_ec_key("py-stolen"), "AccessDenied", "keys create permission")
    forbidden(lambda: list(user.list_properties_of_keys()), "AccessDenied", "keys list permission")


def cbc_iv(algorithm):
    return {"iv": os.urandom(16)} if "CBC" in algorithm.value else {}


def encrypt_and_decrypt_with_every_algorithm():
    for algorithm in EncryptionAlgorithm:
        word = algorithm.value
        length = 32 if word.endswith("CBC") else 57
        for hardware in (False, True):
            key, data, options = key_for(word, hardware), os.urandom(length), cbc_iv(algorithm)
            if "GCM" in word:
                options["additional_authenticated_data"] = os.urandom(20)
            for remote in remotes(key):
                sealed = remote.call("encrypt", algorithm, data, **options)
                assert data not in sealed.ciphertext and sealed.algorithm == algorithm
                if "iv" in options:
                    assert sealed.iv == options["iv"]
                if "GCM" in word:
                    assert (len(sealed.iv), len(sealed.tag)) == (12, 16)
                    assert sealed.aad == options["additional_authenticated_data"]
                    again = remote.call("encrypt", algorithm, data, **options)
                    assert again.iv != sealed.iv and again.ciphertext != sealed.ciphertext
                opening = dict(options, iv=sealed.iv, authentication_tag=sealed.tag)
                opening = {name: value for name, value in opening.items() if value}
                opened = remote.call("decrypt", algorithm, sealed.ciphertext, **opening)
                assert opened.plaintext == data, word
            changed = bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
            if word.endswith("CBC") or word.endswith("CBCPAD"):
                assert remote.call("decrypt", algorithm, changed, **opening).plaintext != data
            elif word != "RSA1_5":
                bad(lambda: remote.call("decrypt", algorithm, changed, **opening), "can not be decrypted")
    sealed = Remote(key_for("A256GCM").id).call("encrypt", EncryptionAlgorithm.a256_gcm, b"")
    assert sealed.ciphertext == b"" and len(sealed.tag) == 16


def wrap_and_unwrap_with_every_algorithm():
    for algorithm in KeyWrapAlgorithm:
        word = algorithm.value
        if word.startswith("CKM"):
            # Words of Managed HSM's PKCS#11 interface.
            bad(lambda: Remote(key_for("A256KW").id).call("wrap_key", algorithm, os.urandom(32)), "alg")
            continue
        key, data = key_for(word), os.urandom(32)
        for remote in remotes(key):
            wrapped = remote.call("wrap_key", algorithm, data).encrypted_key
            assert data not in wrapped
            assert remote.call("unwrap_key", algorithm, wrapped).key == data, word
        if word != "RSA1_5":
            changed = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
            bad(lambda: remote.call("unwrap_key", algorithm, changed), "can not be decrypted or unwrapped")


def sign_and_verify_with_every_algorithm():
    for algorithm in SignatureAlgorithm:
        word = algorithm.value
        for hardware in (False, True):
            key, digest = key_for(word, hardware), digest_of(word, os.urandom(50))
            for remote in remotes(key):
                signature = remote.call("sign", algorithm, digest).signature
                assert remote.call("verify", algorithm, digest, signature).is_valid, word
                other = digest_of(word, b"another message")
                assert not remote.call("verify", algorithm, other, signature).is_valid, word
                changed = signature[:-1] + bytes([signature[-1] ^ 1])
                assert not remote.call("verify", algorithm, digest, changed).is_valid, word
                assert not remote.call("verify", algorithm, digest, signature[:-1]).is_valid, word


def the_answer_names_the_version():
    first = owner.create_ec_key("py-named")
    owner.create_ec_key("py-named")
    digest = digest_of("ES256", b"named")
    old = Remote(first.id).call("sign", SignatureAlgorithm.es256, digest).signature
    current = Remote(first.id.rsplit("/", 1)[0])
    assert not current.call("verify", SignatureAlgorithm.es256, digest, old).is_valid
    assert Remote(first.id).call("verify", SignatureAlgorithm.es256, digest, old).is_valid
    assert VERSION.fullmatch(first.properties.version)


def what_does_not_fit_is_refused_in_azures_words():
    p256, k256, rsa = key_for("ES256"), key_for("ES256K"), key_for("RS256")
    es256, rs256 = SignatureAlgorithm.es256, SignatureAlgorithm.rs256
    bad(
        lambda: Remote(k256.id).call("sign", es256, bytes(32)),
        "Key URL uses curve 'P-256K', and algorithm 'ES256' can only be used with curve 'P-256'.",
    )
    bad(
        lambda: Remote(p256.id).call("sign", es256, b"1"),
        "Invalid length of 'value': 1 bytes. ES256 requires 32 bytes, encoded with base64url.",
    )
    bad(lambda: Remote(rsa.id).call("sign", SignatureAlgorithm.rs512, bytes(32)), "RS512 requires 64 bytes")
    bad(lambda: Remote(rsa.id).call("verify", rs256, bytes(20), bytes(256)), "Invalid length of 'digest'")
    bad(lambda: Remote(p256.id).call("sign", rs256, bytes(32)), "incompatible")
    bad(lambda: Remote(rsa.id).call("sign", "RSNULL", bytes(32)), "RSNULL")
    bad(lambda: Remote(rsa.id).call("sign", "RS1", bytes(20)), "alg")
    bad(lambda: Remote(rsa.id).call("encrypt", EncryptionAlgorithm.rsa_oaep, bytes(300)), "at most 214 bytes")
    bad(lambda: Remote(rsa.id).call("decrypt", EncryptionAlgorithm.rsa_oaep, bytes(255)), "'value'")
    aes = key_for("A128CBC")
    bad(lambda: Remote(aes.id).call("encrypt", EncryptionAlgorithm.a128_cbc, bytes(15), iv=bytes(16)), "multiple of 16")
    bad(lambda: Remote(aes.id).call("encrypt", EncryptionAlgorithm.a128_cbc, bytes(16), iv=bytes(12)), "'iv'")
    bad(lambda: Remote(aes.id).call("encrypt", EncryptionAlgorithm.a256_gcm, bytes(16)), "key size 128")
    bad(lambda: Remote(aes.id).call("sign", SignatureAlgorithm.hs256, bytes(32)), "256 or more")


def key_operations_are_enforced():
    key = owner.create_rsa_key("py-sign-only", key_operations=["sign", "wrapKey"])
    remote = Remote(key.id)
    oaep = EncryptionAlgorithm.rsa_oaep_256
    remote.call("sign", SignatureAlgorithm.ps256, bytes(32))
    remote.call("wrap_key", KeyWrapAlgorithm.rsa_oaep_256, bytes(32))
    for operation, call in (
        ("encrypt", lambda: remote.call("encrypt", oaep, b"x")),
        ("decrypt", lambda: remote.call("decrypt", oaep, bytes(256))),
        ("unwrapKey", lambda: remote.call("unwrap_key", KeyWrapAlgorithm.rsa_oaep_256, bytes(256))),
        ("verify", lambda: remote.call("verify", SignatureAlgorithm.ps256, bytes(32), bytes(256))),
    ):
        forbidden(call, "KeyOperationForbidden", f"Operation {operation} is not permitted on this key.")


def a_disabled_key_makes_and_opens_nothing():
    rsa = owner.create_rsa_key("py-off")
    remote = Remote(rsa.id)
    sealed = remote.call("encrypt", EncryptionAlgorithm.rsa_oaep, b"x").ciphertext
    owner.update_key_properties("py-off", enabled=False)
    for operation, call in (
        ("sign", lambda: remote.call("sign", SignatureAlgorithm.rs256, bytes(32))),
        ("decrypt", lambda: remote.call("decrypt", EncryptionAlgorithm.rsa_oaep, sealed)),
        ("unwrapKey", lambda: remote.call("unwrap_key", KeyWrapAlgorithm.rsa_oaep, sealed)),
    ):
        forbidden(call, "KeyDisabled", f"Operation {operation} is not allowed on a disabled key.")
    owner.update_key_properties("py-off", enabled=True)
    assert remote.call("decrypt", EncryptionAlgorithm.rsa_oaep, sealed).plaintext == b"x"


def an_expired_key_opens_and_verifies_what_it_made():
    key = owner.create_rsa_key("py-expired")
    remote, data, digest = Remote(key.id), os.urandom(20), os.urandom(32)
    sealed = remote.call("encrypt", EncryptionAlgorithm.rsa_oaep, data).ciphertext
    signature = remote.call("sign", SignatureAlgorithm.ps256, digest).signature
    for dates, words in (
        ({"expires_on": now() - timedelta(days=1)}, "is not allowed on an expired key"),
        ({"not_before": now() + timedelta(days=1), "expires_on": now() + timedelta(days=2)}, "not yet valid"),
    ):
        owner.update_key_properties("py-expired", **dates)
        for call in (
            lambda: remote.call("encrypt", EncryptionAlgorithm.rsa_oaep, data),
            lambda: remote.call("wrap_key", KeyWrapAlgorithm.rsa_oaep, data),
            lambda: remote.call("sign", SignatureAlgorithm.ps256, digest),
        ):
            forbidden(call, None, words)
        assert remote.call("decrypt", EncryptionAlgorithm.rsa_oaep, sealed).plaintext == data
        assert remote.call("unwrap_key", KeyWrapAlgorithm.rsa_oaep, sealed).key == data
        assert remote.call("verify", SignatureAlgorithm.ps256, digest, signature).is_valid


def a_client_that_may_read_does_public_operations_itself():
    """The usual client: what it does itself and what the service does fit together."""
    for algorithm in ("RSA-OAEP", "RSA-OAEP-256", "RSA1_5"):
        key, data = key_for(algorithm), os.urandom(32)
        local = owner.get_cryptography_client(key.name)
        sealed = local.encrypt(EncryptionAlgorithm(algorithm), data).ciphertext
        assert Remote(key.id).call("decrypt", EncryptionAlgorithm(algorithm), sealed).plaintext == data
        assert local.decrypt(EncryptionAlgorithm(algorithm), sealed).plaintext == data
        wrapped = local.wrap_key(KeyWrapAlgorithm(algorithm), data).encrypted_key
        assert local.unwrap_key(KeyWrapAlgorithm(algorithm), wrapped).key == data
    for algorithm in SignatureAlgorithm:
        if algorithm.value.startswith("HS"):
            continue
        key, digest = key_for(algorithm.value), digest_of(algorithm.value, os.urandom(9))
        local = CryptographyClient(key, client_of("KEEPER"))
        signature = local.sign(algorithm, digest).signature
        assert local.verify(algorithm, digest, signature).is_valid
        assert Remote(key.id).call("verify", algorithm, digest, signature).is_valid


def a_symmetric_key_is_no_key_for_a_client_that_may_read_it():
    """A fault of this client, which docs/compatibility.md warns of: where it may read an `oct` key, whose bytes no service
    shows, it makes up 256 random bits, and wraps and encrypts with those. When this check fails, the warning can go.
    """
    key, data, iv = key_for("A256KW"), os.urandom(32), os.urandom(16)
    remote = Remote(key.id)
    reader = CryptographyClient(key.id, client_of("KEEPER"))
    lost = reader.wrap_key(KeyWrapAlgorithm.aes_256, data).encrypted_key
    bad(lambda: remote.call("unwrap_key", KeyWrapAlgorithm.aes_256, lost), "can not be decrypted or unwrapped")
    padded = reader.encrypt(EncryptionAlgorithm.a256_cbcpad, data, iv=iv).ciphertext
    assert padded != remote.call("encrypt", EncryptionAlgorithm.a256_cbcpad, data, iv=iv).ciphertext
    # What the client has no code for, it asks the service to do.
    sealed = reader.encrypt(EncryptionAlgorithm.a256_gcm, data)
    opened = remote.call(
        "decrypt", EncryptionAlgorithm.a256_gcm, sealed.ciphertext, iv=sealed.iv, authentication_tag=sealed.tag
    )
    assert opened.plaintext == data
    code = reader.sign(SignatureAlgorithm.hs256, bytes(32)).signature
    assert remote.call("verify", SignatureAlgorithm.hs256, bytes(32), code).is_valid


def keys_of_cryptography_backed_by_the_vault():
    key, message = key_for("RS256"), os.urandom(99)
    crypto = owner.get_cryptography_client(key.name)
    private, public = crypto.create_rsa_private_key(), crypto.create_rsa_public_key()
    assert private.key_size == public.key_size == 2048
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.DIGEST_LENGTH)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    for pad in (padding.PKCS1v15(), pss):
        signature = private.sign(message, pad, hashes.SHA384())
        public_key(key.key).verify(signature, message, pad, hashes.SHA384())
        public.verify(signature, message, pad, hashes.SHA384())
        try:
            public.verify(signature, message + b"x", pad, hashes.SHA384())
            raise AssertionError("a signature of another message")
        except InvalidSignature:
            pass
    assert private.decrypt(public_key(key.key).encrypt(b"words", oaep), oaep) == b"words"


run([
    the_client_may_not_read_keys,
    encrypt_and_decrypt_with_every_algorithm,
    wrap_and_unwrap_with_every_algorithm,
    sign_and_verify_with_every_algorithm,
    the_answer_names_the_version,
    what_does_not_fit_is_refused_in_azures_words,
    key_operations_are_enforced,
    a_disabled_key_makes_and_opens_nothing,
    an_expired_key_opens_and_verifies_what_it_made,
    a_client_that_may_read_does_public_operations_itself,
    a_symmetric_key_is_no_key_for_a_client_that_may_read_it,
    keys_of_cryptography_backed_by_the_vault,
])
