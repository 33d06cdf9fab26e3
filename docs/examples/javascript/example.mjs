// Leases a key, uses it, renews the lease and revokes it:
//
//     node example.mjs IDENTITY SECRET
//
// Environment variables: NATS_URL; NATS_CREDS or NATS_NKEY, the path of a credentials file
// or of an nkey's seed; AWS_ENDPOINT_URL, the URL of a simulator instead of AWS.

import { readFile } from "node:fs/promises";
import { connect, credsAuthenticator, nkeyAuthenticator } from "@nats-io/transport-node";
import { callAWS, element } from "./aws.mjs";
import { Leases } from "./lease.mjs";

const { NATS_URL, NATS_CREDS, NATS_NKEY, AWS_ENDPOINT_URL } = process.env;

const [identity, secret] = process.argv.slice(2);
if (!secret) {
  console.error("usage: node example.mjs IDENTITY SECRET");
  process.exit(2);
}

const nc = await connect({ servers: NATS_URL, name: "lessor example", timeout: 60_000, authenticator: await authenticator() });
try {
  await main(new Leases(nc, { identity }));
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await nc.drain();
}

async function main(leases) {
  const { lease, credentials, region, ready } = await leases.request(secret, {
    ttl: "5m", readyWithin: 20, labels: { job: "example" },
  });
  try {
    console.log("lease    ", lease.name, "until", lease.expires_at);
    console.log("key      ", lease.access_key_id, ready ? "ready" : "not accepted by AWS yet", credentials);

    const aws = { endpoint: AWS_ENDPOINT_URL, region, credentials };
    const me = await callAWS({ ...aws, service: "sts", action: "GetCallerIdentity" });
    console.log("caller   ", element(me, "Arn"));
    console.log("ListUsers", await allowed(callAWS({ ...aws, service: "iam", action: "ListUsers" })));

    console.log("renewed  ", (await leases.renew(lease.name, "10m")).expires_at);
  } finally {
    console.log("revoked  ", (await leases.revoke(lease.name, "the example is over")).state);
  }
}

/** Returns whether AWS allowed a call. */
async function allowed(call) {
  try {
    await call;
    return "allowed";
  } catch (error) {
    if (error.code !== "AccessDenied") throw error;
    return "denied";
  }
}

/** Returns the credentials for NATS, if there are any. */
async function authenticator() {
  if (NATS_CREDS) return credsAuthenticator(await readFile(NATS_CREDS));
  if (NATS_NKEY) return nkeyAuthenticator(new TextEncoder().encode((await readFile(NATS_NKEY, "utf8")).trim()));
}
