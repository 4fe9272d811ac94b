"""What the programs share: the client as dev.env describes it, and a runner that shows each check."""

import os
import sys
import time
import traceback

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

URL = os.environ["VALV_URL"]
TENANT = os.environ["AZURE_TENANT_ID"]
CLIENT = os.environ["AZURE_CLIENT_ID"]
# Every value that is stored begins with this, so that the test can look for it in files afterwards.
PLANT = os.environ["VALV_PLANT"]


def credential(secret=None, tenant=TENANT, client=CLIENT):
    """The one documented switch for an authority that is not Microsoft's; nothing else is turned off."""
    secret = secret or os.environ["AZURE_CLIENT_SECRET"]
    return ClientSecretCredential(tenant, client, secret, disable_instance_discovery=True)


def secret_client(**options):
    return SecretClient(URL, options.pop("credential", None) or credential(), **options)


def value(word):
    return f"{PLANT}-{word}"


def refused(call, kind, status, code, inner=None):
    """The call must raise `kind` with this status, error code and inner code; returns the error."""
    try:
        call()
    except kind as error:
        seen = (error.status_code, error.error.code, (error.error.innererror or {}).get("code"))
        assert seen == (status, code, inner), f"{seen}: {error}"
        assert error.error.message, "an error says what is wrong"
        return error
    raise AssertionError(f"expected {kind.__name__} {status} {code}")


def run(checks):
    """Runs each check in turn; the last line counts them."""
    for check in checks:
        start = time.monotonic()
        try:
            check()
        except Exception as error:
            print(f"FAILED {check.__name__}", flush=True)
            traceback.print_exc()
            if isinstance(error, HttpResponseError) and error.response is not None:
                print(error.response.status_code, error.response.headers, file=sys.stderr)
                print(error.response.text(), file=sys.stderr)
            sys.exit(1)
        print(f"ok {check.__name__} ({time.monotonic() - start:.2f} s)", flush=True)
    print(f"passed: {len(checks)} checks", flush=True)
