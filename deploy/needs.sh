#!/bin/sh
# Installs what the tests need and Go does not bring: redis-server. It asks the system's package manager where it may,
# and otherwise says what to do.
set -eu

missing=""
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing$missing"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
	exit 0
fi
echo "The tests need$missing. Install it, for example:" >&2
echo "  Debian, Ubuntu:  sudo apt-get install$missing" >&2
echo "  macOS:           brew install redis" >&2
exit 1
