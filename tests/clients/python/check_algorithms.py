"""Every algorithm against implementations that have nothing in common with the server, through the REST API.

Prints one line for each thing checked: algorithm, key, where the key comes from, peer, direction. The test that
started this program compares the lines with its table.

- Peers: `python` is the package cryptography, `openssl` the command (a library apart, and another version).
- Keys `made`: by the service, whose public half the peer takes from the answer. Keys `whole` and `least`: by the
  peer, imported with all members and with the fewest (RSA: n, e, d).
- Directions: `peer-to-service` (the peer encrypts, wraps or signs; the service decrypts, unwraps or verifies) and
  `service-to-peer`.

Keys and messages are random.
"""

import hashlib
import os
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode

from azure.core.rest import HttpRequest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import constant_time, hashes, hmac, keywrap, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import key_client, run
from jwk import OPTIONAL, make, number, integer, openssl, public_key, size_of, to_jwk

RSA_ENCRYPTION = ("RSA1_5", "RSA-OAEP", "RSA-OAEP-256")
RSA_SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "P-256K"}
HMACS = ("HS256", "HS384", "HS512")
OAEP_HASH = {"RSA-OAEP": hashes.SHA1(), "RSA-OAEP-256": hashes.SHA256()}
client = key_client()


class Service:
    """One key of the service, spoken to as the REST API has it."""

    def __init__(self, name, key=None, without=(), create=None):
        if create:
            bundle = self.send("POST", f"{name}/create", create)
        else:
            jwk = to_jwk(key, without=without)
            members = {n: to_text(v) if isinstance(v, bytes) else v for n, v in vars(jwk).items() if v}
            bundle = self.send("PUT", name, {"key": members})
        self.path = bundle["key"]["kid"].split("/keys/")[1]
        self.public = bundle["key"]

    @staticmethod
    def send(method, path, body):
        answer = client.send_request(HttpRequest(method, f"keys/{path}", json=body))
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text()}"
        return answer.json()

    def do(self, operation, algorithm, **members):
        body = {"alg": algorithm, **{n: to_text(v) for n, v in members.items() if v is not None}}
        answer = self.send("POST", f"{self.path}/{operation}", body)
        if operation == "verify":
            return answer["value"]
        assert answer["kid"].endswith(self.path)
        return {n: from_text(answer[n]) for n in ("value", "iv", "tag", "aad") if answer.get(n)}

    def public_key(self):
        members = {n: from_text(self.public[n]) for n in ("n", "e", "x", "y") if n in self.public}
        kind = type("Public", (), {"kty": self.public["kty"], "crv": self.public.get("crv"), **members})
        return public_key(kind)


def to_text(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hash_of(algorithm):
    bits = "256" if algorithm == "ES256K" else algorithm[-3:]
    return {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[bits]


def digest_of(algorithm, message):
    return hashlib.new(hash_of(algorithm).name, message).digest()


def raw(der, crv):
    """R and S one behind the other, from DER."""
    r, s = utils.decode_dss_signature(der)
    return number(r, size_of(crv)) + number(s, size_of(crv))


def der(signature):
    half = len(signature) // 2
    return utils.encode_dss_signature(integer(signature[:half]), integer(signature[half:]))


class Python:
    """The package cryptography."""

    name = "python"

    @staticmethod
    def _padding(algorithm):
        if algorithm == "RSA1_5":
            return rsa_padding.PKCS1v15()
        digest = OAEP_HASH[algorithm]
        return rsa_padding.OAEP(rsa_padding.MGF1(digest), digest, None)

    def encrypt(self, algorithm, public, data):
        return public.encrypt(data, self._padding(algorithm))

    def decrypt(self, algorithm, private, value):
        return private.decrypt(value, self._padding(algorithm))

    @staticmethod
    def _how(algorithm):
        digest = hash_of(algorithm)
        if algorithm.startswith("ES"):
            return (ec.ECDSA(utils.Prehashed(digest)),)
        pss = rsa_padding.PSS(rsa_padding.MGF1(digest), rsa_padding.PSS.DIGEST_LENGTH)
        return (pss if algorithm.startswith("PS") else rsa_padding.PKCS1v15(), utils.Prehashed(digest))

    def sign(self, algorithm, private, digest):
        if algorithm in HMACS:
            code = hmac.HMAC(private, hash_of(algorithm))
            code.update(digest)
            return code.finalize()
        signature = private.sign(digest, *self._how(algorithm))
        return raw(signature, CURVES[algorithm]) if algorithm in CURVES else signature

    def verify(self, algorithm, public, digest, signature):
        if algorithm in HMACS:
            return constant_time.bytes_eq(self.sign(algorithm, public, digest), signature)
        signature = der(signature) if algorithm in CURVES else signature
        try:
            public.verify(signature, digest, *self._how(algorithm))
            return True
        except InvalidSignature:
            return False

    def wrap(self, _algorithm, key, data):
        return keywrap.aes_key_wrap(key, data)

    def unwrap(self, _algorithm, key, value):
        return keywrap.aes_key_unwrap(key, value)

    def seal(self, algorithm, key, data, iv, aad):
        if algorithm.endswith("GCM"):
            sealed = AESGCM(key).encrypt(iv, data, aad)
            return sealed[:-16], sealed[-16:]
        if algorithm.endswith("PAD"):
            padder = padding.PKCS7(128).padder()
            data = padder.update(data) + padder.finalize()
        cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
        return cipher.update(data) + cipher.finalize(), None

    def open(self, algorithm, key, value, iv, tag, aad):
        if algorithm.endswith("GCM"):
            return AESGCM(key).decrypt(iv, value + tag, aad)
        cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        data = cipher.update(value) + cipher.finalize()
        if not algorithm.endswith("PAD"):
            return data
        unpadder = padding.PKCS7(128).unpadder()
        return unpadder.update(data) + unpadder.finalize()


class OpenSsl:
    """The command openssl. Keys go to it in files, signatures in DER."""

    name = "openssl"

    def __init__(self, folder):
        self.folder = folder

    def _file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def _key(self, key):
        pem, encoding = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        if hasattr(key, "private_bytes"):
            plain = serialization.NoEncryption()
            content = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
            return ["-inkey", self._file("private.pem", content)]
        return ["-pubin", "-inkey", self._file("public.pem", key.public_bytes(pem, encoding))]

    def _pkeyutl(self, action, key, options, data, *more):
        options = [word for option in options for word in ("-pkeyopt", option)]
        return ["pkeyutl", action, *self._key(key), *options, "-in", self._file("in", data), *more]

    @staticmethod
    def _padding(algorithm):
        if algorithm == "RSA1_5":
            return ["rsa_padding_mode:pkcs1"]
        name = OAEP_HASH[algorithm].name
        return ["rsa_padding_mode:oaep", f"rsa_oaep_md:{name}", f"rsa_mgf1_md:{name}"]

    def encrypt(self, algorithm, public, data):
        return openssl(*self._pkeyutl("-encrypt", public, self._padding(algorithm), data))

    def decrypt(self, algorithm, private, value):
        return openssl(*self._pkeyutl("-decrypt", private, self._padding(algorithm), value))

    @staticmethod
    def _how(algorithm):
        if algorithm in CURVES:
            return []
        digest = [f"digest:{hash_of(algorithm).name}"]
        if algorithm.startswith("PS"):
            return [*digest, "rsa_padding_mode:pss", "rsa_pss_saltlen:digest"]
        return [*digest, "rsa_padding_mode:pkcs1"]

    def sign(self, algorithm, private, digest):
        if algorithm in HMACS:
            name = hash_of(algorithm).name.upper()
            key = ["-digest", name, "-macopt", f"hexkey:{private.hex()}"]
            return openssl("mac", *key, "-binary", "-in", self._file("in", digest), "HMAC")
        signature = openssl(*self._pkeyutl("-sign", private, self._how(algorithm), digest))
        return raw(signature, CURVES[algorithm]) if algorithm in CURVES else signature

    def verify(self, algorithm, public, digest, signature):
        if algorithm in HMACS:
            return self.sign(algorithm, public, digest) == signature
        signature = der(signature) if algorithm in CURVES else signature
        file = self._file("signature", signature)
        try:
            openssl(*self._pkeyutl("-verify", public, self._how(algorithm), digest, "-sigfile", file))
            return True
        except AssertionError:
            return False

    @staticmethod
    def _enc(action, cipher, key, iv, data, *more):
        return openssl("enc", action, cipher, "-K", key.hex(), "-iv", iv.hex(), *more, data=data)

    def wrap(self, algorithm, key, data):
        # The initial value of RFC 3394, section 2.2.3.1.
        return self._enc("-e", f"-id-aes{algorithm[1:4]}-wrap", key, b"\xa6" * 8, data)

    def unwrap(self, algorithm, key, value):
        return self._enc("-d", f"-id-aes{algorithm[1:4]}-wrap", key, b"\xa6" * 8, value)

    @staticmethod
    def _cbc(algorithm):
        return f"-aes-{algorithm[1:4]}-cbc", [] if algorithm.endswith("PAD") else ["-nopad"]

    def seal(self, algorithm, key, data, iv, _aad):
        cipher, options = self._cbc(algorithm)
        return self._enc("-e", cipher, key, iv, data, *options), None

    def open(self, algorithm, key, value, iv, _tag, _aad):
        cipher, options = self._cbc(algorithm)
        return self._enc("-d", cipher, key, iv, value, *options)


def checked(algorithm, size, origin, peer, direction):
    print("checked", algorithm, size, origin, peer.name, direction)


def sends(peer, service, algorithm, size, origin, public):
    """The peer has the public half: it encrypts and wraps, the service opens."""
    data = os.urandom(1 + os.urandom(1)[0] % 100)
    for operation in ("decrypt", "unwrapkey"):
        value = peer.encrypt(algorithm, public, data)
        assert service.do(operation, algorithm, value=value)["value"] == data, (algorithm, size, operation)
    checked(algorithm, size, origin, peer, "peer-to-service")


def receives(peer, service, algorithm, size, origin, private):
    data = os.urandom(1 + os.urandom(1)[0] % 100)
    for operation in ("encrypt", "wrapkey"):
        value = service.do(operation, algorithm, value=data)["value"]
        assert peer.decrypt(algorithm, private, value) == data, (algorithm, size, operation)
    checked(algorithm, size, origin, peer, "service-to-peer")


def believes(peer, service, algorithm, size, origin, public):
    """The service signs, the peer verifies, and believes no other digest."""
    digest, other = (digest_of(algorithm, os.urandom(64)) for _ in range(2))
    signature = service.do("sign", algorithm, value=digest)["value"]
    assert peer.verify(algorithm, public, digest, signature), (algorithm, size)
    assert not peer.verify(algorithm, public, other, signature), (algorithm, size)
    checked(algorithm, size, origin, peer, "service-to-peer")


def is_believed(peer, service, algorithm, size, origin, private):
    digest, other = (digest_of(algorithm, os.urandom(64)) for _ in range(2))
    signature = peer.sign(algorithm, private, digest)
    assert service.do("verify", algorithm, digest=digest, value=signature), (algorithm, size)
    assert not service.do("verify", algorithm, digest=other, value=signature), (algorithm, size)
    checked(algorithm, size, origin, peer, "peer-to-service")


def rsa_algorithms(peer):
    for size in (2048, 3072, 4096):
        made = Service(f"al-rsa-{size}", create={"kty": "RSA", "key_size": size})
        public = made.public_key()
        for algorithm in RSA_ENCRYPTION:
            sends(peer, made, algorithm, size, "made", public)
        for algorithm in RSA_SIGNATURES:
            believes(peer, made, algorithm, size, "made", public)
        private = make("RSA", size, by=peer.name)
        for origin, without in (("whole", ()), ("least", OPTIONAL)):
            service = Service(f"al-rsa-{size}", private, without)
            assert service.public_key() == private.public_key()
            for algorithm in RSA_ENCRYPTION:
                sends(peer, service, algorithm, size, origin, private.public_key())
                receives(peer, service, algorithm, size, origin, private)
            for algorithm in RSA_SIGNATURES:
                believes(peer, service, algorithm, size, origin, private.public_key())
                is_believed(peer, service, algorithm, size, origin, private)


def ec_algorithms(peer):
    for algorithm, curve in CURVES.items():
        made = Service(f"al-ec-{curve}", create={"kty": "EC", "crv": curve})
        # Ten times: coordinates, R and S that begin with zeros are met now and then.
        for _ in range(10):
            believes(peer, made, algorithm, curve, "made", made.public_key())
            private = make("EC", curve, by=peer.name)
            service = Service(f"al-ec-{curve}", private)
            assert service.public_key() == private.public_key()
            believes(peer, service, algorithm, curve, "whole", private.public_key())
            is_believed(peer, service, algorithm, curve, "whole", private)


def oct_algorithms(peer):
    for size in (128, 192, 256):
        key = make("oct", size, by=peer.name)
        service = Service(f"al-oct-{size}", key)
        wraps(peer, service, f"A{size}KW", size, key)
        modes_ = ("GCM", "CBC", "CBCPAD") if peer.name == "python" else ("CBC", "CBCPAD")
        for mode in modes_:
            seals(peer, service, f"A{size}{mode}", size, key)
    for algorithm in HMACS:
        believes(peer, service, algorithm, 256, "whole", key)
        is_believed(peer, service, algorithm, 256, "whole", key)


def wraps(peer, service, algorithm, size, key):
    for length in (16, 24, 32, 64, 8 * (2 + os.urandom(1)[0])):
        data = os.urandom(length)
        value = peer.wrap(algorithm, key, data)
        assert service.do("unwrapkey", algorithm, value=value)["value"] == data, (algorithm, length)
        assert service.do("wrapkey", algorithm, value=data)["value"] == value, (algorithm, length)
        assert peer.unwrap(algorithm, key, value) == data
    checked(algorithm, size, "whole", peer, "peer-to-service")
    checked(algorithm, size, "whole", peer, "service-to-peer")


def seals(peer, service, algorithm, size, key):
    is_gcm = algorithm.endswith("GCM")
    lengths = (16, 4096) if algorithm.endswith("CBC") else (1, 15, 16, 17, 1000 + os.urandom(1)[0])
    for length in lengths:
        data, iv = os.urandom(length), os.urandom(12 if is_gcm else 16)
        aad = os.urandom(os.urandom(1)[0] % 64) or None if is_gcm else None
        value, tag = peer.seal(algorithm, key, data, iv, aad)
        opened = service.do("decrypt", algorithm, value=value, iv=iv, tag=tag, aad=aad)["value"]
        assert opened == data, (algorithm, length)
        sealed = service.do("encrypt", algorithm, value=data, iv=None if is_gcm else iv, aad=aad)
        opened = peer.open(algorithm, key, sealed["value"], sealed["iv"], sealed.get("tag"), aad)
        assert opened == data, (algorithm, length)
        if not is_gcm:
            assert sealed["iv"] == iv and sealed["value"] == value
    checked(algorithm, size, "whole", peer, "peer-to-service")
    checked(algorithm, size, "whole", peer, "service-to-peer")


def every_algorithm(peer):
    rsa_algorithms(peer)
    ec_algorithms(peer)
    oct_algorithms(peer)


def against_the_package_cryptography():
    every_algorithm(Python())


def against_the_openssl_command():
    print(openssl("version").decode().strip())
    with tempfile.TemporaryDirectory() as folder:
        every_algorithm(OpenSsl(folder))


run([against_the_package_cryptography, against_the_openssl_command])
