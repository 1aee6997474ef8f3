# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Debian 13 and newer: the packages are installed on the machine itself, with its own apt. A newer Debian
# may not have them all, as some have a version in their names: it gets the Debian 13 root then.

# Remembered on the machine, not in the cache: a cache may move to another machine.
native_stamps=/var/lib/masque-vpn-dev

# Fails when this machine's apt does not have the packages.
ensure_native_packages() {
  local stamp missing
  stamp=$native_stamps/packages-$(packages_hash)
  [[ -e $in_root_marker || -e $stamp ]] && return
  [[ ! -e $stamp.not-here ]] || return 1
  missing=$(native_missing)
  if [[ -n $missing ]]; then
    [[ $EUID -eq 0 ]] || die "packages are missing; run ./dev as root once, or install: $missing"
    install_native "$missing" || {
      mkdir -p "$native_stamps" && touch "$stamp.not-here"
      return 1
    }
  fi
  [[ $EUID -ne 0 ]] || { mkdir -p "$native_stamps" && touch "$stamp"; }
}

# Names of the packages that are not installed, or older than the ones wanted from backports.
native_missing() {
  local name
  for name in $(package_names); do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
  done | paste -sd' '
  pkg-config --exists 'libngtcp2 >= 1.22.1' 'libnghttp3 >= 1.12' 2>/dev/null ||
    echo libngtcp2-dev libngtcp2-crypto-ossl-dev libnghttp3-dev
}

# Fails, and says why, when there are no such packages; ends ./dev when they cannot be installed.
install_native() {
  local log=$cache_dir/native-packages.log why VERSION_ID='' VERSION_CODENAME=''
  mkdir -p "$cache_dir"
  # shellcheck disable=SC1091
  . /etc/os-release
  say "installing the packages of tools/dev/packages.txt"
  if [[ $VERSION_ID == 13 ]]; then
    add_backports "$VERSION_CODENAME" || die "no Debian mirror in this machine's apt configuration"
    package_pins "$VERSION_CODENAME" >/etc/apt/preferences.d/masque-vpn
  fi
  apt-get update >"$log" 2>&1 </dev/null || native_failed
  # shellcheck disable=SC2086  # a list of names
  why=$(LC_ALL=C apt-get install --simulate --no-install-recommends $1 2>&1 >/dev/null </dev/null) || {
    say "this machine's apt does not have them, so the Debian 13 root is used: $(grep -m 1 '^E:' <<<"$why")"
    return 1
  }
  # shellcheck disable=SC2086  # a list of names
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $1 >>"$log" 2>&1 </dev/null ||
    native_failed
}

native_failed() {
  tail -n 15 "$log" >&2
  die "the packages could not be installed: see $log"
}

# The backports suite of this machine's own mirror, unless its apt has it already.
add_backports() {
  local main
  [[ -z $(mirror_uri "^$1-backports\$") ]] || return 0
  main=$(debian_mirror) && print_source "$main" "$1-backports" \
    >/etc/apt/sources.list.d/masque-vpn-backports.sources
}
