// Events on disk until the hub has them: one file each, whole or not there at all.
import { open, mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";

const EVENT = /^\d{15}-\d+-\d{8}\.json$/;
const REFUSED = "refused";
const MAX_REFUSED = 100;

export class Spool {
  #folder;
  #maxBytes;
  #count = 0;
  /** Bytes of waiting events; unknown until counted, and again once some are gone. */
  #used;
  #ready;
  /** Writes go one after the other, so that files are in the order of their names. */
  #last = Promise.resolve();

  constructor(folder, { maxBytes }) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
  }

  /** Puts an event on disk. When this returns it survives the loss of power. */
  add(event) {
    const name = `${String(Date.now()).padStart(15, "0")}-${process.pid}-${String(this.#count++).padStart(8, "0")}.json`;
    const written = this.#last.then(() => this.#write(name, JSON.stringify(event)));
    // A failed write is reported to its own caller and does not stop the next one.
    this.#last = written.catch(() => {});
    return written;
  }

  /** The oldest events, `{name, event}`, at most `maxCount` and about `maxBytes` of them. */
  async oldest(maxCount, maxBytes) {
    await this.#prepare();
    const found = [];
    let bytes = 0;
    for (const name of await this.#names()) {
      if (found.length >= maxCount || bytes >= maxBytes) break;
      const text = await readFile(join(this.#folder, name), "utf8").catch(() => undefined);
      if (text === undefined) continue;
      const event = parse(text);
      if (event === undefined) {
        await this.refuse([name]);
        continue;
      }
      found.push({ name, event });
      bytes += text.length;
    }
    return found;
  }

  /** Forgets events that the hub has. */
  async remove(names) {
    await Promise.all(names.map((name) => rm(join(this.#folder, name), { force: true })));
    this.#used = undefined;
  }

  /** Puts aside events that the hub will never take, so that they do not hold up the rest. */
  async refuse(names) {
    const folder = join(this.#folder, REFUSED);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const name of names) {
      await rename(join(this.#folder, name), join(folder, name)).catch(() => {});
    }
    this.#used = undefined;
    const kept = (await readdir(folder)).sort();
    await Promise.all(kept.slice(0, Math.max(0, kept.length - MAX_REFUSED)).map((name) => rm(join(folder, name), { force: true })));
  }

  /** How many events were thrown away for want of room and not yet told to the hub. */
  async dropped() {
    await this.#prepare();
    const text = await readFile(join(this.#folder, "dropped"), "utf8").catch(() => "0");
    return Number.parseInt(text, 10) || 0;
  }

  /** The hub was told of that many. */
  async toldDropped(count) {
    const told = this.#last.then(async () => {
      const left = Math.max(0, (await this.dropped()) - count);
      await this.#replace("dropped", String(left));
    });
    this.#last = told.catch(() => {});
    await told;
  }

  async #write(name, text) {
    await this.#prepare();
    const bytes = Buffer.byteLength(text);
    await this.#makeRoom(bytes);
    await this.#replace(name, text);
    if (this.#used !== undefined) this.#used += bytes;
  }

  /** Write beside, fsync, rename, fsync the folder. */
  async #replace(name, text) {
    const temporary = join(this.#folder, `.tmp-${name}`);
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(this.#folder, name));
    const folder = await open(this.#folder, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  /** Throws away the oldest events until `bytes` more fit. */
  async #makeRoom(bytes) {
    if (this.#used !== undefined && this.#used + bytes <= this.#maxBytes) return;
    const sizes = await this.#sizes();
    this.#used = sizes.reduce((sum, [, size]) => sum + size, 0);
    if (this.#used + bytes <= this.#maxBytes) return;
    // A tenth more than needed, so that a full spool is not counted again for every event.
    let excess = this.#used + bytes - this.#maxBytes * 0.9;
    const doomed = [];
    for (const [name, size] of sizes) {
      if (excess <= 0) break;
      doomed.push(name);
      excess -= size;
    }
    if (doomed.length === 0) return;
    await this.#replace("dropped", String((await this.dropped()) + doomed.length));
    await this.remove(doomed);
  }

  async #sizes() {
    const sizes = [];
    for (const name of await this.#names()) {
      const found = await stat(join(this.#folder, name)).catch(() => undefined);
      if (found) sizes.push([name, found.size]);
    }
    return sizes;
  }

  async #names() {
    return (await readdir(this.#folder)).filter((name) => EVENT.test(name)).sort();
  }

  /** Makes the folder, and clears what a killed process left half written. */
  #prepare() {
    this.#ready ??= (async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const left = (await readdir(this.#folder)).filter((name) => name.startsWith(".tmp-"));
      await Promise.all(left.map((name) => rm(join(this.#folder, name), { force: true })));
    })().catch((error) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
