// Variables for the commands that the assistant runs: the commit hook reads them.

/** The variables of a session; see plugins/README.md for what each means. */
export function execEnv(event, context, config) {
  const key = context?.sessionKey ?? event?.sessionKey;
  const id = context?.sessionId ?? event?.sessionId;
  const variables = { BACKSTAY_SESSION_TOOL: "openclaw", BACKSTAY_HUB: config.hub };
  if (isPlain(key)) variables.BACKSTAY_SESSION_KEY = key;
  if (isPlain(id)) variables.BACKSTAY_SESSION_ID = id;
  // Without either there is nothing to link to, and another tool's variables must not be hidden.
  return variables.BACKSTAY_SESSION_KEY || variables.BACKSTAY_SESSION_ID ? variables : {};
}

/** A text that can stand on one line of a commit message. */
function isPlain(value) {
  return typeof value === "string" && value !== "" && value.length <= 512 && !/[\p{Cc}]/u.test(value);
}
