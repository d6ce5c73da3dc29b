// Wires OpenClaw's hooks to the spool, and the spool to the sender.
import { execEnv } from "./env.js";
import { Sender } from "./sender.js";
import { settings } from "./settings.js";
import { snapshot } from "./snapshot.js";
import { Spool } from "./spool.js";

/** How long a session's end may wait for the hub, in ms; OpenClaw allows two seconds at shutdown. */
const DRAIN_MS = 1500;

export const entry = {
  id: "backstay",
  name: "Backstay",
  description: "Tells Backstay which conversation did what.",
  register,
};

/**
 * Registers the hooks with OpenClaw's plugin API. Returns the sender, for tests.
 * A plugin that cannot work must not keep the assistant from working: it says so in the log and stays out.
 */
export function register(api) {
  const log = api.logger ?? console;
  let config;
  try {
    config = settings(api.pluginConfig ?? {}, process.env);
  } catch (error) {
    log.error?.(`backstay: not started: ${error.message}`);
    return undefined;
  }
  const spool = new Spool(config.spoolFolder, { maxBytes: config.maxSpoolBytes });
  const sender = new Sender(spool, config, { log });

  const record = (hook) => async (event, context) => {
    try {
      await spool.add(snapshot(hook, event, context, config));
      sender.wake();
    } catch (error) {
      log.warn?.(`backstay: an event of ${hook} was lost: ${error.message}`);
    }
  };
  const recordEnd = record("session_end");

  api.on("session_start", record("session_start"));
  api.on("after_tool_call", record("after_tool_call"));
  api.on("session_end", async (event, context) => {
    await recordEnd(event, context);
    await sender.drain(DRAIN_MS);
  });
  api.on("resolve_exec_env", (event, context) => execEnv(event, context, config));

  sender.start();
  return sender;
}
