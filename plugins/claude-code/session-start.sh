#!/bin/sh
# Claude Code's SessionStart hook: tells the session's commands which session they belong to, and the
# hub that it began. Reads the event on standard input. Never fails and never takes long: a session
# starts whether the hub is there or not.
umask 077
event=$(mktemp "${TMPDIR:-/tmp}/backstay.XXXXXX") || exit 0
trap 'rm -f "$event"' EXIT
trap 'exit 0' HUP INT TERM
head -c 1048576 >"$event"

# Only what cannot be mistaken for anything else by the shell that reads the file below.
session=$(tr -d '\n' <"$event" |
  sed -n 's/.*"session_id"[[:space:]]*:[[:space:]]*"\([A-Za-z0-9._-]\{1,128\}\)".*/\1/p')

if [ -n "$session" ] && [ -n "${CLAUDE_ENV_FILE:-}" ]; then
  {
    echo "export BACKSTAY_SESSION_TOOL=claude-code"
    echo "export BACKSTAY_SESSION_ID=$session"
  } >>"$CLAUDE_ENV_FILE" 2>/dev/null
fi

# The token goes in by curl's configuration on standard input: arguments can be read by everyone.
case "${BACKSTAY_HUB:-}${BACKSTAY_HOOK_TOKEN:-}" in *[\"\\]*) exit 0 ;; esac
if [ -n "${BACKSTAY_HUB:-}" ] && [ -n "${BACKSTAY_HOOK_TOKEN:-}" ] && command -v curl >/dev/null 2>&1; then
  curl --silent --output /dev/null --max-time 2 --config - <<CONFIG
url = "${BACKSTAY_HUB%/}/hooks/claude-code"
header = "Authorization: Bearer $BACKSTAY_HOOK_TOKEN"
header = "Content-Type: application/json"
data-binary = "@$event"
CONFIG
fi
exit 0
