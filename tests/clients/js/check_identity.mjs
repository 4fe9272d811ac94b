// Who may come in: the credentials of @azure/identity, right and wrong.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { DefaultAzureCredential, EnvironmentCredential, ManagedIdentityCredential } from "@azure/identity";
import { CLIENT, collect, credential, refused, run, secretClient, URL_, value } from "./common.mjs";

const scope = `https://${new URL(URL_).host.split(".").slice(1).join(".")}/.default`;

async function says(call, ...words) {
  const error = await call().then(() => undefined, (e) => e);
  assert.ok(error, "expected a refusal");
  for (const word of words) assert.ok(String(error).includes(word), `no ${word} in: ${error}`);
}

const read = async (who) => (await secretClient({ credential: who }).getSecret("id-js")).value;

async function aClientSecret() {
  await secretClient().setSecret("id-js", value("identity"));
  assert.equal(await read(credential()), value("identity"));
}

async function aClientWithoutAnyRole() {
  const [client, secret] = process.env.VALV_NOBODY.split(":");
  const nobody = secretClient({ credential: credential({ client, secret }) });
  for (const call of [
    () => nobody.getSecret("id-js"),
    () => nobody.setSecret("id-js", value("stolen")),
    () => nobody.beginDeleteSecret("id-js"),
  ]) {
    const error = await refused(call, 403, "Forbidden", "ForbiddenByRbac");
    assert.match(error.message, /^Caller is not authorized to perform action on resource\./);
  }
  // In a list the SDK keeps the code only.
  await refused(() => collect(nobody.listPropertiesOfSecrets()), 403, "Forbidden");
}

async function aWrongSecret() {
  await says(() => read(credential({ secret: "wrong-secret-of-this-client" })), "AADSTS7000215");
}

async function anUnknownClient() {
  await says(() => read(credential({ client: randomUUID() })), "AADSTS700016");
}

async function aWrongTenant() {
  const wrong = credential({ tenant: randomUUID() });
  await says(() => read(wrong), "not configured to acquire tokens for tenant");
  await says(() => wrong.getToken(scope));
}

async function aWrongResource() {
  await says(() => credential().getToken("https://graph.example/.default"), "AADSTS500011");
}

async function theEnvironment() {
  const options = { disableInstanceDiscovery: true };
  assert.equal(await read(new EnvironmentCredential(options)), value("identity"));
  assert.equal(await read(new DefaultAzureCredential(options)), value("identity"));
}

async function managedIdentityOfAppService() {
  const e = process.env;
  e.IDENTITY_ENDPOINT = `${e.AZURE_AUTHORITY_HOST.replace(/\/$/, "")}/msi/token`;
  e.IDENTITY_HEADER = `${CLIENT}:${e.AZURE_CLIENT_SECRET}`;
  try {
    assert.equal(await read(new ManagedIdentityCredential()), value("identity"));
    assert.equal(await read(new ManagedIdentityCredential({ clientId: CLIENT })), value("identity"));
  } finally {
    delete e.IDENTITY_ENDPOINT;
    delete e.IDENTITY_HEADER;
  }
}

async function managedIdentityOfAMachine() {
  process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = process.env.VALV_IMDS_URL.replace(/\/$/, "");
  assert.equal(await read(new ManagedIdentityCredential({ clientId: CLIENT })), value("identity"));
}

await run([
  aClientSecret,
  aClientWithoutAnyRole,
  aWrongSecret,
  anUnknownClient,
  aWrongTenant,
  aWrongResource,
  theEnvironment,
  managedIdentityOfAppService,
  managedIdentityOfAMachine,
]);
