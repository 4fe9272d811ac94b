"""The asynchronous clients, the same wire by another HTTP library."""

import asyncio
import os

from azure.core.exceptions import ResourceNotFoundError
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.secrets.aio import SecretClient

from common import CLIENT, TENANT, URL, run, value


async def all_of_it():
    secret = os.environ["AZURE_CLIENT_SECRET"]
    async with ClientSecretCredential(TENANT, CLIENT, secret, disable_instance_discovery=True) as credential:
        async with SecretClient(URL, credential) as client:
            await client.set_secret("aio-0", value("aio 0"))
            await asyncio.gather(*(client.set_secret(f"aio-{n}", value(f"aio {n}")) for n in range(1, 30)))
            found = await asyncio.gather(*(client.get_secret(f"aio-{n}") for n in range(30)))
            assert [f.value for f in found] == [value(f"aio {n}") for n in range(30)]
            names = [p.name async for p in client.list_properties_of_secrets() if p.name.startswith("aio-")]
            assert len(names) == len(set(names)) == 30, names
            await client.update_secret_properties("aio-1", content_type="t")
            deleted = await client.delete_secret("aio-1")
            assert deleted.recovery_id and deleted.properties.content_type == "t"
            assert "aio-1" in [d.name async for d in client.list_deleted_secrets()]
            await client.recover_deleted_secret("aio-1")
            blob = await client.backup_secret("aio-1")
            await client.delete_secret("aio-1")
            await client.purge_deleted_secret("aio-1")
            await client.restore_secret_backup(blob)
            assert (await client.get_secret("aio-1")).value == value("aio 1")
            try:
                await client.get_secret("aio-none")
                raise AssertionError("a secret that is not there")
            except ResourceNotFoundError as error:
                assert error.error.code == "SecretNotFound"


def asynchronous():
    asyncio.run(all_of_it())


run([asynchronous])
