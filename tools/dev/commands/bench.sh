# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev bench [NAME] [OPTION...]
#
# Builds, then measures: bench/run, which takes the name and the options.

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

[[ ${1-} != badnet || " $* " =~ \ (-h|--help)\  ]] || build_boringtun
run_script all bench/run "$@"
