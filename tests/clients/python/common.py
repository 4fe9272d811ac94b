"""What the programs share: the client as dev.env describes it, and a runner that shows each check."""

import os
import re
import sys
import time
import traceback
from datetime import datetime, timezone

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.secrets import SecretClient

URL = os.environ["VALV_URL"]
TENANT = os.environ["AZURE_TENANT_ID"]
CLIENT = os.environ["AZURE_CLIENT_ID"]
# Every value that is stored begins with this, so that the test can look for it in files afterwards.
PLANT = os.environ["VALV_PLANT"]
VERSION = re.compile("[0-9a-f]{32}")


def credential(secret=None, tenant=TENANT, client=CLIENT):
    """The one documented switch for an authority that is not Microsoft's; nothing else is turned off."""
    secret = secret or os.environ["AZURE_CLIENT_SECRET"]
    return ClientSecretCredential(tenant, client, secret, disable_instance_discovery=True)


def secret_client(**options):
    return SecretClient(URL, options.pop("credential", None) or credential(), **options)


def key_client(vault="dev", **options):
    """A client of this vault; `dev` is the one that dev.env names."""
    url = URL if vault == "dev" else URL.replace("//dev.", f"//{vault}.")
    return KeyClient(url, options.pop("credential", None) or credential(), **options)


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


def now():
    return datetime.now(timezone.utc).replace(microsecond=0)


def near(moment, expected, seconds=300):
    assert abs((moment - expected).total_seconds()) <= seconds, f"{moment} is not near {expected}"


def recoverable(properties):
    level, days = properties.recovery_level, properties.recoverable_days
    assert 7 <= days <= 90, days
    assert level == ("Recoverable+Purgeable" if days == 90 else "CustomizedRecoverable+Purgeable"), level
    return days


def each_once_in_order(pages, wanted, size, key=lambda p: p.name):
    """Pages are no larger than asked, together they hold each once, in the order of upper-cased names."""
    pages = [list(page) for page in pages]
    assert all(len(page) <= size for page in pages), [len(page) for page in pages]
    assert len(pages) >= len(wanted) / size
    found = [key(p) for page in pages for p in page]
    assert found == sorted(found, key=str.upper), "upper-cased names in order"
    mine = [name for name in found if name in set(wanted)]
    assert sorted(mine) == sorted(wanted), set(wanted) ^ set(mine)
    return [p for page in pages for p in page]


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
