# What the guest does, told by the host line by line: `look` says what is there, `run` starts the agent.
releases=/data/agent/stacks/web/releases

look() {
  cd /data/agent || echo absent
  for name in *.damaged; do [ -e "$name" ] && echo "damaged $name"; done
  if [ -e agent.db ]; then echo "status $(backstay-agent status --json --config /settings.toml | tr -d '\n')"; fi
  for name in current previous; do echo "link $name $(readlink "stacks/web/$name")"; done
  if cd "$releases" 2>/dev/null; then
    for release in $(ls -A); do
      echo "release $release"
      find "$release" -type f -exec sha256sum {} + | sed 's/^/hash /'
      find "$release" -type f -exec stat -c 'mode %a %n' {} +
    done
  fi
  for process in /proc/[0-9]*; do
    at=$(readlink "$process/cwd") || continue
    case $at in
      "$releases"/*) [ "$(head -c 5 "$process/cmdline")" = sleep ] && echo "runs ${at#"$releases"/}" ;;
    esac
  done
  cd /
  echo looked
}

# As the unit would: it is started again when it ends.
run() {
  while :; do
    [ -e /data/agent/identity.json ] ||
      backstay-agent join --config /settings.toml --hub "$HUB" --name node-1 --token "$TOKEN" >&2
    backstay-agent run --config /settings.toml
    echo "the agent ended with $?" >&2
    sleep 1
  done </dev/null >/dev/ttyS0 2>&1
}

cat >/settings.toml <<END
[agent]
data_dir = "/data/agent"
env_dir = "/etc/env"
run_dir = "/run/backstay"
unit_dir = "/etc/units"
disk_margin_bytes = 1000
keep_releases = 1
failure_pause = "100ms"
check_every = "5s"
END
mkdir -p /etc/env
mount -t ext4 -o "$MOUNT" /dev/vda /data || poweroff -f
echo ready
while read -r word; do
  case $word in
    look) look ;;
    run) run & ;;
  esac
done
poweroff -f
