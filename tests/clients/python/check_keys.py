"""Everything that azure.keyvault.keys.KeyClient offers, and what it makes of each answer."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.rest import HttpRequest
from azure.keyvault.keys import (
    ApiVersion, KeyOperation, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction, KeyType,
    KeyVaultKeyIdentifier,
)
from azure.keyvault.keys.crypto import SignatureAlgorithm

from common import URL, VERSION, each_once_in_order, key_client, near, now, recoverable, refused, run
from jwk import CURVES, OPTIONAL, assert_public, make, public_key, to_jwk

client = key_client()
DIGEST = bytes(range(32))
RSA_OPERATIONS = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
EC_OPERATIONS = ["sign", "verify"]
REFUSED = (HttpResponseError, 400, "BadParameter")
NOT_FOUND = (ResourceNotFoundError, 404, "KeyNotFound")


def identified(key, name):
    """The id is the collection, the name and a version, at the address that the client called."""
    properties = getattr(key, "properties", key)
    assert properties.name == name, properties.name
    assert VERSION.fullmatch(properties.version), properties.version
    assert properties.id == f"{URL}/keys/{name}/{properties.version}", properties.id
    assert properties.vault_url == URL, properties.vault_url
    assert KeyVaultKeyIdentifier(properties.id).version == properties.version
    if properties is not key:
        assert key.id == key.key.kid == properties.id and key.name == name
        assert_public(key.key)
    return properties.version


def refuses(call, *wanted):
    return refused(call, *(wanted or REFUSED))


def create_with_everything():
    start, end = now() - timedelta(hours=1), now() + timedelta(days=30)
    made = client.create_rsa_key(
        "py-full", size=2048, key_operations=["sign", "verify"], enabled=True, tags={"owner": "tests", "empty": ""},
        not_before=start, expires_on=end,
    )
    version = identified(made, "py-full")
    for key in (made, client.get_key("py-full"), client.get_key("PY-FULL", version)):
        assert identified(key, "py-full") == version
        assert (key.key_type, key.key_operations) == ("RSA", ["sign", "verify"])
        assert public_key(key.key).key_size == 2048 and key.key.e == b"\x01\x00\x01"
        properties = key.properties
        assert properties.tags == {"owner": "tests", "empty": ""}
        assert properties.enabled is True
        assert (properties.not_before, properties.expires_on) == (start, end)
        assert not properties.managed and not properties.exportable and properties.release_policy is None
        near(properties.created_on, now())
        near(properties.updated_on, now())
        recoverable(properties)


def rsa_of_every_size():
    default = client.create_key("py-rsa", KeyType.rsa)
    assert public_key(default.key).key_size == 2048
    assert default.key_operations == RSA_OPERATIONS
    assert default.properties.enabled is True and not default.properties.tags
    assert default.properties.not_before is None and default.properties.expires_on is None
    for size in (2048, 3072, 4096):
        key = client.create_rsa_key("py-rsa", size=size, public_exponent=65537)
        assert public_key(key.key).key_size == size
    hsm = client.create_rsa_key("py-rsa-hsm", hardware_protected=True)
    assert hsm.key_type == client.get_key("py-rsa-hsm").key_type == "RSA-HSM"


def ec_on_every_curve():
    assert client.create_ec_key("py-ec").key.crv == "P-256"
    for curve, (_, name) in CURVES.items():
        key = client.create_ec_key("py-ec", curve=curve)
        identified(key, "py-ec")
        assert (key.key_type, key.key.crv, key.key_operations) == ("EC", curve, EC_OPERATIONS), name
        public_key(key.key)
    assert client.create_key("py-ec", "EC", curve="SECP256K1").key.crv == "P-256K", "the older name"
    assert client.create_ec_key("py-ec-hsm", hardware_protected=True).key_type == "EC-HSM"


def oct_of_every_size():
    for size in (128, 192, 256):
        key = client.create_oct_key("py-oct", size=size)
        identified(key, "py-oct")
        assert (key.key_type, key.key_operations) == ("oct", RSA_OPERATIONS)
    assert client.create_oct_key("py-oct-hsm", hardware_protected=True).key_type == "oct-HSM"


def what_no_key_can_be():
    for call in (
        lambda: client.create_rsa_key("py-no", size=1024),
        lambda: client.create_rsa_key("py-no", size=2047),
        lambda: client.create_rsa_key("py-no", public_exponent=3),
        lambda: client.create_ec_key("py-no", curve="P-224"),
        lambda: client.create_oct_key("py-no", size=64),
        lambda: client.create_key("py-no", "OKP"),
        lambda: client.create_key("py-no", "rsa"),
        lambda: client.create_ec_key("py-no", key_operations=["encrypt"]),
        lambda: client.create_ec_key("py-no", key_operations=["dance"]),
        lambda: client.create_ec_key("py-no", exportable=True),
        lambda: client.create_ec_key("py-no", tags={f"tag{n}": "v" for n in range(16)}),
        lambda: client.create_ec_key("py_no"),
        lambda: client.create_ec_key("n" * 128),
        lambda: client.get_key("py-full", "no-version"),
        lambda: list(client.list_properties_of_keys(max_page_size=26)),
    ):
        refuses(call)
    refuses(lambda: client.get_key("py-no"), *NOT_FOUND)


def import_of_every_kind():
    rsa, curve, symmetric = make("RSA", 2048), make("EC", "P-384"), make("oct", 192)
    for key, kind in ((rsa, "RSA"), (curve, "EC"), (symmetric, "oct")):
        for hardware in (False, True):
            end = now() + timedelta(days=9)
            taken = client.import_key(
                "py-import", to_jwk(key), hardware_protected=hardware, tags={"k": "v"}, expires_on=end
            )
            identified(taken, "py-import")
            assert taken.key_type == (kind + "-HSM" if hardware else kind)
            assert taken.properties.tags == {"k": "v"} and taken.properties.expires_on == end
            if kind != "oct":
                assert public_key(taken.key) == key.public_key()
    least = client.import_key("py-import", to_jwk(rsa, without=OPTIONAL, key_ops=["sign"]))
    assert public_key(least.key) == rsa.public_key() and least.key_operations == ["sign"]
    assert client.import_key("py-import", to_jwk(curve), enabled=False).properties.enabled is False


def import_of_what_is_broken():
    rsa, curve = make("RSA", 2048), make("EC", "P-256")
    whole, other = to_jwk(rsa), to_jwk(make("RSA", 2048))
    for jwk in (
        to_jwk(rsa, without=("d",)),
        to_jwk(rsa, without=("n",)),
        to_jwk(rsa, without=("dp",)),
        to_jwk(curve, without=("d",)),
        to_jwk(curve, without=("y",)),
        to_jwk(b"eight by"),
        to_jwk(make("RSA", 1024)),
    ):
        refuses(lambda jwk=jwk: client.import_key("py-broken", jwk))
    for member in ("n", "d", "p", "q", "dp", "dq", "qi"):
        jwk = to_jwk(rsa)
        setattr(jwk, member, getattr(other, member))
        refuses(lambda jwk=jwk: client.import_key("py-broken", jwk))
    point = to_jwk(curve)
    point.d = to_jwk(make("EC", "P-256")).d
    refuses(lambda: client.import_key("py-broken", point))
    wrapped = to_jwk(rsa, t=b"a key for somebody else's HSM")
    refuses(lambda: client.import_key("py-broken", wrapped))
    whole.kty = "EC"
    refuses(lambda: client.import_key("py-broken", whole))
    refuses(lambda: client.get_key("py-broken"), *NOT_FOUND)


def versions_stay():
    first = client.create_ec_key("py-versions", tags={"n": "1"})
    second = client.create_rsa_key("py-versions")
    assert first.properties.version != second.properties.version
    assert client.get_key("py-versions").key_type == "RSA"
    old = client.get_key("py-versions", first.properties.version)
    assert (old.key_type, old.properties.tags, old.key.x) == ("EC", {"n": "1"}, first.key.x)
    assert not client.get_key("py-versions").properties.tags, "a new version inherits nothing"


def update_changes_what_is_named():
    first = client.create_ec_key("py-update", tags={"k": "v"})
    version = first.properties.version
    end = now() + timedelta(days=3)
    key = client.update_key_properties("py-update", key_operations=[KeyOperation.verify])
    assert (key.key_operations, key.properties.tags, key.properties.enabled) == (["verify"], {"k": "v"}, True)
    assert identified(key, "py-update") == version and key.key.x == first.key.x
    key = client.update_key_properties("py-update", version, tags={"x": "y"}, expires_on=end)
    assert (key.key_operations, key.properties.tags, key.properties.expires_on) == (["verify"], {"x": "y"}, end)
    assert key.properties.created_on == first.properties.created_on
    assert key.properties.updated_on >= first.properties.updated_on
    key = client.update_key_properties("py-update", tags={}, enabled=False)
    assert not key.properties.tags and key.properties.enabled is False and key.properties.expires_on == end
    second = client.create_ec_key("py-update")
    client.update_key_properties("py-update", version, tags={"old": "one"})
    assert not client.get_key("py-update").properties.tags
    assert client.get_key("py-update").properties.version == second.properties.version
    refuses(lambda: client.update_key_properties("py-update", key_operations=["encrypt"]))


def disabled_is_listed_and_does_nothing():
    key = client.create_ec_key("py-disabled", enabled=False)
    assert client.get_key("py-disabled").properties.enabled is False
    assert {p.name: p.enabled for p in client.list_properties_of_keys()}["py-disabled"] is False
    # A client that was given the key's name asks the service.
    signer = client.get_cryptography_client("py-disabled", key_version=key.properties.version)
    refuses(
        lambda: signer.sign(SignatureAlgorithm.es256, DIGEST), HttpResponseError, 403, "Forbidden", "KeyDisabled"
    )
    client.update_key_properties("py-disabled", enabled=True)
    assert len(signer.sign(SignatureAlgorithm.es256, DIGEST).signature) == 64


def a_cryptography_client_of_the_key_client():
    key = client.create_ec_key("py-crypto")
    client.create_ec_key("py-crypto")
    for crypto in (
        client.get_cryptography_client("py-crypto"),
        client.get_cryptography_client("py-crypto", key_version=key.properties.version),
    ):
        signature = crypto.sign(SignatureAlgorithm.es256, DIGEST).signature
        assert crypto.verify(SignatureAlgorithm.es256, DIGEST, signature).is_valid
        identified(client.get_key("py-crypto", crypto.key_id.rsplit("/", 1)[1]), "py-crypto")
    assert crypto.key_id == key.id


NAMES = [f"py-List-{n:02}" if n % 2 else f"py-list-{n:02}" for n in range(53)]


def many_keys_are_listed_page_by_page():
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: client.create_ec_key(name, tags={"n": name}), NAMES))
    for options, size in (({}, 25), ({"max_page_size": 25}, 25), ({"max_page_size": 7}, 7)):
        listed = each_once_in_order(client.list_properties_of_keys(**options).by_page(), NAMES, size)
        assert len(listed) > 53
    one = next(p for p in listed if p.name == NAMES[3])
    assert one.version is None and one.id == f"{URL}/keys/{NAMES[3]}"
    assert one.tags == {"n": NAMES[3]} and one.enabled is True
    near(one.created_on, now())


def many_versions_are_listed_page_by_page():
    with ThreadPoolExecutor(16) as threads:
        made = {k.properties.version for k in threads.map(lambda n: client.create_ec_key("py-deep"), range(53))}
    assert len(made) == 53, "each write made a version of its own"
    for options, size in (({}, 25), ({"max_page_size": 10}, 10)):
        pages = [list(page) for page in client.list_properties_of_key_versions("py-deep", **options).by_page()]
        assert all(len(page) <= size for page in pages), [len(page) for page in pages]
        assert sorted(identified(p, "py-deep") for page in pages for p in page) == sorted(made)
    assert list(client.list_properties_of_key_versions("py-never")) == []


def deleted_can_be_seen_and_recovered():
    first = client.create_ec_key("py-delete", tags={"a": "b"})
    second = client.create_ec_key("py-delete", tags={"a": "b"})
    poller = client.begin_delete_key("py-delete")
    poller.wait()
    listed = {d.name: d for d in client.list_deleted_keys()}
    for deleted in (poller.result(), client.get_deleted_key("PY-DELETE"), listed["py-delete"]):
        assert deleted.name == "py-delete"
        assert deleted.recovery_id == f"{URL}/deletedkeys/py-delete", deleted.recovery_id
        near(deleted.deleted_date, now())
        days = (deleted.scheduled_purge_date - deleted.deleted_date).days
        assert days == recoverable(deleted.properties), days
        assert deleted.properties.tags == {"a": "b"}
        assert deleted.id.startswith(f"{URL}/keys/py-delete"), deleted.id
    assert client.get_deleted_key("py-delete").key.x == second.key.x
    version = first.properties.version
    refuses(lambda: client.get_key("py-delete"), *NOT_FOUND)
    refuses(lambda: client.get_key("py-delete", version), *NOT_FOUND)
    assert "py-delete" not in {p.name for p in client.list_properties_of_keys()}
    taken = (ResourceExistsError, 409, "Conflict", "ObjectIsDeletedButRecoverable")
    refuses(lambda: client.create_ec_key("py-delete"), *taken)
    refuses(lambda: client.import_key("py-delete", to_jwk(make("oct", 128))), *taken)
    poller = client.begin_recover_deleted_key("py-delete")
    poller.wait()
    identified(poller.result(), "py-delete")
    assert client.get_key("py-delete").key.x == second.key.x
    assert client.get_key("py-delete", version).key.x == first.key.x
    assert len(list(client.list_properties_of_key_versions("py-delete"))) == 2
    refuses(lambda: client.get_deleted_key("py-delete"), *NOT_FOUND)


def deleted_are_listed_page_by_page_and_purged():
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: client.begin_delete_key(name).wait(), NAMES))
        for options, size in (({}, 25), ({"max_page_size": 9}, 9)):
            each_once_in_order(client.list_deleted_keys(**options).by_page(), NAMES, size)
        assert not {p.name for p in client.list_properties_of_keys()} & set(NAMES)
        assert list(threads.map(client.purge_deleted_key, NAMES)) == [None] * len(NAMES)
    assert not {d.name for d in client.list_deleted_keys()} & set(NAMES)
    refuses(lambda: client.get_deleted_key(NAMES[0]), *NOT_FOUND)
    again = client.create_ec_key(NAMES[0])
    assert [p.version for p in client.list_properties_of_key_versions(NAMES[0])] == [again.properties.version]


def backup_and_restore():
    k = make("oct", 256)
    first = client.import_key("py-backup", to_jwk(k), tags={"n": "1"})
    second = client.create_ec_key("py-backup")
    signer = client.get_cryptography_client("py-backup", key_version=second.properties.version)
    signature = signer.sign(SignatureAlgorithm.es256, DIGEST).signature
    client.update_key_rotation_policy("py-backup", KeyRotationPolicy(), expires_in="P90D")
    blob = client.backup_key("py-backup")
    assert isinstance(blob, bytes) and k not in blob, "a backup is sealed"
    refuses(lambda: client.restore_key_backup(blob), ResourceExistsError, 409, "Conflict")
    client.begin_delete_key("py-backup").wait()
    refuses(lambda: client.restore_key_backup(blob), ResourceExistsError, 409, "Conflict")
    client.purge_deleted_key("py-backup")
    restored = client.restore_key_backup(blob)
    assert identified(restored, "py-backup") == second.properties.version
    assert restored.key.x == second.key.x
    assert signer.verify(SignatureAlgorithm.es256, DIGEST, signature).is_valid
    old = client.get_key("py-backup", first.properties.version)
    assert (old.key_type, old.properties.tags) == ("oct", {"n": "1"})
    assert old.properties.created_on == first.properties.created_on
    assert client.get_key_rotation_policy("py-backup").expires_in == "P90D"
    middle = len(blob) // 2
    flipped = blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
    for damaged in (flipped, blob[:-1], b"", b"no backup"):
        try:
            client.restore_key_backup(damaged)
            raise AssertionError("a damaged backup was restored")
        except HttpResponseError as error:
            assert error.status_code == 400, error


def rotation_policy():
    client.create_ec_key("py-policy")
    default = client.get_key_rotation_policy("py-policy")
    assert default.id == f"{URL}/keys/py-policy/rotationpolicy", default.id
    assert [(a.action, a.time_before_expiry) for a in default.lifetime_actions] == [("Notify", "P30D")]
    assert default.expires_in is None
    rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P60D")
    answered = client.update_key_rotation_policy(
        "py-policy", KeyRotationPolicy(), lifetime_actions=[rotate], expires_in="P90D"
    )
    for policy in (answered, client.get_key_rotation_policy("py-policy")):
        actions = {a.action: (a.time_after_create, a.time_before_expiry) for a in policy.lifetime_actions}
        assert actions == {"Rotate": ("P60D", None), "Notify": (None, "P30D")}, actions
        assert policy.expires_in == "P90D" and policy.id == default.id
        near(policy.created_on, now())
        near(policy.updated_on, now())
    notify = KeyRotationLifetimeAction(KeyRotationPolicyAction.notify, time_before_expiry="P10D")
    client.update_key_rotation_policy("py-policy", answered, lifetime_actions=[rotate, notify])
    actions = {a.action: a.time_before_expiry for a in client.get_key_rotation_policy("py-policy").lifetime_actions}
    assert actions == {"Rotate": None, "Notify": "P10D"}, actions
    for action, expiry in (
        (KeyRotationLifetimeAction("Rotate", time_after_create="PT1H"), "P90D"),
        (KeyRotationLifetimeAction("Rotate", time_after_create="P89D"), "P90D"),
        (KeyRotationLifetimeAction("Rotate", time_after_create="sixty days"), "P90D"),
        (KeyRotationLifetimeAction("Rotate", time_before_expiry="P20D"), None),
        (rotate, "P1D"),
    ):
        policy = KeyRotationPolicy(lifetime_actions=[action], expires_in=expiry)
        refuses(lambda policy=policy: client.update_key_rotation_policy("py-policy", policy))
    refuses(lambda: client.get_key_rotation_policy("py-absent"), *NOT_FOUND)


def rotate_makes_a_version_of_the_same_kind():
    for make_one in (
        lambda: client.create_ec_key("py-rotate", curve="P-521", key_operations=["sign"], tags={"r": "1"}),
        lambda: client.create_rsa_key("py-rotate", size=3072, tags={"r": "1"}),
        lambda: client.create_oct_key("py-rotate", size=192, tags={"r": "1"}),
    ):
        before = make_one()
        client.update_key_rotation_policy("py-rotate", KeyRotationPolicy(), expires_in="P90D")
        after = client.rotate_key("py-rotate")
        assert identified(after, "py-rotate") != before.properties.version
        assert client.get_key("py-rotate").properties.version == after.properties.version
        assert (after.key_type, after.key_operations) == (before.key_type, before.key_operations)
        assert after.properties.tags == {"r": "1"} and after.key.crv == before.key.crv
        assert after.key.n is None or (after.key.n != before.key.n and len(after.key.n) == len(before.key.n))
        assert after.key.x is None or after.key.x != before.key.x
        near(after.properties.expires_on, now() + timedelta(days=90))
        again = client.get_key("py-rotate", before.properties.version)
        assert again.key.n == before.key.n and again.properties.expires_on is None
    refuses(lambda: client.rotate_key("py-absent"), *NOT_FOUND)


def random_bytes():
    for count in (1, 32, 128):
        assert len(client.get_random_bytes(count)) == count
    assert client.get_random_bytes(32) != client.get_random_bytes(32)
    refuses(lambda: client.get_random_bytes(129))


def what_is_not_there():
    absent = "py-absent"
    for call in (
        lambda: client.get_key(absent),
        lambda: client.get_key(absent, "0" * 32),
        lambda: client.get_key("py-full", "0" * 32),
        lambda: client.update_key_properties(absent, tags={}),
        lambda: client.update_key_properties("py-full", "0" * 32, tags={}),
        lambda: client.begin_delete_key(absent),
        lambda: client.backup_key(absent),
        lambda: client.get_deleted_key(absent),
        lambda: client.begin_recover_deleted_key(absent),
        lambda: client.purge_deleted_key(absent),
        lambda: client.purge_deleted_key("py-full"),
        lambda: client.get_cryptography_client(absent).sign(SignatureAlgorithm.es256, DIGEST),
    ):
        refuses(call, *NOT_FOUND)


def every_version_of_the_api():
    for version in ApiVersion:
        with key_client(api_version=version) as old:
            made = old.create_ec_key("py-api", tags={"v": version.value})
            assert old.get_key("py-api").properties.tags == {"v": version.value}
            crypto = old.get_cryptography_client("py-api", key_version=made.properties.version)
            assert len(crypto.sign(SignatureAlgorithm.es256, DIGEST).signature) == 64


def a_request_of_ones_own():
    answer = client.send_request(HttpRequest("GET", "keys/py-full"))
    answer.raise_for_status()
    assert set(answer.json()["key"]) == {"kid", "kty", "key_ops", "n", "e"}


run([
    create_with_everything,
    rsa_of_every_size,
    ec_on_every_curve,
    oct_of_every_size,
    what_no_key_can_be,
    import_of_every_kind,
    import_of_what_is_broken,
    versions_stay,
    update_changes_what_is_named,
    disabled_is_listed_and_does_nothing,
    a_cryptography_client_of_the_key_client,
    many_keys_are_listed_page_by_page,
    many_versions_are_listed_page_by_page,
    deleted_can_be_seen_and_recovered,
    deleted_are_listed_page_by_page_and_purged,
    backup_and_restore,
    rotation_policy,
    rotate_makes_a_version_of_the_same_kind,
    random_bytes,
    what_is_not_there,
    every_version_of_the_api,
    a_request_of_ones_own,
])
