#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: verify.sh MASQUE-VPN [UNIT-DIRECTORY]
# systemd's own opinion of the units, with the built program in the place of the installed one. An unknown
# key is only printed, so any output is a fault.
set -eu
program=$1
units=${2:-$(cd "$(dirname "$0")" && pwd)}
command -v systemd-analyze >/dev/null || { echo "systemd-analyze is missing: install systemd" >&2; exit 1; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for unit in server client; do
  # An instance, because a template alone is not checked whole.
  sed "s,/usr/bin/masque-vpn,$program," "$units/masque-vpn-$unit@.service" >"$dir/masque-vpn-$unit@office.service"
done

status=0
for unit in "$dir"/*.service; do
  # man: pages are not installed yet, and other units of the machine are not ours.
  said=$(systemd-analyze verify --man=no --recursive-errors=no "$unit" 2>&1 | grep -F "${unit##*/}" || true)
  [[ -z $said ]] || { printf '%s\n' "$said" >&2; status=1; }
  level=$(systemd-analyze security --offline=true --no-pager "$unit" | sed -n 's/.*exposure level.*: \([0-9.]*\).*/\1/p')
  printf '%s: exposure %s\n' "${unit##*/}" "$level"
  # 0 is closed, 10 open. What is left is what a tunnel needs.
  awk -v level="$level" 'BEGIN { exit !(level != "" && level < 3.5) }' || { echo "${unit##*/}: too exposed" >&2; status=1; }
done
exit $status
