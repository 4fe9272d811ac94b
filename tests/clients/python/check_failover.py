"""A program that knows nothing of regions goes on through the loss of one: reads never fail, writes are refused
while the region is lost, and nothing that was acknowledged is missing afterwards.

The test says in the file VALV_PHASE what is going on (`healthy`, `lost`, `returned`); this program says on its
standard output when it has seen enough of it.
"""

import os
import threading
import time

from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import SignatureAlgorithm
from azure.keyvault.secrets import SecretClient

from common import URL, credential, run, value

PHASE_FILE = os.environ["VALV_PHASE"]
HOME, PAIR = os.environ["VALV_HOME"], os.environ["VALV_PAIR"]
DEADLINE = 120
DIGEST = bytes(range(32))

shared = credential()
secrets = SecretClient(URL, shared)
keys = KeyClient(URL, shared)
stop = threading.Event()
lock = threading.Lock()
failed = []
# By phase: answers of each region, writes done and refused.
seen = {phase: {HOME: 0, PAIR: 0, "done": 0, "refused": 0} for phase in ("healthy", "lost", "returned")}
acknowledged = {}


def phase():
    with open(PHASE_FILE, encoding="utf-8") as file:
        return file.read().strip()


def counted(response):
    headers = response.http_response.headers
    region, mode = headers["x-ms-keyvault-region"], headers.get("x-valv-mode")
    assert (mode == "read-only") == (region == PAIR), f"{region} answered in mode {mode}"
    if mode:
        assert int(headers["x-valv-replica-lag-ms"]) >= 0
    with lock:
        seen[phase()][region] += 1


def reader(number):
    """Over one client, and every fourth time over a new one: a new connection and a new challenge."""
    crypto = keys.get_cryptography_client("failover")
    while not stop.is_set():
        number += 1
        try:
            client = SecretClient(URL, shared) if number % 4 == 0 else secrets
            began = time.monotonic()
            secret = client.get_secret("failover", raw_response_hook=counted)
            assert secret.value.startswith(value("failover")), "another secret's value"
            took = time.monotonic() - began
            # One request may be the one that meets the loss; the SDK's own retries would take longer.
            assert took < 4, f"a read took {took:.1f} s"
            signature = crypto.sign(SignatureAlgorithm.es256, DIGEST).signature
            assert len(signature) == 64
        except Exception as error:  # pylint: disable=broad-except
            with lock:
                failed.append(f"in phase {phase()}: {error!r}")
            stop.set()
        time.sleep(0.02)


def writer():
    number = 0
    while not stop.is_set():
        number += 1
        text = value(f"failover-{number}")
        before = phase()
        try:
            version = secrets.set_secret("failover", text).properties.version
            with lock:
                acknowledged[version] = text
                seen[before]["done"] += 1
        except HttpResponseError as error:
            # 503: read-only. 504: sent to the region as it died, outcome unknown. Never anything else.
            if error.status_code not in (503, 504):
                failed.append(f"a write was answered with {error.status_code}: {error}")
                stop.set()
            if error.status_code == 503:
                expected = 'Operation "SecretSet" is unavailable: the service is currently in a read-only state.'
                if expected not in str(error):
                    failed.append(f"refused in other words: {error}")
                    stop.set()
                with lock:
                    seen[before]["refused"] += 1
        time.sleep(0.05)


def enough(of, **least):
    deadline = time.monotonic() + DEADLINE
    while phase() != of or any(seen[of][what] < count for what, count in least.items()):
        assert not failed, failed
        assert time.monotonic() < deadline, f"not enough of {of}: {seen}"
        time.sleep(0.02)
    assert not failed, failed


def prepare():
    secrets.set_secret("failover", value("failover-0"))
    keys.create_ec_key("failover")
    for number in range(3):
        threading.Thread(target=reader, args=(number,), daemon=True).start()
    threading.Thread(target=writer, daemon=True).start()


def healthy():
    enough("healthy", **{HOME: 30, "done": 3})
    assert seen["healthy"][PAIR] == 0, "the replica answered while home was healthy"


def lost():
    enough("lost", **{PAIR: 40, "refused": 1})


def returned():
    enough("returned", **{HOME: 40, "done": 3})


def nothing_acknowledged_is_missing():
    stop.set()
    assert not failed, failed
    with lock:
        known = dict(acknowledged)
    for version, text in known.items():
        assert secrets.get_secret("failover", version).value == text, version
    print(f"seen: {seen}, {len(known)} acknowledged writes", flush=True)


if __name__ == "__main__":
    run([prepare, healthy, lost, returned, nothing_acknowledged_is_missing])
    # Threads that wait in a retry must not hold the end.
    os._exit(0)
