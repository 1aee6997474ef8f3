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

# Runs clang-format with the options $@ over the C++ sources that git knows or would add.
format_sources() {
  (
    cd "$MASQUE_VPN_CHECKOUT" || exit
    git ls-files -z --cached --others --exclude-standard '*.cc' '*.h' |
      while IFS= read -rd '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
      (run_on_platform xargs -0r -n 50 -P 2 clang-format-19 --style=file "$@")
  )
}

# Names the files that are not formatted; fails when there are any.
check_format() {
  local wrong
  say "checking the format"
  wrong=$(format_sources --dry-run -Werror 2>&1 | sed -n 's/^\([^:]*\):[0-9].* error: .*/\1/p' | sort -u)
  [[ -n $wrong ]] || return 0
  printf '%s\n' "$wrong" >&2
  return 1
}
