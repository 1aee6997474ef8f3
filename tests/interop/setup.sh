#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the interop tests' peers in the directory $1: connect-ip-peer (Go, its modules from the
# module proxy) and venv/ (aioquic from PyPI). Downloads are cached by go and pip, outside the
# checkout. Does nothing when what is there was made from the present sources.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: setup.sh DIRECTORY}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Go decides by itself whether there is anything to do.
(cd "$here/connect_ip_peer" && CGO_ENABLED=0 go build -trimpath -o "$out/connect-ip-peer" .)

made_from=$(python3 --version && cat "$here/requirements.txt")
if [ "$(cat "$out/venv/made-from" 2>/dev/null)" != "$made_from" ]; then
  rm -rf "$out/venv"
  python3 -m venv "$out/venv"
  "$out/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "$here/requirements.txt"
  printf '%s\n' "$made_from" >"$out/venv/made-from"
fi
