// Every operation and algorithm of CryptographyClient of @azure/keyvault-keys, done by the service.
//
// The client does public operations itself where it can read the key. The one used here may not: its access policy
// has the words for cryptography and not `get`, so all it does is done by the service; each answer's address shows it.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { CryptographyClient, KnownEncryptionAlgorithms, KnownSignatureAlgorithms } from "@azure/keyvault-keys";
import { collect, credential, day, keyClient, refused, run } from "./common.mjs";

const vault = "crypto";
const curves = { ES256: "P-256", ES384: "P-384", ES512: "P-521", ES256K: "P-256K" };

function clientOf(name) {
  const [client, secret] = process.env[`VALV_${name}`].split(":");
  return credential({ client, secret });
}

const owner = keyClient(vault, clientOf("KEEPER"));
const user = clientOf("CRYPTO");
const keys = new Map();

// A key that does this algorithm, made once.
async function keyFor(algorithm) {
  const size = Number(algorithm.slice(1, 4));
  const [name, make] = curves[algorithm]
    ? [`js-${curves[algorithm]}`, (n) => owner.createEcKey(n, { curve: curves[algorithm] })]
    : algorithm.startsWith("A")
      ? [`js-oct-${size}`, (n) => owner.createOctKey(n, { keySize: size })]
      : algorithm.startsWith("HS")
        ? ["js-oct-256", (n) => owner.createOctKey(n, { keySize: 256 })]
        : ["js-rsa", (n) => owner.createRsaKey(n, { hsm: true })];
  if (!keys.has(name)) keys.set(name, await make(name));
  return keys.get(name);
}

// A client of this key that may not read it. Each call must have been a request of the operation's name.
function remote(id) {
  const crypto = new CryptographyClient(id, user);
  return async (operation, ...words) => {
    const seen = [];
    const onResponse = (raw) => seen.push(new URL(raw.request.url).pathname);
    const answer = await crypto[operation](...words, { onResponse });
    const word = operation.replace("Data", "").toLowerCase();
    assert.ok(seen.at(-1)?.endsWith(`/${word}`), `not done by the service: ${operation} ${seen}`);
    return answer;
  };
}

// Clients of the version, and of the name alone, which means the current version.
const remotes = (key) => [remote(key.id), remote(key.id.slice(0, key.id.lastIndexOf("/")))];

const changed = (bytes) => Buffer.from(bytes).map((byte, at) => (at === 0 ? byte ^ 1 : byte));
const same = (one, other) => assert.deepEqual(Buffer.from(one), Buffer.from(other));
const words = async (call, text) => {
  const { message } = await refused(call, 400, "BadParameter");
  assert.ok(message.includes(text), message);
};
const digestOf = (algorithm, data) =>
  createHash(`sha${algorithm === "ES256K" ? 256 : algorithm.slice(-3)}`).update(data).digest();

async function theClientMayNotReadKeys() {
  const key = await keyFor("RS256");
  const stranger = keyClient(vault, user);
  await refused(() => stranger.getKey(key.name), 403, "Forbidden", "AccessDenied");
  await refused(() => stranger.createEcKey("js-stolen"), 403, "Forbidden", "AccessDenied");
  // Its pager keeps no inner code.
  await refused(() => collect(stranger.listPropertiesOfKeys()), 403, "Forbidden");
}

async function encryptAndDecryptWithEveryAlgorithm() {
  for (const algorithm of Object.values(KnownEncryptionAlgorithms)) {
    const isWrap = algorithm.endsWith("KW");
    if (isWrap || algorithm.startsWith("CKM")) {
      const call = remote((await keyFor("A256KW")).id);
      await words(() => call("encrypt", { algorithm, plaintext: randomBytes(32) }), isWrap ? "'encrypt'" : "alg");
      continue;
    }
    const [isGcm, isCbc] = [algorithm.endsWith("GCM"), algorithm.includes("CBC")];
    const plaintext = randomBytes(algorithm.endsWith("CBC") ? 32 : 57);
    const more = isGcm ? { additionalAuthenticatedData: randomBytes(20) } : isCbc ? { iv: randomBytes(16) } : {};
    for (const call of remotes(await keyFor(algorithm))) {
      const sealed = await call("encrypt", { algorithm, plaintext, ...more });
      const opening = { algorithm, ciphertext: sealed.result, ...more };
      if (isCbc) same(sealed.iv, more.iv);
      if (isGcm) {
        assert.deepEqual([sealed.iv.length, sealed.authenticationTag.length], [12, 16]);
        Object.assign(opening, { iv: sealed.iv, authenticationTag: sealed.authenticationTag });
      }
      same((await call("decrypt", opening)).result, plaintext);
      if (!isCbc && algorithm !== "RSA1_5") {
        const ciphertext = changed(sealed.result);
        await words(() => call("decrypt", { ...opening, ciphertext }), "can not be decrypted");
      }
    }
  }
}

async function wrapAndUnwrapWithEveryAlgorithm() {
  for (const algorithm of ["RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "A128KW", "A192KW", "A256KW"]) {
    const data = randomBytes(32);
    for (const call of remotes(await keyFor(algorithm))) {
      const { result } = await call("wrapKey", algorithm, data);
      same((await call("unwrapKey", algorithm, result)).result, data);
      if (algorithm !== "RSA1_5") await words(() => call("unwrapKey", algorithm, changed(result)), "unwrapped");
    }
  }
}

async function signAndVerifyWithEveryAlgorithm() {
  for (const algorithm of Object.values(KnownSignatureAlgorithms)) {
    if (algorithm === "RSNULL") {
      const call = remote((await keyFor("RS256")).id);
      await words(() => call("sign", algorithm, randomBytes(32)), "RSNULL");
      continue;
    }
    const data = randomBytes(50);
    const digest = digestOf(algorithm, data);
    for (const call of remotes(await keyFor(algorithm))) {
      const { result } = await call("sign", algorithm, digest);
      assert.equal((await call("verify", algorithm, digest, result)).result, true, algorithm);
      assert.equal((await call("verify", algorithm, digestOf(algorithm, "other"), result)).result, false, algorithm);
      assert.equal((await call("verify", algorithm, digest, changed(result))).result, false, algorithm);
      // The client has no digests for HMAC.
      if (algorithm.startsWith("HS")) continue;
      assert.equal((await call("verifyData", algorithm, data, result)).result, true, algorithm);
      const again = await call("signData", algorithm, data);
      assert.equal((await call("verify", algorithm, digest, again.result)).result, true, algorithm);
    }
  }
}

async function whatDoesNotFitIsRefusedInAzuresWords() {
  const k256 = remote((await keyFor("ES256K")).id);
  await words(
    () => k256("sign", "ES256", randomBytes(32)),
    "Key URL uses curve 'P-256K', and algorithm 'ES256' can only be used with curve 'P-256'.",
  );
  await words(() => k256("sign", "ES256K", randomBytes(1)), "Invalid length of 'value': 1 bytes. ES256K requires 32 bytes");
  await words(() => k256("sign", "RS256", randomBytes(32)), "incompatible");
}

async function disabledExpiredAndForbidden() {
  const key = await owner.createRsaKey("js-state", { keyOps: ["sign", "verify", "encrypt", "decrypt"] });
  const call = remote(key.id);
  const [digest, plaintext] = [randomBytes(32), randomBytes(9)];
  const { result: signature } = await call("sign", "PS256", digest);
  const { result: ciphertext } = await call("encrypt", { algorithm: "RSA-OAEP", plaintext });
  const forbidden = (operation) => refused(operation, 403, "Forbidden", "KeyOperationForbidden");
  await forbidden(() => call("wrapKey", "RSA-OAEP", digest));
  await forbidden(() => call("unwrapKey", "RSA-OAEP", ciphertext));
  await owner.updateKeyProperties("js-state", { expiresOn: new Date(Date.now() - day) });
  await refused(() => call("sign", "PS256", digest), 403, "Forbidden");
  await refused(() => call("encrypt", { algorithm: "RSA-OAEP", plaintext }), 403, "Forbidden");
  same((await call("decrypt", { algorithm: "RSA-OAEP", ciphertext })).result, plaintext);
  assert.equal((await call("verify", "PS256", digest, signature)).result, true);
  await owner.updateKeyProperties("js-state", { enabled: false });
  await refused(() => call("decrypt", { algorithm: "RSA-OAEP", ciphertext }), 403, "Forbidden", "KeyDisabled");
}

// The usual client: what it does itself and what the service does fit together.
async function aClientThatMayReadDoesPublicOperationsItself() {
  for (const algorithm of ["RSA1_5", "RSA-OAEP"]) {
    const [key, data] = [await keyFor(algorithm), randomBytes(40)];
    const local = owner.getCryptographyClient(key.name);
    const sealed = await local.encrypt({ algorithm, plaintext: data });
    same((await remote(key.id)("decrypt", { algorithm, ciphertext: sealed.result })).result, data);
    const wrapped = await local.wrapKey(algorithm, data);
    same((await local.unwrapKey(algorithm, wrapped.result)).result, data);
  }
  for (const algorithm of ["RS256", "RS384", "RS512"]) {
    const local = owner.getCryptographyClient((await keyFor(algorithm)).name);
    const { result } = await local.signData(algorithm, Buffer.from("words"));
    assert.equal((await local.verifyData(algorithm, Buffer.from("words"), result)).result, true);
    assert.equal((await local.verifyData(algorithm, Buffer.from("others"), result)).result, false);
  }
}

await run([
  theClientMayNotReadKeys,
  encryptAndDecryptWithEveryAlgorithm,
  wrapAndUnwrapWithEveryAlgorithm,
  signAndVerifyWithEveryAlgorithm,
  whatDoesNotFitIsRefusedInAzuresWords,
  disabledExpiredAndForbidden,
  aClientThatMayReadDoesPublicOperationsItself,
]);
