// A program that knows nothing of regions goes on through the loss of one; see check_failover.py, which does the same.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";
import { SecretClient } from "@azure/keyvault-secrets";
import { URL_, credential, run, value } from "./common.mjs";

const HOME = process.env.VALV_HOME;
const PAIR = process.env.VALV_PAIR;
const DEADLINE = 120_000;
const DIGEST = Uint8Array.from({ length: 32 }, (_, n) => n);

const shared = credential();
const counts = () => ({ [HOME]: 0, [PAIR]: 0, done: 0, refused: 0 });
const seen = { healthy: counts(), lost: counts(), returned: counts() };
const acknowledged = new Map();
const failed = [];
let stopped = false;

const phase = () => readFileSync(process.env.VALV_PHASE, "utf8").trim();

// Notes who answered what the SDK takes as the answer.
const policy = {
  name: "whoAnswered",
  async sendRequest(request, next) {
    const response = await next(request);
    if (response.status === 200 && request.method === "GET") {
      const region = response.headers.get("x-ms-keyvault-region");
      const readOnly = response.headers.get("x-valv-mode") === "read-only";
      assert.equal(readOnly, region === PAIR, `${region} answered in mode ${readOnly}`);
      seen[phase()][region] += 1;
    }
    return response;
  },
};
const secretClient = () =>
  new SecretClient(URL_, shared, { additionalPolicies: [{ policy, position: "perRetry" }] });
const secrets = secretClient();

async function reader(number) {
  const keys = new KeyClient(URL_, shared);
  const key = await keys.getKey("failover");
  const crypto = new CryptographyClient(key, shared);
  while (!stopped) {
    number += 1;
    try {
      const client = number % 4 === 0 ? secretClient() : secrets;
      const began = performance.now();
      const secret = await client.getSecret("failover");
      assert.ok(secret.value.startsWith(value("failover")), "another secret's value");
      const took = performance.now() - began;
      assert.ok(took < 4000, `a read took ${took} ms`);
      const { result } = await crypto.sign("ES256", DIGEST);
      assert.equal(result.length, 64);
    } catch (error) {
      failed.push(`in phase ${phase()}: ${error}`);
      stopped = true;
    }
    await sleep(20);
  }
}

async function writer() {
  for (let number = 1; !stopped; number += 1) {
    const text = value(`failover-${number}`);
    const before = phase();
    try {
      const { properties } = await secrets.setSecret("failover", text);
      acknowledged.set(properties.version, text);
      seen[before].done += 1;
    } catch (error) {
      if (error.statusCode === 503) {
        seen[before].refused += 1;
        if (!error.message.includes("the service is currently in a read-only state")) failed.push(String(error));
      } else if (error.statusCode !== 504) {
        failed.push(`a write was answered with ${error.statusCode}: ${error}`);
      }
    }
    await sleep(50);
  }
}

async function enough(of, least) {
  const deadline = Date.now() + DEADLINE;
  while (phase() !== of || Object.entries(least).some(([what, count]) => seen[of][what] < count)) {
    assert.deepEqual(failed, []);
    assert.ok(Date.now() < deadline, `not enough of ${of}: ${JSON.stringify(seen)}`);
    await sleep(20);
  }
  assert.deepEqual(failed, []);
}

async function prepare() {
  await secrets.setSecret("failover", value("failover-0"));
  await new KeyClient(URL_, shared).createEcKey("failover");
  for (const number of [0, 1, 2]) reader(number);
  writer();
}

async function healthy() {
  await enough("healthy", { [HOME]: 30, done: 3 });
  assert.equal(seen.healthy[PAIR], 0, "the replica answered while home was healthy");
}
const lost = () => enough("lost", { [PAIR]: 40, refused: 1 });
const returned = () => enough("returned", { [HOME]: 40, done: 3 });

async function nothingAcknowledgedIsMissing() {
  stopped = true;
  assert.deepEqual(failed, []);
  for (const [version, text] of acknowledged) {
    assert.equal((await secrets.getSecret("failover", { version })).value, text);
  }
  console.log(`seen: ${JSON.stringify(seen)}, ${acknowledged.size} acknowledged writes`);
}

await run([prepare, healthy, lost, returned, nothingAcknowledgedIsMissing]);
process.exit(0);
