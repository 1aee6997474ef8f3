# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev fuzz [TARGET|all] [SECONDS]
#
# Builds the libFuzzer targets and runs one, or each in turn, for SECONDS (60). Begins with the
# inputs of tests/fuzz/corpus/TARGET; new ones go to build/fuzz/corpus/TARGET, and what crashes to
# build/fuzz/crashes. Fails when a target found something.

run_fuzzer() {
  local program=$1 seconds=$2 name corpus seeds dictionary
  name=${program##*/fuzz_}
  corpus=$build_dir/fuzz/corpus/$name
  seeds=$MASQUE_VPN_CHECKOUT/tests/fuzz/corpus/$name
  dictionary=$seeds.dict
  mkdir -p "$corpus" "$build_dir/fuzz/crashes"
  [[ -d $seeds ]] || { say "fuzz_$name has no seeds in ${seeds#"$MASQUE_VPN_CHECKOUT"/}" && seeds=; }
  [[ -e $dictionary ]] || dictionary=
  say "fuzz_$name for $seconds s"
  run "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build_dir/fuzz/crashes/$name-" ${dictionary:+-dict="$dictionary"} \
    "$corpus" ${seeds:+"$seeds"} >&2
}

target=${1:-all} seconds=${2:-60}
# The only argument may be the time.
[[ $# -ne 1 || ! $1 =~ ^[0-9]+$ ]] || { target=all seconds=$1; }
target=${target#fuzz_}
build_preset fuzz
found=() failed=()
for program in "$build_dir"/fuzz/{bin/,}fuzz_*; do
  [[ -f $program && -x $program ]] || continue
  [[ $target == all || ${program##*/} == "fuzz_$target" ]] || continue
  found+=("${program##*/}")
  run_fuzzer "$program" "$seconds" || failed+=("${program##*/}")
done
((${#found[@]})) || die "no such target: $target (see tests/fuzz)"
((${#failed[@]} == 0)) || die "found by ${failed[*]}: see build/fuzz/crashes"
say "nothing found by ${found[*]}"
