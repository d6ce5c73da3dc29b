// The table of nodes, of which only parts are here: pages are fetched as one scrolls, and kept fresh while they are in view.
import { get, type NodeRow, type NodeRows, type NodesChanged } from './api';

const PAGE = 100;
/** Pages that are asked for again at most so often. */
const REST = 1500;

export class NodeTable {
  total = $state<number | null>(null);
  error = $state<Error | null>(null);
  #pages = $state.raw<ReadonlyMap<number, NodeRow[]>>(new Map());
  #query: Record<string, string> = {};
  /** Pages that were asked for since this; older ones are asked for again when they come into view. */
  #fresh = new Set<number>();
  #stop = new AbortController();
  #view: [number, number] = [0, 0];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last = 0;

  at(index: number): NodeRow | undefined {
    return this.#pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Asks another question. What was shown stays until the answer comes. */
  ask(query: Record<string, string>): void {
    this.#query = query;
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#fresh.clear();
    this.#view = [0, 30];
    void this.#fetch(0, true);
  }

  /** These rows are in view. */
  need(first: number, last: number): void {
    this.#view = [first, last];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) {
      if (!this.#fresh.has(page) && (this.total === null || page * PAGE < Math.max(1, this.total))) void this.#fetch(page, false);
    }
  }

  /** Something changed: what is in view is asked for again, soon. */
  touch(): void {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#last = Date.now();
      this.#fresh.clear();
      this.need(...this.#view);
    }, Math.max(200, this.#last + REST - Date.now()));
  }

  /** States that the hub told of, in place. */
  change(message: NodesChanged): void {
    const by = new Map(message.changed.map((one) => [one.id, one]));
    const at = new Date().toISOString();
    let known = false;
    const pages = new Map(this.#pages);
    for (const [page, rows] of pages) {
      if (!rows.some((row) => by.has(row.id))) continue;
      known = true;
      pages.set(page, rows.map((row) => {
        const now = by.get(row.id);
        if (!now) return row;
        return { ...row, state: now.state, health: now.health ?? null, last_seen_at: now.state === 'online' ? at : (row.last_seen_at ?? null) };
      }));
    }
    if (known) this.#pages = pages;
    if (known || message.more || this.#query.state || this.#query.health) this.touch();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  async #fetch(page: number, anew: boolean): Promise<void> {
    const { signal } = this.#stop;
    this.#fresh.add(page);
    try {
      const found = await get<NodeRows>('/api/v1/node-rows', { ...this.#query, offset: page * PAGE, limit: PAGE }, signal);
      if (signal.aborted) return;
      const pages = new Map(anew ? [] : this.#pages);
      pages.set(page, found.rows);
      this.#pages = pages;
      this.total = found.total;
      this.error = null;
    } catch (error) {
      if (signal.aborted) return;
      this.#fresh.delete(page);
      this.error = error as Error;
    }
  }
}
