#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: base_image.sh TAR
# The base image as a file system, made from this machine's own mirror: what `debian:trixie-slim` is where a
# registry can be reached. It keeps the sources and the ways to the mirror, so apt works in builds on it.
set -euo pipefail
out=$1
source_root=$(cd "$(dirname "$0")/../.." && pwd)
say() { printf '%s\n' "$*" >&2; }
# shellcheck source=/dev/null
. "$source_root/tools/dev/mirror.sh"

sources=$(debian_sources trixie)
# shellcheck disable=SC2016  # for mmdebstrap's shell
hooks=(
  --setup-hook='mkdir -p "$1"/etc/apt "$1"/etc/ssl/certs'
  --setup-hook='for f in auth.conf auth.conf.d mirrors; do [ ! -e "/etc/apt/$f" ] || cp -rL "/etc/apt/$f" "$1"/etc/apt/; done'
  --setup-hook='[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$1"/etc/ssl/certs/'
  --customize-hook='rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*'
)
options=()
while IFS= read -r line; do options+=(--aptopt="$line"); done < <(mirror_apt_conf)

mmdebstrap --quiet --variant=minbase --format=tar "${hooks[@]}" "${options[@]}" \
  trixie "$out.part" - <<<"$sources"
mv "$out.part" "$out"
