# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Running ctest, and checking the format.

# run_tests PRESET CTEST-OPTION...
run_tests() {
  local preset=$1
  shift
  say "testing $preset"
  run ctest --preset "$preset" --output-on-failure -j "$(nproc)" \
    --output-junit "$build_dir/junit-$preset.xml" "$@"
}

# Runs the command $@ once for each C++ source that git knows or would add, its name last.
for_each_source() {
  (
    cd "$MASQUE_VPN_CHECKOUT" || exit
    git ls-files -z --cached --others --exclude-standard '*.cc' '*.h' |
      while IFS= read -rd '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
      (run_on_platform xargs -0r -n 1 -P "$(nproc)" "$@")
  )
}

format_sources() {
  ensure_platform
  for_each_source clang-format-19 --style=file -i
}

# Names the files that are not formatted; fails when there are any.
check_format() {
  local wrong
  ensure_platform
  say "checking the format"
  # shellcheck disable=SC2016  # for the inner shell
  wrong=$(for_each_source sh -c 'clang-format-19 --style=file --dry-run -Werror "$0" 2>/dev/null || echo "$0"')
  [[ -n $wrong ]] || return 0
  sort <<<"$wrong" >&2
  return 1
}
