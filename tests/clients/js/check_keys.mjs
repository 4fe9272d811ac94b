// Everything that KeyClient of @azure/keyvault-keys offers, and what it makes of each answer.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { parseKeyVaultKeyIdentifier } from "@azure/keyvault-keys";
import {
  collect, credential, day, each, eachOnceInOrder, keyClient, near, recoverable, refused, run, seconds, URL_,
} from "./common.mjs";

const client = keyClient();
const digest = randomBytes(32);
const fast = { intervalInMs: 100 };
const everything = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"];
const bad = (call) => refused(call, 400, "BadParameter");
const absent = (call) => refused(call, 404, "KeyNotFound");

// The id is the collection, the name and a version, at the address that the client called.
function identified(key, name) {
  const p = key.properties ?? key;
  assert.equal(p.name, name);
  assert.match(p.version, /^[0-9a-f]{32}$/);
  assert.equal(p.id, `${URL_}/keys/${name}/${p.version}`);
  assert.equal(p.vaultUrl, URL_);
  const parsed = parseKeyVaultKeyIdentifier(p.id);
  assert.deepEqual([parsed.vaultUrl, parsed.name, parsed.version], [URL_, name, p.version]);
  for (const member of ["d", "p", "q", "dp", "dq", "qi", "k", "t"]) {
    assert.equal(key.key?.[member], undefined, `${member} in an answer`);
  }
  return p.version;
}

// A private key of this machine, as an import takes it.
function jwk(type, options) {
  if (type === "oct") return { kty: "oct", k: randomBytes(options) };
  const members = generateKeyPairSync(type, options).privateKey.export({ format: "jwk" });
  const bytes = (value) => new Uint8Array(Buffer.from(value, "base64url"));
  return Object.fromEntries(
    Object.entries(members).map(([name, value]) => [name, ["kty", "crv"].includes(name) ? value : bytes(value)]),
  );
}

async function createWithEverything() {
  const [start, end] = [seconds(Date.now() - day), seconds(Date.now() + 30 * day)];
  const options = { keySize: 2048, keyOps: ["sign", "verify"], tags: { owner: "tests" }, enabled: true, notBefore: start, expiresOn: end };
  const made = await client.createRsaKey("js-full", options);
  const version = identified(made, "js-full");
  for (const key of [made, await client.getKey("js-full"), await client.getKey("JS-full", { version })]) {
    assert.equal(identified(key, "js-full"), version);
    assert.deepEqual([key.name, key.keyType, key.keyOperations], ["js-full", "RSA", ["sign", "verify"]]);
    assert.deepEqual([key.key.n.length, [...key.key.e]], [256, [1, 0, 1]]);
    const p = key.properties;
    assert.deepEqual({ ...p.tags }, { owner: "tests" });
    assert.deepEqual([p.enabled, p.notBefore, p.expiresOn], [true, start, end]);
    assert.ok(!p.managed && !p.exportable && !p.releasePolicy);
    near(p.createdOn);
    near(p.updatedOn);
    recoverable(p);
  }
}

async function everyTypeSizeAndCurve() {
  for (const keySize of [2048, 3072, 4096]) {
    const { key, keyOperations } = await client.createRsaKey("js-rsa", { keySize });
    assert.equal(key.n.length, keySize / 8);
    assert.deepEqual(keyOperations, everything);
  }
  for (const [curve, bytes] of [["P-256", 32], ["P-384", 48], ["P-521", 66], ["P-256K", 32]]) {
    const { key, keyOperations } = await client.createEcKey("js-ec", { curve });
    assert.deepEqual([key.kty, key.crv, key.x.length, key.y.length], ["EC", curve, bytes, bytes]);
    assert.deepEqual(keyOperations, ["sign", "verify"]);
  }
  for (const keySize of [128, 192, 256]) {
    assert.equal((await client.createOctKey("js-oct", { keySize })).keyType, "oct");
  }
  assert.equal((await client.createRsaKey("js-hsm", { hsm: true })).keyType, "RSA-HSM");
  assert.equal((await client.createEcKey("js-hsm", { hsm: true })).keyType, "EC-HSM");
  assert.equal((await client.createOctKey("js-hsm", { hsm: true })).keyType, "oct-HSM");
  assert.equal((await client.createKey("js-plain", "EC")).key.crv, "P-256");
}

async function whatNoKeyCanBe() {
  for (const call of [
    () => client.createRsaKey("js-no", { keySize: 1024 }),
    () => client.createEcKey("js-no", { curve: "P-224" }),
    () => client.createOctKey("js-no", { keySize: 512 }),
    () => client.createKey("js-no", "OKP"),
    () => client.createEcKey("js-no", { keyOps: ["encrypt"] }),
    () => client.createEcKey("js-no", { exportable: true }),
    () => client.createEcKey("js_no"),
    () => client.getKey("js-full", { version: "no-version" }),
    () => collect(client.listPropertiesOfKeys().byPage({ maxPageSize: 26 })),
  ]) {
    await bad(call);
  }
  await absent(() => client.getKey("js-no"));
}

async function importOfEveryKind() {
  const expiresOn = seconds(Date.now() + 9 * day);
  for (const [key, type] of [
    [jwk("rsa", { modulusLength: 2048 }), "RSA"],
    [jwk("ec", { namedCurve: "P-521" }), "EC"],
    [jwk("oct", 24), "oct"],
  ]) {
    for (const hardwareProtected of [false, true]) {
      const taken = await client.importKey("js-import", key, { hardwareProtected, tags: { k: "v" }, expiresOn });
      identified(taken, "js-import");
      assert.equal(taken.keyType, hardwareProtected ? `${type}-HSM` : type);
      assert.deepEqual([{ ...taken.properties.tags }, taken.properties.expiresOn], [{ k: "v" }, expiresOn]);
      for (const member of ["n", "e", "x", "y"]) {
        assert.deepEqual(taken.key[member] && Buffer.from(taken.key[member]), key[member] && Buffer.from(key[member]));
      }
    }
  }
  const { kty, n, e, d } = jwk("rsa", { modulusLength: 3072 });
  const least = await client.importKey("js-import", { kty, n, e, d, keyOps: ["sign"] });
  assert.deepEqual([least.key.n.length, least.keyOperations], [384, ["sign"]]);
  await bad(() => client.importKey("js-broken", { kty, n, e }));
  await bad(() => client.importKey("js-broken", { kty, n, e, d: randomBytes(384) }));
  await bad(() => client.importKey("js-broken", jwk("oct", 20)));
  await absent(() => client.getKey("js-broken"));
}

async function versionsStay() {
  const first = await client.createEcKey("js-versions");
  const second = await client.createEcKey("js-versions");
  assert.notEqual(first.properties.version, second.properties.version);
  assert.deepEqual((await client.getKey("js-versions")).key.x, second.key.x);
  assert.deepEqual((await client.getKey("js-versions", { version: first.properties.version })).key.x, first.key.x);
}

async function updateChangesWhatIsNamed() {
  const first = await client.createEcKey("js-update", { tags: { k: "v" } });
  let key = await client.updateKeyProperties("js-update", { keyOps: ["verify"] });
  identified(key, "js-update");
  assert.deepEqual([key.keyOperations, { ...key.properties.tags }, key.properties.enabled], [["verify"], { k: "v" }, true]);
  const expiresOn = seconds(Date.now() + 3 * day);
  key = await client.updateKeyProperties("js-update", first.properties.version, { tags: { x: "y" }, expiresOn });
  assert.deepEqual([key.keyOperations, { ...key.properties.tags }, key.properties.expiresOn], [["verify"], { x: "y" }, expiresOn]);
  assert.deepEqual(key.properties.createdOn, first.properties.createdOn);
  assert.ok(key.properties.updatedOn >= first.properties.updatedOn);
  assert.deepEqual(key.key.x, first.key.x);
}

async function disabledIsListedAndDoesNothing() {
  await client.createEcKey("js-disabled", { enabled: false });
  const listed = (await collect(client.listPropertiesOfKeys())).find((p) => p.name === "js-disabled");
  assert.equal(listed.enabled, false);
  const sign = () => client.getCryptographyClient("js-disabled").sign("ES256", digest);
  const error = await refused(sign, 403, "Forbidden", "KeyDisabled");
  assert.equal(error.message, "Operation sign is not allowed on a disabled key.");
  await client.updateKeyProperties("js-disabled", { enabled: true });
  assert.equal((await sign()).result.length, 64);
}

async function aCryptographyClientOfTheKeyClient() {
  const first = await client.createEcKey("js-crypto");
  await client.createEcKey("js-crypto");
  for (const crypto of [
    client.getCryptographyClient("js-crypto"),
    client.getCryptographyClient("js-crypto", { keyVersion: first.properties.version }),
  ]) {
    const { result } = await crypto.sign("ES256", digest);
    assert.equal((await crypto.verify("ES256", digest, result)).result, true);
    assert.equal((await crypto.verify("ES256", randomBytes(32), result)).result, false);
  }
}

const names = Array.from({ length: 53 }, (_, n) => `js-${n % 2 ? "List" : "list"}-${String(n).padStart(2, "0")}`);

async function manyKeysAreListedPageByPage() {
  await each(names, (name) => client.createEcKey(name, { tags: { n: name } }));
  await eachOnceInOrder(client.listPropertiesOfKeys().byPage(), names, 25);
  const listed = await eachOnceInOrder(client.listPropertiesOfKeys().byPage({ maxPageSize: 7 }), names, 7);
  const one = listed.find((p) => p.name === names[3]);
  assert.deepEqual([one.id, one.version], [`${URL_}/keys/${names[3]}`, undefined]);
  assert.deepEqual({ ...one.tags }, { n: names[3] });
}

async function manyVersionsAreListedPageByPage() {
  const made = new Set();
  await each(Array(53).keys(), async () => made.add((await client.createEcKey("js-deep")).properties.version));
  for (const [settings, size] of [[undefined, 25], [{ maxPageSize: 10 }, 10]]) {
    const pages = await collect(client.listPropertiesOfKeyVersions("js-deep").byPage(settings));
    for (const page of pages) assert.ok(page.length <= size);
    assert.deepEqual(pages.flat().map((p) => identified(p, "js-deep")).sort(), [...made].sort());
  }
  assert.deepEqual(await collect(client.listPropertiesOfKeyVersions("js-never")), []);
}

async function deletedCanBeSeenAndRecovered() {
  const made = await client.createEcKey("js-delete", { tags: { a: "b" } });
  const poller = await client.beginDeleteKey("js-delete", fast);
  const listed = async () => (await collect(client.listDeletedKeys())).find((d) => d.name === "js-delete");
  for (const deleted of [await poller.pollUntilDone(), await client.getDeletedKey("js-delete"), await listed()]) {
    assert.equal(deleted.name, "js-delete");
    const p = deleted.properties;
    assert.equal(p.recoveryId, `${URL_}/deletedkeys/js-delete`);
    near(p.deletedOn);
    assert.equal((p.scheduledPurgeDate - p.deletedOn) / day, recoverable(p));
    assert.deepEqual({ ...p.tags }, { a: "b" });
  }
  await absent(() => client.getKey("js-delete"));
  await refused(() => client.createEcKey("js-delete"), 409, "Conflict", "ObjectIsDeletedButRecoverable");
  const recover = await client.beginRecoverDeletedKey("js-delete", fast);
  assert.equal((await recover.pollUntilDone()).name, "js-delete");
  assert.deepEqual((await client.getKey("js-delete")).key.x, made.key.x);
}

async function deletedAreListedPageByPageAndPurged() {
  await each(names, async (name) => (await client.beginDeleteKey(name, fast)).pollUntilDone());
  await eachOnceInOrder(client.listDeletedKeys().byPage(), names, 25);
  await eachOnceInOrder(client.listDeletedKeys().byPage({ maxPageSize: 9 }), names, 9);
  await each(names, (name) => client.purgeDeletedKey(name));
  assert.deepEqual((await collect(client.listDeletedKeys())).filter((d) => names.includes(d.name)), []);
  await absent(() => client.getDeletedKey(names[0]));
}

async function backupAndRestore() {
  const key = jwk("oct", 32);
  const first = await client.importKey("js-backup", key, { tags: { n: "1" } });
  const second = await client.createEcKey("js-backup");
  const crypto = client.getCryptographyClient("js-backup", { keyVersion: second.properties.version });
  const { result: signature } = await crypto.sign("ES256", digest);
  const blob = await client.backupKey("js-backup");
  assert.ok(blob instanceof Uint8Array && !Buffer.from(blob).includes(key.k), "a backup is sealed");
  await refused(() => client.restoreKeyBackup(blob), 409, "Conflict");
  await (await client.beginDeleteKey("js-backup", fast)).pollUntilDone();
  await client.purgeDeletedKey("js-backup");
  const restored = await client.restoreKeyBackup(blob);
  assert.equal(identified(restored, "js-backup"), second.properties.version);
  assert.equal((await crypto.verify("ES256", digest, signature)).result, true);
  const old = await client.getKey("js-backup", { version: first.properties.version });
  assert.deepEqual([old.keyType, { ...old.properties.tags }], ["oct", { n: "1" }]);
  const damaged = blob.slice();
  damaged[damaged.length >> 1] ^= 1;
  const error = await client.restoreKeyBackup(damaged).then(() => undefined, (e) => e);
  assert.equal(error?.statusCode, 400);
}

async function rotationPolicyAndRotation() {
  const before = await client.createRsaKey("js-rotate", { keySize: 3072, tags: { r: "1" } });
  const byDefault = await client.getKeyRotationPolicy("js-rotate");
  assert.equal(byDefault.id, `${URL_}/keys/js-rotate/rotationpolicy`);
  assert.deepEqual(byDefault.lifetimeActions.map((a) => [a.action, a.timeBeforeExpiry]), [["Notify", "P30D"]]);
  const wanted = { expiresIn: "P90D", lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P60D" }] };
  const answered = await client.updateKeyRotationPolicy("js-rotate", wanted);
  for (const policy of [answered, await client.getKeyRotationPolicy("js-rotate")]) {
    assert.equal(policy.expiresIn, "P90D");
    const actions = policy.lifetimeActions.map((a) => [a.action, a.timeAfterCreate ?? a.timeBeforeExpiry]).sort();
    assert.deepEqual(actions, [["Notify", "P30D"], ["Rotate", "P60D"]]);
    near(policy.createdOn);
    near(policy.updatedOn);
  }
  await bad(() => client.updateKeyRotationPolicy("js-rotate", { expiresIn: "ninety days" }));
  const after = await client.rotateKey("js-rotate");
  assert.notEqual(identified(after, "js-rotate"), before.properties.version);
  assert.deepEqual([after.keyType, after.key.n.length, { ...after.properties.tags }], ["RSA", 384, { r: "1" }]);
  near(after.properties.expiresOn, Date.now() + 90 * day);
}

async function randomBytesOfTheService() {
  for (const count of [1, 32, 128]) assert.equal((await client.getRandomBytes(count)).length, count);
  await bad(() => client.getRandomBytes(129));
}

async function whatIsNotThere() {
  for (const call of [
    () => client.getKey("js-absent"),
    () => client.getKey("js-full", { version: "0".repeat(32) }),
    () => client.updateKeyProperties("js-absent", { tags: {} }),
    () => client.beginDeleteKey("js-absent"),
    () => client.beginRecoverDeletedKey("js-absent"),
    () => client.getDeletedKey("js-absent"),
    () => client.purgeDeletedKey("js-absent"),
    () => client.backupKey("js-absent"),
    () => client.rotateKey("js-absent"),
    () => client.getKeyRotationPolicy("js-absent"),
    () => client.getCryptographyClient("js-absent").sign("ES256", digest),
  ]) {
    await absent(call);
  }
}

async function everyVersionOfTheApi() {
  for (const serviceVersion of ["7.5", "7.6", "2025-07-01", "7.0", "2016-10-01"]) {
    const old = keyClient("dev", credential(), { serviceVersion });
    await old.createEcKey("js-api", { tags: { v: serviceVersion } });
    assert.deepEqual({ ...(await old.getKey("js-api")).properties.tags }, { v: serviceVersion });
  }
}

await run([
  createWithEverything,
  everyTypeSizeAndCurve,
  whatNoKeyCanBe,
  importOfEveryKind,
  versionsStay,
  updateChangesWhatIsNamed,
  disabledIsListedAndDoesNothing,
  aCryptographyClientOfTheKeyClient,
  manyKeysAreListedPageByPage,
  manyVersionsAreListedPageByPage,
  deletedCanBeSeenAndRecovered,
  deletedAreListedPageByPageAndPurged,
  backupAndRestore,
  rotationPolicyAndRotation,
  randomBytesOfTheService,
  whatIsNotThere,
  everyVersionOfTheApi,
]);
