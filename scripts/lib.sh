# Shared by the scripts in this folder; sourced, not run.
# shellcheck shell=bash

# Root's home is closed to others, and PostgreSQL must run as another user.
if [ -n "${BACKSTAY_CACHE:-}" ]; then
  cache=$BACKSTAY_CACHE
elif [ "$(id -u)" = 0 ]; then
  cache=/var/cache/backstay
else
  cache=$HOME/.cache/backstay
fi
export BACKSTAY_CACHE=$cache
export PATH="$cache/tools/bin:$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

say() { printf 'backstay: %s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# Whether version $2 is $1 or later.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Runs a command and shows what it printed only when it fails.
quietly() {
  local log
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  cat "$log" >&2
  rm -f "$log"
  say "failed: $*"
  return 1
}

# The browser that the page is tested with.
chromium_path() { command -v "${BACKSTAY_CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome; }

# Links with mold where it is installed. Exported once, so that every cargo call shares its artifacts.
quick_linker() {
  if have mold && [ -z "${RUSTFLAGS+set}" ]; then
    export RUSTFLAGS='-C link-arg=-fuse-ld=mold'
  fi
}

# Where cargo puts what it builds.
target_dir() {
  cargo metadata --format-version 1 --no-deps --offline | sed -E 's/.*"target_directory":"([^"]*)".*/\1/'
}
