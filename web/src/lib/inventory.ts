// All that is known of nodes, as a file: the same columns as `backstay nodes inventory --format csv`.
import { get, type InventoryNode, type Page } from './api';

export type Format = 'csv' | 'json';
type Field = string | number | null | undefined;

const HEAD = [
  'name', 'id', 'state', 'labels', 'joined_at', 'revoked_at', 'last_seen_at', 'hostname', 'os', 'arch', 'model', 'cpus', 'memory_bytes', 'disk_total_bytes',
  'disk_free_bytes', 'agent_version', 'stack', 'commit', 'tree', 'since', 'health', 'pending',
];

/** The nodes that a label selector matches; all of them when it is empty. */
export async function inventory(selector: string): Promise<InventoryNode[]> {
  const found: InventoryNode[] = [];
  for (let cursor: string | null | undefined = ''; cursor !== null && cursor !== undefined;) {
    const page: Page<InventoryNode> = await get<Page<InventoryNode>>('/api/v1/inventory', { selector, limit: 500, cursor });
    found.push(...page.items);
    cursor = page.next;
  }
  return found;
}

/** A field of RFC 4180. What a table program would take for a formula is made text: machines name themselves. */
export function quoted(field: Field): string {
  const plain = String(field ?? '');
  const text = /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain;
  return /[,"\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(nodes: InventoryNode[]): string {
  const lines = [HEAD.join(',')];
  for (const node of nodes) {
    const facts = node.facts;
    const state = [node.state, node.safe_mode ? 'safe mode' : '', node.decommissioning ? 'decommissioning' : ''].filter(Boolean).join(', ');
    const labels = Object.entries(node.labels).map(([key, value]) => `${key}=${value}`).join(' ');
    const own: Field[] = [node.name, node.id, state, labels, node.joined_at, node.revoked_at, node.last_seen_at, ...(facts ? [
      facts.hostname, facts.os, facts.arch, facts.model, facts.cpus, facts.memory_bytes, facts.disk_total_bytes, facts.disk_free_bytes, facts.agent_version,
    ] : Array<Field>(9).fill(''))];
    const pending = (of: InventoryNode['pending']) => of.map((one) => `${one.stack ?? 'agent'}@${one.to.slice(0, 12)}`).join(' ');
    const line = (stack: Field[], waits: string) => lines.push([...own, ...stack, waits].map(quoted).join(','));
    for (const one of node.stacks) {
      line([one.stack, one.commit, one.tree, one.since, one.health], pending(node.pending.filter((waits) => waits.stack === one.stack)));
    }
    const others = node.pending.filter((waits) => !node.stacks.some((one) => one.stack === waits.stack));
    if (node.stacks.length === 0 || others.length > 0) line(Array<Field>(5).fill(''), pending(others));
  }
  return `${lines.join('\r\n')}\r\n`;
}

/** Hands it to the browser as a file. */
export async function download(format: Format, selector: string): Promise<void> {
  const nodes = await inventory(selector);
  const text = format === 'csv' ? csv(nodes) : `${JSON.stringify(nodes, null, 2)}\n`;
  const href = URL.createObjectURL(new Blob([text], { type: format === 'csv' ? 'text/csv' : 'application/json' }));
  const link = document.createElement('a');
  link.href = href;
  link.download = `inventory.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
