"""Who may come in: the credentials of azure-identity, right and wrong."""

import os
import uuid

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import DefaultAzureCredential, EnvironmentCredential, ManagedIdentityCredential

from common import CLIENT, URL, credential, run, secret_client, value

RESOURCE = "https://" + URL.split("://", 1)[1].split(".", 1)[1]
SCOPE = f"{RESOURCE}/.default"


def says(call, *words):
    """The call must fail as an authentication, with these words in its message."""
    try:
        call()
    except ClientAuthenticationError as error:
        for word in words:
            assert word in str(error), f"no {word} in: {error}"
        return
    raise AssertionError("expected ClientAuthenticationError")


def a_client_secret():
    with secret_client() as client:
        client.set_secret("id-secret", value("identity"))
        assert client.get_secret("id-secret").value == value("identity")


def a_wrong_secret():
    wrong = credential(secret="wrong-secret-of-this-client")
    says(lambda: secret_client(credential=wrong).get_secret("id-secret"), "AADSTS7000215")


def an_unknown_client():
    wrong = credential(client=str(uuid.uuid4()))
    says(lambda: secret_client(credential=wrong).get_secret("id-secret"), "AADSTS700016")


def a_wrong_tenant():
    wrong = credential(tenant=str(uuid.uuid4()))
    # The client sees that the challenge names another tenant than the credential's, and asks nobody.
    says(lambda: secret_client(credential=wrong).get_secret("id-secret"), "not configured to acquire tokens for tenant")
    # Asked directly, the token service refuses the tenant.
    try:
        wrong.get_token(SCOPE)
        raise AssertionError("a token for a wrong tenant")
    except (ClientAuthenticationError, ValueError) as error:
        assert "nable to get authority configuration" in str(error), error


def a_wrong_resource():
    says(lambda: credential().get_token("https://graph.example/.default"), "AADSTS500011")


def a_forged_token():
    class Forged:
        def get_token(self, *scopes, **options):
            token = credential().get_token(*scopes)
            head, body, signature = token.token.split(".")
            flipped = ("B" if signature[10] == "A" else "A") + signature[11:]
            return token._replace(token=".".join((head, body, signature[:10] + flipped)))

    try:
        secret_client(credential=Forged()).get_secret("id-secret")
        raise AssertionError("a forged token was accepted")
    except HttpResponseError as error:
        assert error.status_code == 401, error


def the_environment():
    with_environment = EnvironmentCredential(disable_instance_discovery=True)
    assert secret_client(credential=with_environment).get_secret("id-secret").value == value("identity")
    default = DefaultAzureCredential(disable_instance_discovery=True)
    assert secret_client(credential=default).get_secret("id-secret").value == value("identity")


def managed_identity_of_app_service():
    os.environ["IDENTITY_ENDPOINT"] = os.environ["AZURE_AUTHORITY_HOST"].rstrip("/") + "/msi/token"
    try:
        os.environ["IDENTITY_HEADER"] = CLIENT + ":" + os.environ["AZURE_CLIENT_SECRET"]
        for managed in (ManagedIdentityCredential(), ManagedIdentityCredential(client_id=CLIENT)):
            assert secret_client(credential=managed).get_secret("id-secret").value == value("identity")
        os.environ["IDENTITY_HEADER"] = CLIENT + ":wrong-secret-of-this-client"
        wrong = ManagedIdentityCredential()
        says(lambda: wrong.get_token(SCOPE), "App Service")
    finally:
        del os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]


def managed_identity_of_a_machine():
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = os.environ["VALV_IMDS_URL"].rstrip("/")
    for managed in (ManagedIdentityCredential(), ManagedIdentityCredential(client_id=CLIENT)):
        assert secret_client(credential=managed).get_secret("id-secret").value == value("identity")
    stranger = ManagedIdentityCredential(client_id=str(uuid.uuid4()))
    says(lambda: stranger.get_token(SCOPE))


run([
    a_client_secret,
    a_wrong_secret,
    an_unknown_client,
    a_wrong_tenant,
    a_wrong_resource,
    a_forged_token,
    the_environment,
    managed_identity_of_app_service,
    managed_identity_of_a_machine,
])
