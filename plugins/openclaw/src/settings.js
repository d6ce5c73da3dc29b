// What the plugin was told, checked once.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const MIB = 1024 * 1024;

/**
 * The settings with defaults filled in, from the plugin's config and the environment
 * (`BACKSTAY_HUB`, `BACKSTAY_WEBHOOK_SECRET`). Throws with what is missing and where to set it.
 */
export function settings(config, environment) {
  // The address of the receiver is taken for the hub's as well: people copy either.
  const hub = (config.hub ?? environment.BACKSTAY_HUB ?? "").replace(/\/+$/, "").replace(/\/hooks\/openclaw$/, "");
  if (!/^https?:\/\/[^/]+/.test(hub)) {
    throw new Error("`hub` must be the hub's address, such as http://127.0.0.1:8484");
  }
  return {
    hub,
    key: signingKey(config, environment),
    spoolFolder: config.spoolFolder ?? join(stateFolder(environment), "backstay", "spool"),
    maxSpoolBytes: config.maxSpoolBytes ?? 32 * MIB,
    sendResults: config.sendResults ?? true,
  };
}

function signingKey(config, environment) {
  let secret = config.secret ?? environment.BACKSTAY_WEBHOOK_SECRET;
  if (config.secretFile) {
    secret = readFileSync(config.secretFile, "utf8").trim();
  }
  const text = (secret ?? "").replace(/^whsec_/, "");
  const key = Buffer.from(text, "base64");
  // Node reads over what is not base64; a key that does not come back as it was is not one.
  if (key.length < 16 || key.toString("base64").replace(/=+$/, "") !== text.replace(/=+$/, "")) {
    throw new Error("`secretFile` or `secret` must hold the signing secret, whsec_ and base64 of at least 16 bytes");
  }
  return key;
}

function stateFolder(environment) {
  return environment.OPENCLAW_STATE_DIR ?? join(homedir(), ".openclaw");
}
