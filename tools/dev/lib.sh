# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034  # used by the files that include this one
# What every part of ./dev shares: where things are, and how to talk to the person.

# Set by ./dev: the checkout.
: "${MASQUE_VPN_CHECKOUT:?is set by ./dev}"

# A script that gives itself another HOME is not to make another root of 650 MB.
home=${HOME-}
[[ $EUID -ne 0 ]] || home=$(getent passwd 0 | cut -d: -f6)
cache_dir=${MASQUE_VPN_CACHE:-${XDG_CACHE_HOME:-${home:-/root}/.cache}/masque-vpn}
unset home
# The part of the cache that is at the same path inside the root: compiler and package caches.
shared_dir=$cache_dir/shared

# Exists only in a build root: ./dev called in there runs everything directly.
in_root_marker=/etc/masque-vpn-root

say() { printf 'dev: %s\n' "$*" >&2; }

die() { fail 1 "$@"; }

# fail CODE MESSAGE...
fail() {
  say "${*:2}"
  exit "$1"
}
