"""The asynchronous clients of keys, the same wire by another HTTP library."""

import asyncio
import os

from azure.core.exceptions import ResourceNotFoundError
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import EncryptionAlgorithm, SignatureAlgorithm

from common import CLIENT, TENANT, URL, run


async def all_of_it():
    secret = os.environ["AZURE_CLIENT_SECRET"]
    async with ClientSecretCredential(TENANT, CLIENT, secret, disable_instance_discovery=True) as credential:
        async with KeyClient(URL, credential) as client:
            await client.create_rsa_key("kaio-rsa")
            await asyncio.gather(*(client.create_ec_key(f"kaio-{n}") for n in range(30)))
            names = [p.name async for p in client.list_properties_of_keys() if p.name.startswith("kaio-")]
            assert len(names) == len(set(names)) == 31, names

            async def signs(number):
                digest = os.urandom(32)
                crypto = client.get_cryptography_client(f"kaio-{number}")
                signature = (await crypto.sign(SignatureAlgorithm.es256, digest)).signature
                assert (await crypto.verify(SignatureAlgorithm.es256, digest, signature)).is_valid

            await asyncio.gather(*(signs(n) for n in range(30)))
            crypto, data = client.get_cryptography_client("kaio-rsa"), os.urandom(50)
            sealed = (await crypto.encrypt(EncryptionAlgorithm.rsa_oaep_256, data)).ciphertext
            assert (await crypto.decrypt(EncryptionAlgorithm.rsa_oaep_256, sealed)).plaintext == data
            before = await client.get_key("kaio-1")
            after = await client.rotate_key("kaio-1")
            assert after.properties.version != before.properties.version and after.key.x != before.key.x
            assert len([p async for p in client.list_properties_of_key_versions("kaio-1")]) == 2
            await client.update_key_properties("kaio-1", tags={"k": "v"})
            deleted = await client.delete_key("kaio-1")
            assert deleted.recovery_id and deleted.properties.tags == {"k": "v"}
            assert "kaio-1" in [d.name async for d in client.list_deleted_keys()]
            await client.recover_deleted_key("kaio-1")
            blob = await client.backup_key("kaio-1")
            await client.delete_key("kaio-1")
            await client.purge_deleted_key("kaio-1")
            assert (await client.restore_key_backup(blob)).properties.version == after.properties.version
            assert len(await client.get_random_bytes(32)) == 32
            try:
                await client.get_key("kaio-none")
                raise AssertionError("a key that is not there")
            except ResourceNotFoundError as error:
                assert error.error.code == "KeyNotFound"


def asynchronous():
    asyncio.run(all_of_it())


run([asynchronous])
