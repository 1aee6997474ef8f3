# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Configuring and building one preset, for the commands that need it built.

build_dir=$MASQUE_VPN_CHECKOUT/build

# Runs a program on the platform, in the checkout, and comes back.
run() { (cd "$MASQUE_VPN_CHECKOUT" && run_on_platform "$@"); }

# build_preset PRESET [TARGET...]; one at a time in one build directory.
build_preset() {
  local preset=$1
  shift
  ensure_platform
  mkdir -p "$build_dir"
  exec 9>"$build_dir/.lock-$preset"
  flock -n 9 || {
    say "another ./dev builds $preset; waiting for it"
    flock 9
  }
  configure_preset "$preset" || die "configuring $preset failed"
  say "building $preset"
  run cmake --build --preset "$preset" ${1:+--target "$@"} >&2 9>&- || die "building $preset failed"
  exec 9>&-
}

# CMake runs again by itself when a CMakeLists.txt changed, but not for presets and packages.
configure_preset() {
  local preset=$1 fresh=() stamp now
  stamp=$build_dir/$preset/.configured-by-dev
  now="$(packages_hash) $(sha256sum <"$MASQUE_VPN_CHECKOUT/CMakePresets.json")"
  [[ -e $stamp && $(<"$stamp") == "$now" ]] && return
  [[ ! -e $build_dir/$preset/CMakeCache.txt ]] || fresh=(--fresh)
  say "configuring $preset"
  run cmake "${fresh[@]}" --preset "$preset" >&2 9>&- || return
  printf '%s\n' "$now" >"$stamp"
}

# run_script TARGET NAME ARGS...: builds that much of release, then becomes a program of this
# repository.
run_script() {
  local target=$1 script=$MASQUE_VPN_CHECKOUT/$2
  shift 2
  [[ -x $script ]] || die "${script#"$MASQUE_VPN_CHECKOUT"/} is not there (or not executable)"
  # Refuses the caller's directory, when it has to, before anything is built.
  prepare_platform
  build_preset release "$target"
  run_on_platform "$script" "$@"
}
