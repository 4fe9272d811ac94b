// Everything that @azure/keyvault-secrets offers, and what it makes of each answer.

import assert from "node:assert/strict";
import { parseKeyVaultSecretIdentifier } from "@azure/keyvault-secrets";
import {
  collect, day, each, eachOnceInOrder, near, recoverable, refused, run, seconds, secretClient, URL_, value,
} from "./common.mjs";

const client = secretClient();

function identified(properties, name) {
  assert.equal(properties.name, name);
  assert.match(properties.version, /^[0-9a-f]{32}$/);
  assert.equal(properties.id, `${URL_}/secrets/${name}/${properties.version}`);
  assert.equal(properties.vaultUrl, URL_);
  const parsed = parseKeyVaultSecretIdentifier(properties.id);
  assert.deepEqual([parsed.vaultUrl, parsed.name, parsed.version], [URL_, name, properties.version]);
}

async function setWithEverything() {
  const [start, end] = [seconds(Date.now() - day), seconds(Date.now() + 30 * day)];
  const options = { contentType: "text/plain", tags: { owner: "tests" }, enabled: true, notBefore: start, expiresOn: end };
  const set = await client.setSecret("js-full", value("full ü €"), options);
  const version = set.properties.version;
  for (const found of [set, await client.getSecret("js-full"), await client.getSecret("js-full", { version })]) {
    assert.equal(found.value, value("full ü €"));
    assert.equal(found.name, "js-full");
    const p = found.properties;
    identified(p, "js-full");
    assert.equal(p.version, version);
    assert.equal(p.contentType, "text/plain");
    assert.deepEqual({ ...p.tags }, { owner: "tests" });
    assert.equal(p.enabled, true);
    assert.deepEqual([p.notBefore, p.expiresOn], [start, end]);
    assert.equal(p.managed, undefined);
    near(p.createdOn);
    near(p.updatedOn);
    recoverable(p);
  }
}

async function setWithNothing() {
  const { properties } = await client.setSecret("js-bare", value("bare"));
  identified(properties, "js-bare");
  assert.equal(properties.enabled, true);
  assert.deepEqual([properties.notBefore, properties.expiresOn, properties.contentType], [undefined, undefined, undefined]);
}

async function versionsStay() {
  const first = await client.setSecret("js-versions", value("one"));
  const second = await client.setSecret("js-versions", value("two"));
  assert.notEqual(first.properties.version, second.properties.version);
  assert.equal((await client.getSecret("js-versions")).value, value("two"));
  assert.equal((await client.getSecret("JS-VERSIONS", { version: first.properties.version })).value, value("one"));
}

async function beyondTheLimits() {
  const tags = Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`tag${n}`, "v"]));
  for (const call of [
    () => client.setSecret("js-over", "x".repeat(25601)),
    () => client.setSecret("js-over", value("over"), { tags }),
    () => client.setSecret("js_over", value("over")),
    () => client.getSecret("js-full", { version: "no-version" }),
  ]) {
    await refused(call, 400, "BadParameter");
  }
}

async function updateChangesWhatIsNamed() {
  const first = await client.setSecret("js-update", value("update"), { contentType: "a", tags: { k: "v" } });
  let p = await client.updateSecretProperties("js-update", "", { contentType: "b" });
  identified(p, "js-update");
  assert.deepEqual([p.contentType, { ...p.tags }, p.enabled], ["b", { k: "v" }, true]);
  const end = seconds(Date.now() + 3 * day);
  p = await client.updateSecretProperties("js-update", first.properties.version, { tags: { x: "y" }, expiresOn: end });
  assert.deepEqual([p.contentType, { ...p.tags }, p.expiresOn], ["b", { x: "y" }, end]);
  assert.deepEqual(p.createdOn, first.properties.createdOn);
  assert.ok(p.updatedOn >= first.properties.updatedOn);
  assert.equal((await client.getSecret("js-update")).value, value("update"));
}

async function disabledIsRefusedAndListed() {
  await client.setSecret("js-disabled", value("disabled"), { enabled: false });
  const error = await refused(() => client.getSecret("js-disabled"), 403, "Forbidden", "SecretDisabled");
  assert.equal(error.message, "Operation get is not allowed on a disabled secret.");
  const listed = (await collect(client.listPropertiesOfSecrets())).find((p) => p.name === "js-disabled");
  assert.equal(listed.enabled, false);
  await client.updateSecretProperties("js-disabled", "", { enabled: true });
  assert.equal((await client.getSecret("js-disabled")).value, value("disabled"));
}

async function datesAreAdvisory() {
  await client.setSecret("js-expired", value("expired"), { expiresOn: new Date(Date.now() - day) });
  assert.equal((await client.getSecret("js-expired")).value, value("expired"));
}

const names = Array.from({ length: 53 }, (_, n) => `js-${n % 2 ? "List" : "list"}-${String(n).padStart(2, "0")}`);

async function manySecretsAreListedPageByPage() {
  await each(names, (name) => client.setSecret(name, value(name), { tags: { n: name } }));
  await eachOnceInOrder(client.listPropertiesOfSecrets().byPage(), names, 25);
  const listed = await eachOnceInOrder(client.listPropertiesOfSecrets().byPage({ maxPageSize: 7 }), names, 7);
  const one = listed.find((p) => p.name === names[3]);
  assert.deepEqual([one.id, one.version], [`${URL_}/secrets/${names[3]}`, undefined]);
  assert.deepEqual({ ...one.tags }, { n: names[3] });
  await refused(() => collect(client.listPropertiesOfSecrets().byPage({ maxPageSize: 26 })), 400, "BadParameter");
}

async function manyVersionsAreListedPageByPage() {
  const made = new Set();
  await each(Array(53).keys(), async (n) => made.add((await client.setSecret("js-deep", value(`deep ${n}`))).properties.version));
  for (const [settings, size] of [[undefined, 25], [{ maxPageSize: 10 }, 10]]) {
    const pages = await collect(client.listPropertiesOfSecretVersions("js-deep").byPage(settings));
    for (const page of pages) assert.ok(page.length <= size);
    for (const p of pages.flat()) identified(p, "js-deep");
    assert.deepEqual(pages.flat().map((p) => p.version).sort(), [...made].sort());
  }
  assert.deepEqual(await collect(client.listPropertiesOfSecretVersions("js-never")), []);
}

async function deletedCanBeSeenAndRecovered() {
  await client.setSecret("js-delete", value("delete"), { contentType: "t", tags: { a: "b" } });
  const poller = await client.beginDeleteSecret("js-delete", { intervalInMs: 100 });
  const listed = async () => (await collect(client.listDeletedSecrets())).find((d) => d.name === "js-delete");
  for (const deleted of [await poller.pollUntilDone(), await client.getDeletedSecret("js-delete"), await listed()]) {
    assert.equal(deleted.name, "js-delete");
    assert.equal(deleted.recoveryId, `${URL_}/deletedsecrets/js-delete`);
    near(deleted.deletedOn);
    const days = (deleted.scheduledPurgeDate - deleted.deletedOn) / day;
    assert.equal(days, recoverable(deleted.properties));
    assert.deepEqual([deleted.properties.contentType, { ...deleted.properties.tags }], ["t", { a: "b" }]);
    assert.equal(deleted.value, undefined);
  }
  await refused(() => client.getSecret("js-delete"), 404, "SecretNotFound");
  await refused(() => client.setSecret("js-delete", value("again")), 409, "Conflict", "ObjectIsDeletedButRecoverable");
  const recover = await client.beginRecoverDeletedSecret("js-delete", { intervalInMs: 100 });
  assert.equal((await recover.pollUntilDone()).name, "js-delete");
  assert.equal((await client.getSecret("js-delete")).value, value("delete"));
}

async function deletedAreListedPageByPageAndPurged() {
  await each(names, async (name) => (await client.beginDeleteSecret(name, { intervalInMs: 100 })).pollUntilDone());
  await eachOnceInOrder(client.listDeletedSecrets().byPage(), names, 25);
  await eachOnceInOrder(client.listDeletedSecrets().byPage({ maxPageSize: 9 }), names, 9);
  await each(names, (name) => client.purgeDeletedSecret(name));
  const left = (await collect(client.listDeletedSecrets())).filter((d) => names.includes(d.name));
  assert.deepEqual(left, []);
  await refused(() => client.getDeletedSecret(names[0]), 404, "SecretNotFound");
}

async function backupAndRestore() {
  const first = await client.setSecret("js-backup", value("backup one"), { tags: { n: "1" } });
  const second = await client.setSecret("js-backup", value("backup two"));
  const blob = await client.backupSecret("js-backup");
  assert.ok(blob instanceof Uint8Array && blob.length > 0);
  await refused(() => client.restoreSecretBackup(blob), 409, "Conflict");
  await (await client.beginDeleteSecret("js-backup", { intervalInMs: 100 })).pollUntilDone();
  await client.purgeDeletedSecret("js-backup");
  const restored = await client.restoreSecretBackup(blob);
  identified(restored, "js-backup");
  assert.equal(restored.version, second.properties.version);
  assert.equal((await client.getSecret("js-backup")).value, value("backup two"));
  const old = await client.getSecret("js-backup", { version: first.properties.version });
  assert.deepEqual([old.value, { ...old.properties.tags }], [value("backup one"), { n: "1" }]);
  const damaged = blob.slice();
  damaged[damaged.length >> 1] ^= 1;
  const error = await client.restoreSecretBackup(damaged).then(() => undefined, (e) => e);
  assert.equal(error?.statusCode, 400);
}

async function whatIsNotThere() {
  for (const call of [
    () => client.getSecret("js-absent"),
    () => client.getSecret("js-full", { version: "0".repeat(32) }),
    () => client.updateSecretProperties("js-absent", "", { tags: {} }),
    () => client.beginDeleteSecret("js-absent"),
    () => client.beginRecoverDeletedSecret("js-absent"),
    () => client.getDeletedSecret("js-absent"),
    () => client.purgeDeletedSecret("js-absent"),
    () => client.backupSecret("js-absent"),
  ]) {
    await refused(call, 404, "SecretNotFound");
  }
}

async function everyVersionOfTheApi() {
  for (const serviceVersion of ["7.5", "7.6", "2025-07-01", "7.0", "2016-10-01"]) {
    const old = secretClient({ client: { serviceVersion } });
    await old.setSecret("js-api", value(serviceVersion));
    assert.equal((await old.getSecret("js-api")).value, value(serviceVersion));
  }
}

await run([
  setWithEverything,
  setWithNothing,
  versionsStay,
  beyondTheLimits,
  updateChangesWhatIsNamed,
  disabledIsRefusedAndListed,
  datesAreAdvisory,
  manySecretsAreListedPageByPage,
  manyVersionsAreListedPageByPage,
  deletedCanBeSeenAndRecovered,
  deletedAreListedPageByPageAndPurged,
  backupAndRestore,
  whatIsNotThere,
  everyVersionOfTheApi,
]);
