// Standard Webhooks 1.0.
import { createHmac } from "node:crypto";

/** The value of `webhook-signature`. `key` is the decoded secret, `timestamp` in seconds. */
export function sign(key, id, timestamp, body) {
  return `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64")}`;
}
