#!/bin/sh
# Has at hand what the tests run beside Go: redis-server, Chromium, and a C compiler for the race detector. What is missing is
# installed where that can be done without asking (root on Debian or Ubuntu), and named elsewhere. nats-server needs nothing:
# the tests build it from its Go module.
set -eu

# Disks whose power is cut are FUSE file systems. That is a module of the kernel and no package.
[ -e /dev/fuse ] || [ "$(id -u)" != 0 ] || modprobe fuse 2>/dev/null || true # the tests say what is missing

missing=""
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v cc >/dev/null || missing="$missing gcc"
chromium=""
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && chromium=$name
done
[ -n "$chromium" ] || missing="$missing chromium"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing$missing"
  apt-get update -qq
  # RUNLEVEL: no service is started, the tests start servers of their own.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  exit 0
fi
echo "The tests need$missing. Install it, for example:" >&2
echo "  Debian, Ubuntu:  sudo apt-get install$missing" >&2
echo "  macOS:           brew install redis, brew install --cask chromium, xcode-select --install" >&2
exit 1
