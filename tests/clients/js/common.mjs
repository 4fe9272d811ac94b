// What the programs share: the client as dev.env describes it, and a runner that shows each check.

import assert from "node:assert/strict";
import { ClientSecretCredential } from "@azure/identity";
import { KeyClient } from "@azure/keyvault-keys";
import { SecretClient } from "@azure/keyvault-secrets";

export const URL_ = process.env.VALV_URL;
export const TENANT = process.env.AZURE_TENANT_ID;
export const CLIENT = process.env.AZURE_CLIENT_ID;
// Every value that is stored begins with this, so that the test can look for it in files afterwards.
export const value = (word) => `${process.env.VALV_PLANT}-${word}`;

// The one documented switch for an authority that is not Microsoft's; nothing else is turned off.
export function credential({ tenant = TENANT, client = CLIENT, secret = process.env.AZURE_CLIENT_SECRET } = {}) {
  return new ClientSecretCredential(tenant, client, secret, { disableInstanceDiscovery: true });
}

export const secretClient = (options = {}) =>
  new SecretClient(URL_, options.credential ?? credential(), options.client ?? {});

// A client of this vault; `dev` is the one that dev.env names.
export const keyClient = (vault = "dev", credential_ = credential(), options = {}) =>
  new KeyClient(vault === "dev" ? URL_ : URL_.replace("//dev.", `//${vault}.`), credential_, options);

// The call must fail with this status, error code and inner code.
export async function refused(call, status, code, inner = undefined) {
  const error = await call().then(() => undefined, (e) => e);
  assert.ok(error, `expected ${status} ${code}`);
  const seen = [error.statusCode, error.code, error.details?.error?.innerError?.code];
  assert.deepEqual(seen, [status, code, inner], String(error));
  assert.ok(error.message, "an error says what is wrong");
  return error;
}

export async function collect(items) {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

export const day = 24 * 3600 * 1000;
export const seconds = (moment) => new Date(Math.floor(moment / 1000) * 1000);

export function near(moment, expected = Date.now()) {
  assert.ok(Math.abs(moment - expected) < 300_000, `${moment} is not near ${expected}`);
}

export function recoverable(properties) {
  const days = properties.recoverableDays;
  assert.ok(days >= 7 && days <= 90, String(days));
  assert.equal(properties.recoveryLevel, days === 90 ? "Recoverable+Purgeable" : "CustomizedRecoverable+Purgeable");
  return days;
}

export async function eachOnceInOrder(pages, wanted, size) {
  pages = await collect(pages);
  for (const page of pages) assert.ok(page.length <= size, `${page.length} > ${size}`);
  const found = pages.flat().map((p) => p.name);
  const upper = found.map((name) => name.toUpperCase());
  assert.deepEqual(upper, [...upper].sort(), "upper-cased names in order");
  assert.deepEqual(found.filter((name) => wanted.includes(name)).sort(), [...wanted].sort());
  return pages.flat();
}

// Calls `work` with each item, 16 at a time.
export async function each(items, work) {
  const left = [...items];
  const one = async () => {
    while (left.length) await work(left.shift());
  };
  await Promise.all(Array.from({ length: 16 }, one));
}

// Runs each check in turn; the last line counts them.
export async function run(checks) {
  for (const check of checks) {
    const start = performance.now();
    try {
      await check();
    } catch (error) {
      console.log(`FAILED ${check.name}`);
      console.error(error, error?.response?.bodyAsText);
      process.exit(1);
    }
    console.log(`ok ${check.name} (${((performance.now() - start) / 1000).toFixed(2)} s)`);
  }
  console.log(`passed: ${checks.length} checks`);
}
