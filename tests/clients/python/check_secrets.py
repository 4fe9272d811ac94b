"""Everything that azure.keyvault.secrets.SecretClient offers, and what it makes of each answer."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.rest import HttpRequest
from azure.keyvault.secrets import KeyVaultSecretIdentifier

from common import (
    URL, VERSION, each_once_in_order, near, now, recoverable, refused, run, secret_client, value,
)

client = secret_client()


def identified(properties, name):
    """The id is the collection, the name and a version, at the address that the client called."""
    assert properties.name == name
    assert VERSION.fullmatch(properties.version), properties.version
    assert properties.id == f"{URL}/secrets/{name}/{properties.version}", properties.id
    assert properties.vault_url == URL, properties.vault_url
    assert KeyVaultSecretIdentifier(properties.id).vault_url == URL


def set_with_everything():
    start, end = now() - timedelta(hours=1), now() + timedelta(days=30)
    secret = client.set_secret(
        "py-full", value("full ü €"), content_type="text/plain", tags={"owner": "tests", "empty": ""},
        enabled=True, not_before=start, expires_on=end,
    )
    for found in (secret, client.get_secret("py-full"), client.get_secret("py-full", secret.properties.version)):
        properties = found.properties
        assert found.value == value("full ü €")
        identified(properties, "py-full")
        assert properties.version == secret.properties.version
        assert properties.content_type == "text/plain"
        assert properties.tags == {"owner": "tests", "empty": ""}
        assert properties.enabled is True
        assert (properties.not_before, properties.expires_on) == (start, end)
        assert properties.managed is None and properties.key_id is None
        near(properties.created_on, now())
        near(properties.updated_on, now())
        recoverable(properties)


def set_with_nothing():
    properties = client.set_secret("py-bare", value("bare")).properties
    identified(properties, "py-bare")
    assert properties.enabled is True
    assert properties.not_before is None and properties.expires_on is None
    assert properties.content_type is None and not properties.tags


def versions_stay():
    first = client.set_secret("py-versions", value("one"), tags={"n": "1"})
    second = client.set_secret("py-versions", value("two"))
    assert first.properties.version != second.properties.version
    assert client.get_secret("py-versions").value == value("two")
    old = client.get_secret("py-versions", first.properties.version)
    assert (old.value, old.properties.tags) == (value("one"), {"n": "1"})
    assert not client.get_secret("py-versions").properties.tags, "a new version inherits nothing"


def names_match_without_case():
    client.set_secret("py-Case", value("case one"))
    assert client.get_secret("PY-cASE").value == value("case one")
    client.set_secret("PY-CASE", value("case two"))
    assert client.get_secret("py-case").value == value("case two")
    mine = [p.name for p in client.list_properties_of_secrets() if p.name.lower() == "py-case"]
    assert len(mine) == 1, mine
    assert len(list(client.list_properties_of_secret_versions("py-cASE"))) == 2


def sizes_at_the_limit():
    longest = (value("") + "x" * 25600)[:25600]
    client.set_secret("py-large", longest, content_type="c" * 255)
    found = client.get_secret("py-large")
    assert found.value == longest and found.properties.content_type == "c" * 255
    name = "n" * 127
    identified(client.set_secret(name, value("name")).properties, name)
    tags = {f"tag{n}": "v" * 256 for n in range(15)}
    assert client.set_secret("py-tags", value("tags"), tags=tags).properties.tags == tags


def beyond_the_limits():
    for call in (
        lambda: client.set_secret("py-over", "x" * 25601),
        lambda: client.set_secret("py-over", value("over"), tags={f"tag{n}": "v" for n in range(16)}),
        lambda: client.set_secret("py-over", value("over"), content_type="c" * 256),
        lambda: client.set_secret("py_over", value("over")),
        lambda: client.set_secret("n" * 128, value("over")),
        lambda: client.get_secret("py-full", "no-version"),
        lambda: list(client.list_properties_of_secrets(max_page_size=26)),
        lambda: list(client.list_properties_of_secrets(max_page_size=0)),
    ):
        refused(call, HttpResponseError, 400, "BadParameter")
    refused(lambda: client.get_secret("py-over"), ResourceNotFoundError, 404, "SecretNotFound")


def update_changes_what_is_named():
    first = client.set_secret("py-update", value("update"), content_type="a", tags={"k": "v"})
    end = now() + timedelta(days=3)
    properties = client.update_secret_properties("py-update", content_type="b")
    assert (properties.content_type, properties.tags, properties.enabled) == ("b", {"k": "v"}, True)
    identified(properties, "py-update")
    properties = client.update_secret_properties(
        "py-update", first.properties.version, tags={"x": "y"}, expires_on=end
    )
    assert (properties.content_type, properties.tags, properties.expires_on) == ("b", {"x": "y"}, end)
    assert properties.version == first.properties.version
    assert properties.created_on == first.properties.created_on
    assert properties.updated_on >= first.properties.updated_on
    properties = client.update_secret_properties("py-update", tags={}, enabled=False)
    assert not properties.tags and properties.enabled is False and properties.expires_on == end
    client.update_secret_properties("py-update", enabled=True)
    found = client.get_secret("py-update")
    assert (found.value, found.properties.content_type) == (value("update"), "b")
    second = client.set_secret("py-update", value("update two"))
    client.update_secret_properties("py-update", first.properties.version, content_type="old")
    assert client.get_secret("py-update").properties.content_type is None
    assert client.get_secret("py-update").properties.version == second.properties.version


def disabled_is_refused_and_listed():
    old = client.set_secret("py-disabled", value("disabled"), enabled=False)
    assert old.properties.enabled is False
    error = refused(
        lambda: client.get_secret("py-disabled"), HttpResponseError, 403, "Forbidden", "SecretDisabled"
    )
    assert "Operation get is not allowed on a disabled secret." in error.message, error.message
    version = old.properties.version
    refused(
        lambda: client.get_secret("py-disabled", version), HttpResponseError, 403, "Forbidden", "SecretDisabled"
    )
    listed = {p.name: p.enabled for p in client.list_properties_of_secrets()}
    assert listed["py-disabled"] is False
    client.update_secret_properties("py-disabled", enabled=True)
    assert client.get_secret("py-disabled").value == value("disabled")


def dates_are_advisory():
    client.set_secret("py-expired", value("expired"), expires_on=now() - timedelta(days=1))
    assert client.get_secret("py-expired").value == value("expired")
    client.set_secret("py-early", value("early"), not_before=now() + timedelta(days=1))
    assert client.get_secret("py-early").value == value("early")


NAMES = [f"py-List-{n:02}" if n % 2 else f"py-list-{n:02}" for n in range(53)]


def many_secrets_are_listed_page_by_page():
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: client.set_secret(name, value(name), tags={"n": name}), NAMES))
    for options, size in (({}, 25), ({"max_page_size": 25}, 25), ({"max_page_size": 7}, 7)):
        listed = each_once_in_order(client.list_properties_of_secrets(**options).by_page(), NAMES, size)
        assert len(listed) > 53
    one = next(p for p in listed if p.name == NAMES[3])
    assert one.version is None and one.id == f"{URL}/secrets/{NAMES[3]}"
    assert one.tags == {"n": NAMES[3]} and one.enabled is True
    near(one.created_on, now())
    # A page's token carries on in another client.
    pages = client.list_properties_of_secrets(max_page_size=20).by_page()
    first = [p.name for p in next(pages)]
    rest = secret_client().list_properties_of_secrets(max_page_size=20).by_page(pages.continuation_token)
    again = first + [p.name for page in rest for p in page]
    assert len(again) == len(set(again)) == len(listed)


def many_versions_are_listed_page_by_page():
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda n: client.set_secret("py-deep", value(f"deep {n}")), range(53)))
    made = {s.properties.version: s.value for s in made}
    assert len(made) == 53, "each write made a version of its own"
    for options, size in (({}, 25), ({"max_page_size": 10}, 10)):
        pages = [list(page) for page in client.list_properties_of_secret_versions("py-deep", **options).by_page()]
        assert all(len(page) <= size for page in pages), [len(page) for page in pages]
        found = [p for page in pages for p in page]
        assert sorted(p.version for p in found) == sorted(made)
        for p in found:
            identified(p, "py-deep")
    for version in list(made)[::9]:
        assert client.get_secret("py-deep", version).value == made[version]
    assert client.get_secret("py-deep").properties.version in made
    assert list(client.list_properties_of_secret_versions("py-never")) == []


def deleted_can_be_seen_and_recovered():
    secret = client.set_secret("py-delete", value("delete one"), content_type="t", tags={"a": "b"})
    client.set_secret("py-delete", value("delete two"), content_type="t", tags={"a": "b"})
    poller = client.begin_delete_secret("py-delete")
    poller.wait()
    listed = {d.name: d for d in client.list_deleted_secrets()}
    for deleted in (poller.result(), client.get_deleted_secret("PY-DELETE"), listed["py-delete"]):
        assert deleted.name == "py-delete"
        assert deleted.recovery_id == f"{URL}/deletedsecrets/py-delete", deleted.recovery_id
        near(deleted.deleted_date, now())
        days = (deleted.scheduled_purge_date - deleted.deleted_date).days
        assert days == recoverable(deleted.properties), days
        assert deleted.properties.tags == {"a": "b"} and deleted.properties.content_type == "t"
        assert deleted.id.startswith(f"{URL}/secrets/py-delete"), deleted.id
    refused(lambda: client.get_secret("py-delete"), ResourceNotFoundError, 404, "SecretNotFound")
    version = secret.properties.version
    refused(lambda: client.get_secret("py-delete", version), ResourceNotFoundError, 404, "SecretNotFound")
    assert "py-delete" not in {p.name for p in client.list_properties_of_secrets()}
    refused(
        lambda: client.set_secret("py-delete", value("again")), ResourceExistsError, 409, "Conflict",
        "ObjectIsDeletedButRecoverable",
    )
    poller = client.begin_recover_deleted_secret("py-delete")
    poller.wait()
    identified(poller.result(), "py-delete")
    assert client.get_secret("py-delete").value == value("delete two")
    assert client.get_secret("py-delete", version).value == value("delete one")
    assert len(list(client.list_properties_of_secret_versions("py-delete"))) == 2
    refused(lambda: client.get_deleted_secret("py-delete"), ResourceNotFoundError, 404, "SecretNotFound")


def deleted_are_listed_page_by_page_and_purged():
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: client.begin_delete_secret(name).wait(), NAMES))
        for options, size in (({}, 25), ({"max_page_size": 9}, 9)):
            each_once_in_order(client.list_deleted_secrets(**options).by_page(), NAMES, size)
        left = {p.name for p in client.list_properties_of_secrets()}
        assert not left & set(NAMES)
        assert list(threads.map(client.purge_deleted_secret, NAMES)) == [None] * len(NAMES)
    assert not {d.name for d in client.list_deleted_secrets()} & set(NAMES)
    refused(lambda: client.get_deleted_secret(NAMES[0]), ResourceNotFoundError, 404, "SecretNotFound")
    # A purged name is free; nothing of the old one comes back.
    again = client.set_secret(NAMES[0], value("again"))
    assert [p.version for p in client.list_properties_of_secret_versions(NAMES[0])] == [again.properties.version]


def backup_and_restore():
    first = client.set_secret("py-backup", value("backup one"), tags={"n": "1"}, content_type="x")
    second = client.set_secret("py-backup", value("backup two"))
    blob = client.backup_secret("py-backup")
    assert isinstance(blob, bytes) and value("")[:12].encode() not in blob, "a backup is sealed"
    refused(lambda: client.restore_secret_backup(blob), ResourceExistsError, 409, "Conflict")
    client.begin_delete_secret("py-backup").wait()
    refused(lambda: client.restore_secret_backup(blob), ResourceExistsError, 409, "Conflict")
    client.purge_deleted_secret("py-backup")
    properties = client.restore_secret_backup(blob)
    identified(properties, "py-backup")
    assert properties.version == second.properties.version
    assert client.get_secret("py-backup").value == value("backup two")
    old = client.get_secret("py-backup", first.properties.version)
    assert (old.value, old.properties.tags, old.properties.content_type) == (value("backup one"), {"n": "1"}, "x")
    assert old.properties.created_on == first.properties.created_on
    middle = len(blob) // 2
    flipped = blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
    for damaged in (flipped, blob[:-1], b"", b"no backup"):
        try:
            client.restore_secret_backup(damaged)
            raise AssertionError("a damaged backup was restored")
        except HttpResponseError as error:
            assert error.status_code == 400, error


def what_is_not_there():
    absent = "py-absent"
    for call in (
        lambda: client.get_secret(absent),
        lambda: client.get_secret(absent, "0" * 32),
        lambda: client.get_secret("py-full", "0" * 32),
        lambda: client.update_secret_properties(absent, tags={}),
        lambda: client.update_secret_properties("py-full", "0" * 32, tags={}),
        lambda: client.begin_delete_secret(absent),
        lambda: client.backup_secret(absent),
        lambda: client.get_deleted_secret(absent),
        lambda: client.begin_recover_deleted_secret(absent),
        lambda: client.purge_deleted_secret(absent),
        lambda: client.purge_deleted_secret("py-full"),
    ):
        refused(call, ResourceNotFoundError, 404, "SecretNotFound")


def every_version_of_the_api():
    versions = ["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"]
    for version in versions:
        with secret_client(api_version=version) as old:
            old.set_secret("py-api", value(version))
            assert old.get_secret("py-api").value == value(version)
            assert "py-api" in {p.name for p in old.list_properties_of_secrets()}


def headers_of_an_answer():
    seen = {}
    client.get_secret("py-full", raw_response_hook=lambda r: seen.update(r.http_response.headers))
    lower = {name.lower(): text for name, text in seen.items()}
    assert lower["cache-control"] == "no-cache"
    assert lower["content-type"] == "application/json; charset=utf-8"
    assert re.fullmatch("[0-9a-f-]{36}", lower["x-ms-request-id"])
    assert lower["x-ms-keyvault-region"] and lower["x-ms-keyvault-service-version"]
    asked = {}
    client.get_secret("py-full", raw_request_hook=lambda r: asked.update(r.http_request.headers),
                      raw_response_hook=lambda r: seen.update(r.http_response.headers))
    assert seen["x-ms-client-request-id"] == asked["x-ms-client-request-id"]


def a_request_of_ones_own():
    answer = client.send_request(HttpRequest("GET", "secrets/py-full"))
    answer.raise_for_status()
    assert answer.json()["value"] == value("full ü €")


run([
    set_with_everything,
    set_with_nothing,
    versions_stay,
    names_match_without_case,
    sizes_at_the_limit,
    beyond_the_limits,
    update_changes_what_is_named,
    disabled_is_refused_and_listed,
    dates_are_advisory,
    many_secrets_are_listed_page_by_page,
    many_versions_are_listed_page_by_page,
    deleted_can_be_seen_and_recovered,
    deleted_are_listed_page_by_page_and_purged,
    backup_and_restore,
    what_is_not_there,
    every_version_of_the_api,
    headers_of_an_answer,
    a_request_of_ones_own,
])
