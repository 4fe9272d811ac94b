// What the programs share: the client as dev.env describes it, and a runner that shows each check.

import assert from "node:assert/strict";
import { ClientSecretCredential } from "@azure/identity";
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
