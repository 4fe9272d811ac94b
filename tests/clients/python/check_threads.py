"""Sixteen threads on one client: everybody reads what was acknowledged to them."""

import random
from concurrent.futures import ThreadPoolExecutor

from common import run, secret_client, value

client = secret_client()
THREADS, ROUNDS = 16, 12


def each_on_its_own_secret():
    def work(n):
        dice = random.Random(n)
        made = {}
        for round_ in range(ROUNDS):
            text = value(f"own {n} {round_}")
            made[client.set_secret(f"th-{n}", text).properties.version] = text
            assert client.get_secret(f"th-{n}").value == text, "a read sees the write before it"
            version = dice.choice(list(made))
            assert client.get_secret(f"th-{n}", version).value == made[version]
        listed = {p.version for p in client.list_properties_of_secret_versions(f"th-{n}")}
        assert listed == set(made), listed ^ set(made)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, range(THREADS)))


def all_on_one_secret():
    def work(n):
        made = {}
        for round_ in range(ROUNDS):
            text = value(f"all {n} {round_}")
            secret = client.set_secret("th-all", text)
            made[secret.properties.version] = text
            # Others wrote meanwhile: what is current is somebody's, never an older one of mine.
            seen = client.get_secret("th-all")
            if f"all {n} " in seen.value:
                assert seen.properties.version == secret.properties.version, "an older version came back"
        return made

    with ThreadPoolExecutor(THREADS) as threads:
        made = {version: text for part in threads.map(work, range(THREADS)) for version, text in part.items()}
    assert len(made) == THREADS * ROUNDS, "each write made a version of its own"
    listed = {p.version for p in client.list_properties_of_secret_versions("th-all")}
    assert listed == set(made), listed ^ set(made)
    for version, text in made.items():
        assert client.get_secret("th-all", version).value == text


def one_deletes_while_others_write():
    """Whatever wins, the answers fit together: after the end exactly one state, and it is consistent."""
    from azure.core.exceptions import HttpResponseError

    client.set_secret("th-race", value("race"))

    def work(n):
        try:
            if n == 0:
                client.begin_delete_secret("th-race").wait()
            else:
                client.set_secret("th-race", value(f"race {n}"))
        except HttpResponseError as error:
            assert error.status_code == 409, error

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, range(THREADS)))
    assert client.get_deleted_secret("th-race").name == "th-race"
    assert "th-race" not in {p.name for p in client.list_properties_of_secrets()}
    client.begin_recover_deleted_secret("th-race").wait()
    assert client.get_secret("th-race").value.startswith(value("race"))


run([each_on_its_own_secret, all_on_one_secret, one_deletes_while_others_write])
