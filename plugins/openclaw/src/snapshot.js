// A hook's event as plain JSON of bounded size.
import { randomUUID } from "node:crypto";

const MAX_TEXT = 8 * 1024;
const MAX_DEPTH = 8;
const MAX_ITEMS = 200;
const MAX_BYTES = 128 * 1024;

/** The entry that is spooled for one call of a hook. */
export function snapshot(hook, event, context, { sendResults = true } = {}) {
  const entry = {
    id: randomUUID(),
    hook,
    at: new Date().toISOString(),
    event: bounded(sendResults ? event : without(event, "result")),
    context: bounded(context),
  };
  if (Buffer.byteLength(JSON.stringify(entry)) <= MAX_BYTES) return entry;
  // Still too much: what names the call stays, what it carried goes.
  entry.event = bounded(without(without(event, "result"), "params"));
  entry.cut = true;
  return entry;
}

function without(value, key) {
  if (value === null || typeof value !== "object") return value;
  const { [key]: _, ...rest } = value;
  return rest;
}

/** A copy that JSON can hold: no cycles, no functions, long texts and lists cut with a mark. */
function bounded(value, depth = 0, above = new Set()) {
  switch (typeof value) {
    case "string":
      return value.length <= MAX_TEXT ? value : `${value.slice(0, MAX_TEXT)}… [${value.length - MAX_TEXT} more]`;
    case "number":
      return Number.isFinite(value) ? value : null;
    case "boolean":
      return value;
    case "bigint":
      return value.toString();
    case "object":
      break;
    default:
      return undefined;
  }
  if (value === null) return null;
  if (above.has(value) || depth >= MAX_DEPTH) return "[cut]";
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Error) return { name: value.name, message: bounded(value.message) };
  above.add(value);
  const inner = (item) => bounded(item, depth + 1, above);
  const copy = Array.isArray(value)
    ? value.slice(0, MAX_ITEMS).map((item) => inner(item) ?? null)
    : Object.fromEntries(
        Object.entries(value)
          .slice(0, MAX_ITEMS)
          .map(([key, item]) => [key, inner(item)])
          .filter(([, item]) => item !== undefined),
      );
  above.delete(value);
  return copy;
}
