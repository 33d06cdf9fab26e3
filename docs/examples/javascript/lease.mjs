// A client for lessor's API. It requests leases as the Go client (messages/client) does:
// the credentials are sealed for a key that exists only during the call, the contents of
// the box are compared with the answer around it, and then the delivery is confirmed. The
// broker revokes a lease that is not confirmed.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";
import { createCurve } from "@nats-io/nkeys";
import { createInbox, headers, NoRespondersError, TimeoutError } from "@nats-io/transport-node";

/** An error that the broker answered. */
export class LessorError extends Error {
  /** @param {{code: string, message: string, retryable: boolean}} error @param {object} [lease] */
  constructor(error, lease) {
    super(`${error.code}: ${error.message}`);
    this.name = "LessorError";
    this.code = error.code; // stable; docs/messages.md lists the codes
    this.retryable = error.retryable;
    this.retryAfter = error.retry_after; // how long to wait before the next attempt, such as "10s", if known
    this.lease = lease; // the lease that the error is about, if any
  }
}

/** A delivery that does not match the request. It was not confirmed. */
export class DeliveryError extends Error {
  name = "DeliveryError";
}

/** Requests leases as one identity. The caller closes the connection. */
export class Leases {
  #nc;
  #identity;
  #prefix;
  #timeout;
  #resend;
  #noRespondersWait;
  #late;

  /**
   * @param {import("@nats-io/transport-node").NatsConnection} nc
   * @param {object} options
   * @param {string} options.identity the requester; NATS must allow the connection its subjects
   * @param {string} [options.prefix] first token of the installation's subjects
   * @param {number} [options.timeout] how long a call waits for its answer, in ms
   * @param {number} [options.resend] how long to wait for an answer before the message is sent again, in ms
   * @param {number} [options.noRespondersWait] how long to repeat a message while NATS reports no responders, in ms
   * @param {number} [options.late] how long the inbox of a repeated message stays subscribed after the answer, in ms
   */
  constructor(nc, { identity, prefix = "lessor", timeout = 30_000, resend = 15_000, noRespondersWait = 3_000, late = 2_000 }) {
    this.#nc = nc;
    this.#identity = token("identity", identity);
    this.#prefix = prefix;
    this.#timeout = timeout;
    this.#resend = resend;
    this.#noRespondersWait = noRespondersWait;
    this.#late = late;
  }

  /**
   * Requests a lease and returns it, confirmed, with its credentials in the form that
   * the AWS SDK accepts. Each call is a request of its own, with its own idempotency
   * key: the credentials are sealed for another key each time.
   *
   * @param {string} secret the dynamic secret
   * @param {{ttl?: string, readyWithin?: number, labels?: Record<string, string>}} [options]
   *   ttl such as "15m"; readyWithin: how many seconds, at most 60, the broker waits for
   *   AWS to accept the key; after that it delivers anyway, with ready false
   */
  async request(secret, { ttl, readyWithin = 0, labels } = {}) {
    const subject = `${this.#prefix}.api.request.${this.#identity}.${token("secret", secret)}`;
    const key = createCurve();
    try {
      const more = readyWithin * 1000;
      const body = {
        ttl,
        labels,
        xkey: key.getPublicKey(),
        confirm: true,
        ready_within: readyWithin ? `${readyWithin}s` : undefined,
        // After the deadline the broker issues nothing.
        deadline: new Date(Date.now() + this.#timeout + more).toISOString(),
      };
      const { message, reply } = await this.#exchange(subject, body, "credentials", more);
      const issued = this.#open(reply, secret, key);
      if (!message.respond()) {
        throw new DeliveryError(`the delivery of lease ${issued.lease.name} has no reply subject to confirm it on`);
      }
      await this.#nc.flush();
      return issued;
    } finally {
      key.clear();
    }
  }

  /** Renews a lease: it ends a ttl, such as "1h", from now. Returns the lease. */
  async renew(lease, ttl) {
    return (await this.#exchange(this.#about("renew", lease), { ttl }, "renewed")).reply.lease;
  }

  /** Ends a lease and returns it when key and user are deleted. */
  async revoke(lease, reason) {
    return (await this.#exchange(this.#about("revoke", lease), { reason }, "revoked")).reply.lease;
  }

  /** Returns a lease. */
  async get(lease) {
    return (await this.#exchange(this.#about("get", lease), undefined, "lease")).reply.lease;
  }

  #about(verb, lease) {
    const tokens = lease.split(".");
    if (tokens.length !== 3 || tokens[0] !== this.#identity) {
      throw new TypeError(`${lease} is not a lease of ${this.#identity}`);
    }
    tokens.forEach((t) => token("lease", t));
    return `${this.#prefix}.api.${verb}.${lease}`;
  }

  /**
   * Sends a message until it is answered. All attempts have the same reply subject and
   * the same idempotency key, so that a request gets one lease however often it is sent.
   */
  async #exchange(subject, body, kind, more = 0) {
    // The prefix of the inboxes that NATS allows this identity to subscribe to.
    const reply = createInbox(`_INBOX_${this.#identity}`);
    const h = headers();
    h.set("Lessor-Idempotency-Key", randomUUID());
    const begun = Date.now();
    let inbox;
    try {
      for (let wait = 100; ; wait = Math.min(2 * wait, 1000)) {
        const left = begun + this.#timeout + more - Date.now();
        if (left <= 0) throw new TimeoutError();
        try {
          const message = await this.#nc.request(subject, body && JSON.stringify(body), {
            noMux: true, reply, headers: h, timeout: Math.min(left, this.#resend + more),
          });
          return { message, reply: expect(message, kind) };
        } catch (error) {
          if (error instanceof TimeoutError) {
            // From now on there may be several answers. The inbox stays subscribed until
            // a while after the first: the broker revokes a lease whose delivery meets no
            // responders.
            inbox ??= this.#nc.subscribe(reply, { callback: () => {} });
          } else if (error.cause instanceof NoRespondersError && (inbox || Date.now() - begun < this.#noRespondersWait)) {
            await pause(wait); // for instance while a broker restarts
          } else {
            throw error;
          }
        }
      }
    } finally {
      if (inbox) setTimeout(() => inbox.unsubscribe(), this.#late).unref();
    }
  }

  /**
   * Opens the box and compares its contents with the answer around it: the box itself
   * would open in any answer.
   */
  #open({ lease, sealed, ready }, secret, key) {
    const refuse = (why) => {
      throw new DeliveryError(`the answer for lease ${lease.name} ${why}; it was not confirmed`);
    };
    if (lease.identity !== this.#identity || lease.secret !== secret || lease.name !== `${lease.identity}.${lease.secret}.${lease.id}`) {
      refuse(`is not what ${this.#identity} requested of ${secret}`);
    }
    if (!sealed) refuse("came in clear, although sealed credentials were requested");
    const inside = unseal(sealed, key) ?? refuse("has a box that does not open");
    if (inside.lease !== lease.name || inside.identity !== lease.identity) refuse("has the box of another lease");
    // Not <, which is false if one is not a date.
    if (!(Date.parse(lease.expires_at) >= Date.parse(inside.expires_at))) refuse("has an earlier end than its box");
    const { access_key_id, secret_access_key, session_token, region } = inside.credentials ?? {};
    if (!access_key_id || !secret_access_key) refuse("has no credentials in its box");
    return {
      lease,
      ready,
      region,
      credentials: hidden({
        accessKeyId: access_key_id,
        secretAccessKey: secret_access_key,
        sessionToken: session_token || undefined,
      }),
    };
  }
}

/** Opens a box: nkeys' "xkv1", a nonce and a NaCl box. Returns undefined if it does not open. */
function unseal({ from, box }, key) {
  let plain;
  try {
    plain = key.open(Buffer.from(box, "base64"), from);
    return plain ? JSON.parse(new TextDecoder().decode(plain)) : undefined;
  } catch {
    return undefined; // without the cause, which may quote the contents
  } finally {
    plain?.fill(0);
  }
}

/** Reads an answer of the given kind, and throws if it is another. */
function expect(message, kind) {
  const broken = message.headers?.get("Nats-Service-Error");
  if (broken && message.data.length === 0) {
    throw new LessorError({ code: "unavailable", message: `the API answers: ${broken}`, retryable: true });
  }
  const reply = message.json();
  if (reply.kind === "error") throw new LessorError(reply.error, reply.lease);
  if (reply.kind !== kind || !reply.lease) {
    throw new Error(`the broker answered with ${reply.kind} instead of ${kind}; is it of another version?`);
  }
  return reply;
}

/** Keeps credentials out of logs: they print as [redacted], also in JSON. */
function hidden(credentials) {
  const redacted = { value: () => "[redacted]" };
  return Object.defineProperties(credentials, { [inspect.custom]: redacted, toJSON: redacted });
}

/** Checks a token of a subject. */
function token(name, value) {
  if (typeof value !== "string" || !/^[a-z0-9_-]{1,64}$/.test(value)) {
    throw new TypeError(`${name} is ${JSON.stringify(value)}; it must be 1 to 64 of a-z, 0-9, _ and -`);
  }
  return value;
}
