#!/bin/sh
# Makes images under the names that the Dockerfile and the compose file ask for, from what is on this machine: Go and its
# module cache, nats-server from its Go module, Debian's redis-server, busybox for a shell. For an engine without a registry.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# image NAME FOLDER CHANGE… makes an image of a folder.
image() {
  name=$1 folder=$2
  shift 2
  for change; do
    shift
    set -- "$@" --change "$change"
  done
  tar -C "$folder" -c . | docker import "$@" - "$name" >/dev/null
}

# shell FOLDER puts busybox and its commands into it.
shell() {
  mkdir -p "$1/bin" "$1/tmp" "$1/etc"
  cp "$(command -v busybox)" "$1/bin/busybox"
  for name in $("$1/bin/busybox" --list); do
    [ -e "$1/bin/$name" ] || ln -s busybox "$1/bin/$name"
  done
}

# golang: a shell, Go, and the modules that are needed as a file proxy.
for module in events pkg services/api services/mailer services/acceptance services/usher; do
  (cd "$root/$module" && GOWORK=off go mod download)
done
shell "$work/go"
mkdir -p "$work/go/usr/local" "$work/go/proxy"
cp -a "$(go env GOROOT)" "$work/go/usr/local/go"
cp -a "$(go env GOMODCACHE)/cache/download/." "$work/go/proxy"
image "$(sed -n 's/^ARG GO_IMAGE=//p' "$root/deploy/Dockerfile")" "$work/go" \
  'ENV PATH=/usr/local/go/bin:/bin' 'ENV HOME=/tmp' 'ENV GOPROXY=file:///proxy' 'ENV GOSUMDB=off' 'ENV GOTOOLCHAIN=local'

# distroless: certificates, and a user without a shell to log in to.
mkdir -p "$work/run/etc/ssl/certs" "$work/run/tmp"
cp -L /etc/ssl/certs/ca-certificates.crt "$work/run/etc/ssl/certs/"
echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$work/run/etc/passwd"
image "$(sed -n 's/^ARG RUN_IMAGE=//p' "$root/deploy/Dockerfile")" "$work/run" 'USER 65532'

# nats
shell "$work/nats"
(cd "$root/pkg" && CGO_ENABLED=0 GOWORK=off go build -o "$work/nats/bin/" github.com/nats-io/nats-server/v2)
image "$(sed -n 's/^ *image: \(nats:.*\)/\1/p' "$root/docker-compose.yml")" "$work/nats" 'ENV PATH=/bin'

# redis: Debian's binaries with the libraries they are linked to.
mkdir -p "$work/redis/bin" "$work/redis/etc" "$work/redis/data"
for program in redis-server redis-cli; do
  cp "$(command -v $program)" "$work/redis/bin/"
  ldd "$(command -v $program)" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$work/redis$(dirname "$library")"
    cp -L "$library" "$work/redis$library"
  done
done
echo 'redis:x:999:1000:redis:/data:/sbin/nologin' >"$work/redis/etc/passwd"
chown 999:1000 "$work/redis/data"
image "$(sed -n 's/^ *image: \(redis:.*\)/\1/p' "$root/docker-compose.yml")" "$work/redis" 'ENV PATH=/bin'
