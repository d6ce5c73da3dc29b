// Sends spooled events to the hub, signed, in order, until it has them.
import { createHash } from "node:crypto";

import { sign } from "./signature.js";

const DEFAULTS = {
  maxCount: 100,
  maxBytes: 512 * 1024,
  timeoutMs: 10_000,
  firstRetryMs: 1_000,
  lastRetryMs: 300_000,
};

/** Answers after which the same batch may be taken later; all others of 4xx mean "never". */
const LATER = new Set([401, 403, 404, 408, 421, 425, 429]);

export class Sender {
  #spool;
  #config;
  #options;
  #log;
  #timer;
  #running;
  #failures = 0;
  #stopped = false;
  /** The batch that is under way: tried again as it is, under the same id, until the hub answers. */
  #batch;
  #size;

  constructor(spool, config, { log = console, ...options } = {}) {
    this.#spool = spool;
    this.#config = config;
    this.#log = log;
    this.#options = { ...DEFAULTS, ...options };
    this.#size = this.#options.maxCount;
  }

  /** Begins with what an earlier process left behind. */
  start() {
    this.#schedule(0);
  }

  /** There is something new. While the hub is away this does not hurry the next attempt. */
  wake() {
    if (this.#failures === 0) this.#schedule(0);
  }

  /** Tries now, for at most `ms`; what is left stays on disk. */
  async drain(ms) {
    const limit = new Promise((resolve) => setTimeout(resolve, ms).unref());
    await Promise.race([this.#run(), limit]);
  }

  /** No further attempts; ends when the one under way has. */
  async stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(ms) {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), ms);
    this.#timer.unref();
  }

  /** One pass at a time: a second call while one is under way is followed by another pass. */
  #run() {
    const next = (this.#running ?? Promise.resolve()).then(() => this.#pass());
    this.#running = next;
    return next;
  }

  async #pass() {
    try {
      while (!this.#stopped && (await this.#sendOne())) this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      const wait = this.#backOff();
      // The first failure and then each tenth: a hub that is away for a day must not fill the log.
      if (this.#failures % 10 === 1) {
        this.#log.warn?.(`backstay: events wait on disk, next attempt in ${Math.round(wait / 1000)} s: ${error.message}`);
      }
      this.#schedule(wait);
    }
  }

  /** Sends one batch; false when there is nothing to send. Throws when it must be tried again. */
  async #sendOne() {
    this.#batch ??= await this.#next();
    if (this.#batch === undefined) return false;
    const { names, body, id, dropped } = this.#batch;
    const status = await this.#post(id, body);
    if (status >= 200 && status < 300) {
      await this.#spool.remove(names);
      if (dropped > 0) await this.#spool.toldDropped(dropped);
      this.#size = Math.min(this.#options.maxCount, this.#size * 2);
    } else if (status >= 400 && status < 500 && !LATER.has(status)) {
      await this.#never(names, status);
    } else {
      throw new Error(`the hub answered ${status}`);
    }
    this.#batch = undefined;
    return true;
  }

  async #next() {
    const found = await this.#spool.oldest(this.#size, this.#options.maxBytes);
    const dropped = await this.#spool.dropped();
    if (found.length === 0 && dropped === 0) return undefined;
    const names = found.map(({ name }) => name);
    const id = `oc_${createHash("sha256").update(`${names.join("\n")}\n${dropped}`).digest("hex").slice(0, 40)}`;
    const body = JSON.stringify({ schema: 1, dropped, events: found.map(({ event }) => event) });
    return { names, body, id, dropped };
  }

  /** The hub will not take this batch: smaller ones find the event that it is about, which is put aside. */
  async #never(names, status) {
    if (names.length > 1) {
      this.#size = Math.max(1, Math.floor(names.length / 2));
      return;
    }
    this.#log.error?.(`backstay: the hub refuses an event for good (${status}); it is kept in the spool's folder \`refused\``);
    if (names.length === 0) throw new Error(`the hub answered ${status}`);
    await this.#spool.refuse(names);
  }

  async #post(id, body) {
    const timestamp = Math.floor(Date.now() / 1000);
    const response = await fetch(`${this.#config.hub}/hooks/openclaw`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": String(timestamp),
        "webhook-signature": sign(this.#config.key, id, timestamp, body),
      },
      body,
      redirect: "error",
      signal: AbortSignal.timeout(this.#options.timeoutMs),
    });
    // The answer's text is of no use, but the connection is free only when it was read.
    await response.arrayBuffer();
    return response.status;
  }

  /** Doubles from the first to the last wait, each with a quarter of jitter. */
  #backOff() {
    const { firstRetryMs, lastRetryMs } = this.#options;
    const wait = Math.min(lastRetryMs, firstRetryMs * 2 ** Math.min(this.#failures - 1, 20));
    return wait * (0.75 + Math.random() / 2);
  }
}
