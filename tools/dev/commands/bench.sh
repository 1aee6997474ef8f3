# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev bench NAME [OPTION...]
#
# Builds, then measures (bench/run). What each NAME measures: bench/README.md; its options: ./dev bench NAME --help
#
#   badnet   tunnels of several makers on bad links
#   clean    our tunnel and wireguard-go on a link without faults

# Programs in Rust are built on this machine, once: the platform has no cargo. bench/badnet reports
# what is not there as missing.
build_boringtun() {
  local into=$shared_dir/bench/boringtun
  [[ ! -x $into/bin/boringtun-cli ]] && command -v cargo >/dev/null || return 0
  say "building boringtun-cli"
  nice cargo install --quiet --locked boringtun-cli --root "$into" --target-dir "$into/build" >&2 ||
    say "boringtun-cli could not be built"
  rm -rf "$into/build"
}

if [[ -z ${1-} || ! -f $MASQUE_VPN_CHECKOUT/bench/$1/main.py ]]; then
  names=("$MASQUE_VPN_CHECKOUT"/bench/*/main.py)
  names=("${names[@]%/main.py}")
  fail 2 "usage: ./dev bench NAME [OPTION...], where NAME is one of: ${names[*]##*/}"
fi
# Nothing has to be built for help.
[[ ! " $* " =~ \ (-h|--help)\  ]] || run_on_platform "$MASQUE_VPN_CHECKOUT/bench/run" "$@"
[[ $1 != badnet ]] || build_boringtun
run_script all bench/run "$@"
