// A client for lessor's front door. It does what the Go client (messages/client) does
// of requests: the credentials come sealed for a key that exists during the call alone,
// what stands in the box is compared with the answer around it, and only then is the
// delivery confirmed. What is not confirmed, the broker revokes.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";
import { createCurve } from "@nats-io/nkeys";
import { createInbox, headers, NoRespondersError, TimeoutError } from "@nats-io/transport-node";

/** What the broker answered in the place of what was asked for. */
export class LessorError extends Error {
  /** @param {{code: string, message: string, retryable: boolean}} error @param {object} [lease] */
  constructor(error, lease) {
    super(`${error.code}: ${error.message}`);
    this.name = "LessorError";
    this.code = error.code; // to switch on; docs/messages.md has them all
    this.retryable = error.retryable;
    this.retryAfter = error.retry_after; // when to come back, where somebody knows
    this.lease = lease; // where the broker tells of one
  }
}

/** A delivery that is not what was asked for. It was not confirmed. */
export class DeliveryError extends Error {
  name = "DeliveryError";
}

/** Asks for leases as one identity. The connection stays the caller's to close. */
export class Leases {
  #nc;
  #identity;
  #prefix;
  #timeout;
  #resend;
  #unheard;
  #late;

  /**
   * @param {import("@nats-io/transport-node").NatsConnection} nc
   * @param {object} options
   * @param {string} options.identity who asks; NATS must allow the connection its subjects
   * @param {string} [options.prefix] the installation's
   * @param {number} [options.timeout] how long a call waits for its answer, in ms
   * @param {number} [options.resend] how long a message stays unanswered before it is sent again, in ms
   * @param {number} [options.unheard] how long to go on while NATS says that nobody listens, in ms
   * @param {number} [options.late] how long after the answer to a repeated message another may come, in ms
   */
  constructor(nc, { identity, prefix = "lessor", timeout = 30_000, resend = 15_000, unheard = 3_000, late = 2_000 }) {
    this.#nc = nc;
    this.#identity = token("identity", identity);
    this.#prefix = prefix;
    this.#timeout = timeout;
    this.#resend = resend;
    this.#unheard = unheard;
    this.#late = late;
  }

  /**
   * Asks for a lease and returns it, confirmed, with its credentials in the shape that
   * the AWS SDK takes. Give no idempotency key of your own: the key that the
   * credentials are sealed for is another one each time, and so is the request.
   *
   * @param {string} secret the dynamic secret
   * @param {{ttl?: string, readyWithin?: number, labels?: Record<string, string>}} [options]
   *   ttl such as "15m"; readyWithin: how many seconds AWS may take to accept the key, at
   *   most 60, before the delivery comes anyway, with ready false
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
        // Nothing is made for a requester who has gone.
        deadline: new Date(Date.now() + this.#timeout + more).toISOString(),
      };
      const { message, reply } = await this.#ask(subject, body, "credentials", more);
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

  /** Moves a lease's end to a ttl, such as "1h", from now, and returns the lease. */
  async renew(lease, ttl) {
    return (await this.#ask(this.#about("renew", lease), { ttl }, "renewed")).reply.lease;
  }

  /** Ends a lease. Key and user are gone when it returns the lease. */
  async revoke(lease, reason) {
    return (await this.#ask(this.#about("revoke", lease), { reason }, "revoked")).reply.lease;
  }

  /** Returns a lease as it is. */
  async get(lease) {
    return (await this.#ask(this.#about("get", lease), undefined, "lease")).reply.lease;
  }

  #about(verb, lease) {
    const tokens = lease.split(".");
    if (tokens.length !== 3 || tokens[0] !== this.#identity) {
      throw new TypeError(`${lease} is no lease of ${this.#identity}`);
    }
    tokens.forEach((t) => token("lease", t));
    return `${this.#prefix}.api.${verb}.${lease}`;
  }

  /**
   * Asks until it is answered. All tries have one reply subject, and requests one
   * idempotency key, so that it is one lease however often it was asked for.
   */
  async #ask(subject, body, kind, more = 0) {
    // The prefix of the inboxes that NATS lets this identity listen to.
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
            // From now on each try may be answered. Somebody listens for it, and a
            // while after: the broker takes what it sends to nobody for undelivered.
            inbox ??= this.#nc.subscribe(reply, { callback: () => {} });
          } else if (error.cause instanceof NoRespondersError && (inbox || Date.now() - begun < this.#unheard)) {
            await pause(wait); // as while a broker restarts
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
   * Opens the box and compares what stands inside with the answer: the box alone
   * would open in any answer.
   */
  #open({ lease, sealed, ready }, secret, key) {
    const refuse = (why) => {
      throw new DeliveryError(`the answer for lease ${lease.name} ${why}; it was not confirmed`);
    };
    if (lease.identity !== this.#identity || lease.secret !== secret || lease.name !== `${lease.identity}.${lease.secret}.${lease.id}`) {
      refuse(`is not what ${this.#identity} asked of ${secret}`);
    }
    if (!sealed) refuse("came in clear, though it was asked for sealed");
    const inside = unseal(sealed, key) ?? refuse("has a box that does not open");
    if (inside.lease !== lease.name || inside.identity !== lease.identity) refuse("has the box of another lease");
    // Not <, which is false of what is no date.
    if (!(Date.parse(lease.expires_at) >= Date.parse(inside.expires_at))) refuse("tells an earlier end than its box");
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

/** Opens a box: nkeys' "xkv1", a nonce and a NaCl box. Undefined where it does not open. */
function unseal({ from, box }, key) {
  let plain;
  try {
    plain = key.open(Buffer.from(box, "base64"), from);
    return plain ? JSON.parse(new TextDecoder().decode(plain)) : undefined;
  } catch {
    return undefined; // without the cause: it may quote what was in the box
  } finally {
    plain?.fill(0);
  }
}

/** Reads an answer, and throws where it is another than was due. */
function expect(message, kind) {
  const broken = message.headers?.get("Nats-Service-Error");
  if (broken && message.data.length === 0) {
    throw new LessorError({ code: "unavailable", message: `the front door answers: ${broken}`, retryable: true });
  }
  const reply = message.json();
  if (reply.kind === "error") throw new LessorError(reply.error, reply.lease);
  if (reply.kind !== kind || !reply.lease) {
    throw new Error(`the broker answered with ${reply.kind} where ${kind} was due; is it of another version?`);
  }
  return reply;
}

/** Keeps credentials out of logs: they show as [redacted], and are not in JSON. */
function hidden(credentials) {
  const redacted = { value: () => "[redacted]" };
  return Object.defineProperties(credentials, { [inspect.custom]: redacted, toJSON: redacted });
}

/** Checks what becomes a part of a subject. */
function token(name, value) {
  if (typeof value !== "string" || !/^[a-z0-9_-]{1,64}$/.test(value)) {
    throw new TypeError(`${name} is ${JSON.stringify(value)}; it takes 1 to 64 of a-z, 0-9, _ and -`);
  }
  return value;
}
