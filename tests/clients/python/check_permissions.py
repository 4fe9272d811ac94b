"""What clients with less than every right see. The test made the clients, vaults and assignments."""

import os

from azure.core.exceptions import HttpResponseError
from azure.keyvault.secrets import SecretClient

from common import URL, credential, refused, run, secret_client, value


def client_of(name, vault="dev"):
    client, secret = os.environ[f"VALV_{name}"].split(":", 1)
    return SecretClient(URL.replace("//dev.", f"//{vault}."), credential(client=client, secret=secret))


def forbidden(call, inner, *words):
    error = refused(call, HttpResponseError, 403, "Forbidden", inner)
    for word in words:
        assert word in error.message, f"no {word} in: {error.message}"


def all_of_it(client, name):
    """Every operation of the client, none of which may do anything."""
    return (
        lambda: client.get_secret(name),
        lambda: client.get_secret("pe-none"),
        lambda: client.set_secret(name, value("stolen")),
        lambda: client.update_secret_properties(name, tags={}),
        lambda: list(client.list_properties_of_secrets()),
        lambda: list(client.list_properties_of_secret_versions(name)),
        lambda: client.begin_delete_secret(name),
        lambda: client.backup_secret(name),
        lambda: client.restore_secret_backup(b"no backup"),
        lambda: list(client.list_deleted_secrets()),
        lambda: client.get_deleted_secret(name),
        lambda: client.begin_recover_deleted_secret(name),
        lambda: client.purge_deleted_secret(name),
    )


def nobody_may_do_nothing():
    owner = secret_client()
    owner.set_secret("pe-one", value("one"))
    owner.set_secret("pe-two", value("two"))
    for call in all_of_it(client_of("NOBODY"), "pe-one"):
        forbidden(call, "ForbiddenByRbac", "Caller is not authorized to perform action on resource.")
    assert owner.get_secret("pe-one").value == value("one")
    assert len(list(owner.list_properties_of_secret_versions("pe-one"))) == 1


def a_secrets_user_reads():
    user = client_of("USER")
    assert user.get_secret("pe-one").value == value("one")
    assert "pe-two" in {p.name for p in user.list_properties_of_secrets()}
    for call in (
        lambda: user.set_secret("pe-one", value("stolen")),
        lambda: user.update_secret_properties("pe-one", enabled=False),
        lambda: user.begin_delete_secret("pe-one"),
        lambda: user.backup_secret("pe-one"),
        lambda: user.purge_deleted_secret("pe-one"),
    ):
        forbidden(call, "ForbiddenByRbac", "Action: 'Microsoft.KeyVault/vaults/secrets/")


def a_right_to_one_secret_is_to_that_one():
    single = client_of("SINGLE")
    assert single.get_secret("pe-one").value == value("one")
    assert single.get_secret("PE-ONE").value == value("one")
    forbidden(lambda: single.get_secret("pe-two"), "ForbiddenByRbac")
    forbidden(lambda: single.get_secret("pe-none"), "ForbiddenByRbac")
    forbidden(lambda: list(single.list_properties_of_secrets()), "ForbiddenByRbac")


def a_right_in_one_vault_is_in_that_one():
    officer = client_of("OFFICER", "protected")
    properties = officer.set_secret("pe-kept", value("kept")).properties
    assert (properties.recovery_level, properties.recoverable_days) == ("CustomizedRecoverable", 7)
    for call in all_of_it(client_of("OFFICER"), "pe-one"):
        forbidden(call, "ForbiddenByRbac")


def purge_protection_holds():
    officer = client_of("OFFICER", "protected")
    poller = officer.begin_delete_secret("pe-kept")
    poller.wait()
    deleted = poller.result()
    assert (deleted.scheduled_purge_date - deleted.deleted_date).days == 7
    error = None
    try:
        officer.purge_deleted_secret("pe-kept")
    except HttpResponseError as refusal:
        error = refusal
    assert error is not None and error.status_code == 403, error
    assert 'Operation "purge" is not allowed because purge protection is enabled' in error.message, error.message
    officer.begin_recover_deleted_secret("pe-kept").wait()
    assert officer.get_secret("pe-kept").value == value("kept")


def access_policies_decide_where_roles_do_not():
    user = client_of("USER", "policies")
    user.set_secret("pe-policy", value("policy"))
    assert user.get_secret("pe-policy").value == value("policy")
    words = "does not have secrets list permission on key vault 'policies"
    forbidden(lambda: list(user.list_properties_of_secrets()), "AccessDenied", words)
    # The poller may not look at deleted secrets' metadata: get is enough for it.
    user.begin_delete_secret("pe-policy").wait()
    forbidden(lambda: user.begin_recover_deleted_secret("pe-policy"), "AccessDenied", "secrets recover permission")
    # Roles count for nothing here, not even every data role.
    for call in all_of_it(secret_client_of_owner("policies"), "pe-policy"):
        forbidden(call, "AccessDenied")


def secret_client_of_owner(vault):
    return SecretClient(URL.replace("//dev.", f"//{vault}."), credential())


run([
    nobody_may_do_nothing,
    a_secrets_user_reads,
    a_right_to_one_secret_is_to_that_one,
    a_right_in_one_vault_is_in_that_one,
    purge_protection_holds,
    access_policies_decide_where_roles_do_not,
])
