// What the client does with right and wrong answers. The tests answer in place of a
// broker, on a prefix of their own. They need any NATS server at NATS_URL, for instance
// that of "lessor dev".

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { inspect } from "node:util";
import { createCurve } from "@nats-io/nkeys";
import { connect } from "@nats-io/transport-node";
import { DeliveryError, Leases, LessorError } from "./lease.mjs";

const prefix = `test-${randomUUID()}`;
const hour = (n) => new Date(Date.parse("2030-01-01T00:00:00Z") + n * 3600_000).toISOString();
const lease = (more) => ({
  name: "alice.ci.1", identity: "alice", secret: "ci", id: "1", state: "active",
  access_key_id: "AKIAEXAMPLE", expires_at: hour(1), ...more,
});
const credentials = { access_key_id: "AKIAEXAMPLE", secret_access_key: "not+a/secret", session_token: "", region: "eu-central-1" };
const contents = (more) => ({ lease: "alice.ci.1", identity: "alice", expires_at: hour(1), credentials, ...more });

const sender = createCurve();
const seal = (text, recipient, from = sender.getPublicKey()) => ({
  from, box: Buffer.from(sender.seal(new TextEncoder().encode(text), recipient)).toString("base64"),
});
const delivery = (xkey, more) => ({ kind: "credentials", lease: lease(), sealed: seal(JSON.stringify(contents()), xkey), ready: true, ...more });

let nc;
before(async () => { nc = await connect({ servers: process.env.NATS_URL, timeout: 60_000 }); });
after(() => nc.close());

/** Requests a lease of a broker that gives the given answers. Returns the result, and the count of confirmations. */
async function request(t, answer, options) {
  const secret = "ci";
  const counts = { confirmed: 0, noResponders: 0 };
  const requests = [];
  const confirm = nc.subscribe(`${prefix}.confirm.${randomUUID()}`, {
    callback: (_, m) => { counts[m.headers?.code === 503 ? "noResponders" : "confirmed"]++; },
  });
  const api = nc.subscribe(`${prefix}.api.request.alice.${secret}`, {
    callback: (_, m) => {
      requests.push(m);
      const reply = answer(m.json(), requests.length);
      if (reply) m.respond(JSON.stringify(reply), { reply: confirm.getSubject() });
    },
  });
  await nc.flush();
  t.after(() => { api.unsubscribe(); confirm.unsubscribe(); });
  const result = await new Leases(nc, { identity: "alice", prefix, ...options })
    .request(secret).then((issued) => ({ issued }), (error) => ({ error }));
  await nc.flush(); // until the confirmation has arrived
  return { ...result, ...counts, counts, confirm: confirm.getSubject(), requests };
}

test("a correct delivery is opened and confirmed", async (t) => {
  const { issued, confirmed, requests } = await request(t, (body) => delivery(body.xkey));
  assert.equal(confirmed, 1);
  assert.equal(requests.length, 1);
  assert.equal(issued.lease.name, "alice.ci.1");
  assert.equal(issued.region, "eu-central-1");
  assert.equal(issued.credentials.accessKeyId, "AKIAEXAMPLE");
  assert.equal(issued.credentials.secretAccessKey, "not+a/secret");
  assert.equal(issued.credentials.sessionToken, undefined);
  for (const shown of [inspect(issued, { depth: 9, showHidden: true }), JSON.stringify(issued), `${issued.credentials}`]) {
    assert.ok(!shown.includes("not+a/secret"), shown);
  }
});

test("an end later than the box's is accepted: the lease was renewed", async (t) => {
  const { issued, confirmed } = await request(t, (body) => delivery(body.xkey, { lease: lease({ expires_at: hour(2) }) }));
  assert.equal(issued.lease.expires_at, hour(2));
  assert.equal(confirmed, 1);
});

const other = createCurve().getPublicKey();
const box = (xkey, more) => ({ sealed: seal(JSON.stringify(contents(more)), xkey) });
const refused = {
  "a box for another key": [() => ({ sealed: box(other).sealed }), /does not open/],
  "a box from another key than it states": [(xkey) => ({ sealed: seal(JSON.stringify(contents()), xkey, other) }), /does not open/],
  "a modified box": [(xkey) => {
    const { from, box: text } = seal(JSON.stringify(contents()), xkey);
    const bytes = Buffer.from(text, "base64");
    bytes[bytes.length - 1] ^= 1;
    return { sealed: { from, box: bytes.toString("base64") } };
  }, /does not open/],
  "an invalid box": [() => ({ sealed: { from: other, box: "eGt2MQ==" } }), /does not open/],
  "a box without a sender": [(xkey) => ({ sealed: { box: box(xkey).sealed.box } }), /does not open/],
  "a box without JSON": [(xkey) => ({ sealed: seal("not+a/secret", xkey) }), /does not open/],
  "a box without credentials": [(xkey) => box(xkey, { credentials: undefined }), /no credentials/],
  "a box without a secret key": [(xkey) => box(xkey, { credentials: { ...credentials, secret_access_key: "" } }), /no credentials/],
  "another lease's box": [(xkey) => box(xkey, { lease: "alice.ci.2" }), /box of another lease/],
  "another identity's box": [(xkey) => box(xkey, { identity: "bob" }), /box of another lease/],
  "an answer with another identity": [() => ({ lease: lease({ identity: "bob", name: "bob.ci.1" }) }), /not what alice requested/],
  "an answer with another secret": [() => ({ lease: lease({ secret: "prod", name: "alice.prod.1" }) }), /not what alice requested/],
  "an answer with another name": [() => ({ lease: lease({ name: "alice.ci.2" }) }), /not what alice requested/],
  "an earlier end": [() => ({ lease: lease({ expires_at: hour(0) }) }), /earlier end/],
  "an invalid end": [() => ({ lease: lease({ expires_at: "never" }) }), /earlier end/],
  "no end": [() => ({ lease: lease({ expires_at: undefined }) }), /earlier end/],
  "a box without an end": [(xkey) => box(xkey, { expires_at: undefined }), /earlier end/],
  "credentials in clear": [() => ({ sealed: undefined, credentials }), /came in clear/],
};
for (const [what, [more, why]] of Object.entries(refused)) {
  test(`not confirmed: ${what}`, async (t) => {
    const { error, confirmed } = await request(t, (body) => delivery(body.xkey, more(body.xkey)));
    assert.ok(error instanceof DeliveryError, inspect(error));
    assert.match(error.message, why);
    assert.ok(!inspect(error).includes("not+a/secret"));
    assert.equal(confirmed, 0);
  });
}

test("the broker's error is thrown", async (t) => {
  const { error, confirmed } = await request(t, () => ({
    kind: "error", error: { code: "limit_exceeded", message: "enough", retryable: true, retry_after: "10s" }, lease: lease(),
  }));
  assert.ok(error instanceof LessorError);
  assert.equal(error.code, "limit_exceeded");
  assert.equal(error.retryable, true);
  assert.equal(error.retryAfter, "10s");
  assert.equal(error.lease.name, "alice.ci.1");
  assert.equal(confirmed, 0);
});

for (const reply of [{ kind: "lease", lease: lease() }, { kind: "credentials" }]) {
  test(`an answer of another kind, or without a lease, is refused: ${reply.kind}`, async (t) => {
    const { error, confirmed } = await request(t, () => reply);
    assert.match(error.message, /another version/);
    assert.equal(confirmed, 0);
  });
}

test("a request without an answer is sent again, unchanged", async (t) => {
  const { issued, confirmed, requests } = await request(t, (body, n) => (n > 1 ? delivery(body.xkey) : undefined), { resend: 50 });
  assert.equal(issued.lease.name, "alice.ci.1");
  assert.equal(confirmed, 1);
  const [first, second] = requests;
  assert.equal(second.string(), first.string());
  assert.equal(second.reply, first.reply);
  const key = first.headers.get("Lessor-Idempotency-Key");
  assert.ok(key);
  assert.equal(second.headers.get("Lessor-Idempotency-Key"), key);
});

test("the inbox stays subscribed after an answer only if the request was sent again", async (t) => {
  for (const [after, noResponders] of [[1, 0], [0, 1]]) {
    const { requests, confirm, counts } = await request(t, (body, n) => (n > after ? delivery(body.xkey) : undefined),
      { resend: after ? 50 : 60_000, late: 60_000 });
    const before = counts.noResponders;
    nc.publish(requests[0].reply, "{}", { reply: confirm });
    await nc.flush();
    await nc.flush(); // until a 503 from NATS has arrived
    assert.equal(counts.noResponders - before, noResponders);
  }
});

test("each request has its own keys and inbox", async (t) => {
  const [a, b] = [await request(t, (body) => delivery(body.xkey)), await request(t, (body) => delivery(body.xkey))].map((r) => r.requests[0]);
  assert.match(a.reply, /^_INBOX_alice\./);
  assert.notEqual(a.reply, b.reply);
  assert.notEqual(a.json().xkey, b.json().xkey);
  assert.notEqual(a.headers.get("Lessor-Idempotency-Key"), b.headers.get("Lessor-Idempotency-Key"));
});

test("a request without any answer times out", async (t) => {
  const { error } = await request(t, () => undefined, { timeout: 200, resend: 50 });
  assert.equal(error.name, "TimeoutError");
});

test("no responders", async () => {
  const leases = new Leases(nc, { identity: "alice", prefix: `${prefix}-none`, noRespondersWait: 150 });
  await assert.rejects(leases.revoke("alice.ci.1"), (error) => error.isNoResponders());
});

test("a request waits for a broker that restarts", async (t) => {
  const leases = new Leases(nc, { identity: "alice", prefix: `${prefix}-late` });
  const got = leases.get("alice.ci.1");
  setTimeout(() => {
    const api = nc.subscribe(`${prefix}-late.api.get.alice.ci.1`, {
      callback: (_, m) => m.respond(JSON.stringify({ kind: "lease", lease: lease() })),
    });
    t.after(() => api.unsubscribe());
  }, 50);
  assert.equal((await got).name, "alice.ci.1");
});

test("invalid names and other identities' leases are refused before anything is sent", async () => {
  for (const identity of ["", "*", ">", "a.b", "Alice", "alice\n", "a".repeat(65), undefined]) {
    assert.throws(() => new Leases(nc, { identity }), TypeError);
  }
  const leases = new Leases(nc, { identity: "alice", prefix });
  await assert.rejects(leases.request("ci.>"), TypeError);
  for (const name of ["bob.ci.1", "alice.ci", "alice.ci.1.2", "alice.*.1", "alice.ci.>"]) {
    await assert.rejects(leases.revoke(name), TypeError);
  }
});
