#!/bin/sh
# Runs a command where a Docker engine answers: the one this machine has or else, as root on Debian, a private one.
#
#   engine.sh go test -tags engine ./...
#
# The private engine has a network namespace of its own and so can reach no registry. The images that the Dockerfile and the
# compose file ask for by name are stood in for by what is on this machine (standins.sh); all else is the real thing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

if docker info >/dev/null 2>&1; then
  exec "$@"
fi
if ! command -v dockerd >/dev/null || ! command -v docker-compose >/dev/null; then
  echo "engine.sh: no Docker engine answers; start one, or on Debian, as root:" >&2
  echo "  apt-get install --no-install-recommends docker.io docker-compose iptables busybox-static redis-server" >&2
  exit 1
fi
if [ "${1:-}" != --inside ]; then
  exec unshare --net "$here/engine.sh" --inside "$@"
fi
shift

work=$(mktemp -d)
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" -H "unix://$work/socket" >"$work/log" 2>&1 &
engine=$!
trap 'kill $engine; wait $engine || true; rm -rf "$work"' EXIT

# Debian's client before any other: it builds with the BuildKit inside its engine, newer ones need a plugin for that.
export PATH="/usr/bin:$PATH" DOCKER_HOST="unix://$work/socket" DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
tries=0
until docker info >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ $tries -gt 60 ] || ! kill -0 $engine; then
    cat "$work/log" >&2
    exit 1
  fi
  sleep 1
done
"$here/standins.sh"
"$@"
