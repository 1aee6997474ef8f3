# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Running a program where the product runs: on this machine, or in the Debian 13 root.

# True when this machine (or this root) is Debian 13 or newer.
runs_natively() {
  [[ -e $in_root_marker ]] && return
  local ID='' VERSION_ID=''
  # shellcheck disable=SC1091
  . /etc/os-release
  [[ $ID == debian && ${VERSION_ID:-99} -ge 13 ]]
}

# Exit codes of a command that could not be started, as env and the shells have them.
code_not_run=125 code_not_found=127

# Directories that the root has its own of: what is below is not the caller's.
own_dirs='^/(bin|boot|dev|etc|lib(32|64|x32)?|proc|sbin|sys|usr|var/(backups|cache|lib|log|mail|spool))(/|$)|^/(var)?$'

# Sets root ("" when native) and makes it, or installs the packages here. Takes minutes the first time:
# to be called before a subshell needs it, so that whoever interrupts ./dev interrupts this.
ensure_platform() {
  root=
  runs_natively && ensure_native_packages && return
  root=$(root_path)
  ensure_root "$root" || exit 1
}

# Makes the platform ready; the current directory is the same there.
prepare_platform() {
  ensure_platform
  [[ -n $root ]] || return 0
  ensure_mounts "$root"
  share_directory "$root"
  copy_host_files "$root"
}

# What a command reads and writes by relative paths is what its caller means by them.
share_directory() {
  local root=$1 dir
  dir=$(pwd -P 2>/dev/null)
  [[ -n $dir && $dir -ef . ]] || fail $code_not_run "$PWD: this directory has been removed"
  [[ $dir -ef $root$dir ]] && return
  [[ ! $dir =~ $own_dirs ]] ||
    fail $code_not_run "$dir: the Debian 13 root has its own; call ./dev from another directory"
  bound_dirs+=("$dir")
  ensure_mounts "$root"
}

platform_environment() {
  local dir go goes
  PATH=$MASQUE_VPN_CHECKOUT/build/release/bin:$PATH
  for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    [[ :$PATH: == *:$dir:* ]] || PATH=$PATH:$dir
  done
  # A newer Go from backports is in no directory of PATH.
  goes=("$root"/usr/lib/go-1.*/bin)
  go=${goes[-1]}
  [[ ! -d $go ]] || PATH=${PATH/:/:${go#"$root"}:}
  export PATH
  export CCACHE_DIR=${CCACHE_DIR:-$shared_dir/ccache} GOPATH=${GOPATH:-$shared_dir/go}
  export GOCACHE=${GOCACHE:-$shared_dir/go-build} PIP_CACHE_DIR=${PIP_CACHE_DIR:-$shared_dir/pip}
  export npm_config_cache=${npm_config_cache:-$shared_dir/npm}
  if [[ -x $root/usr/bin/ccache ]]; then
    export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
    # What one checkout has compiled serves another: paths below it count as relative.
    export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$MASQUE_VPN_CHECKOUT} CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}
  fi
  [[ -z $root ]] && return
  # The root has no locales but these.
  [[ ${LANG-} == C* ]] || export LANG=C.UTF-8
  [[ -z ${LC_ALL-} || $LC_ALL == C* ]] || export LC_ALL=C.UTF-8
}

# True when the command $1 is a program where it would run.
program_exists() {
  local dir dirs
  if [[ $1 == */* ]]; then
    # A relative path is one of the current directory, which is the same inside.
    [[ -e $1 || -e $root$1 || -L $root$1 ]]
    return
  fi
  IFS=: read -ra dirs <<<"$PATH"
  for dir in "${dirs[@]}"; do
    [[ -e $root$dir/$1 || -L $root$dir/$1 || ( $dir == "$MASQUE_VPN_CHECKOUT"/* && -e $dir/$1 ) ]] && return
  done
  return 1
}

# Replaces this process by the program: same pid, signals, streams, exit code, network namespace.
run_on_platform() {
  prepare_platform
  platform_environment
  if ! program_exists "$1"; then
    [[ -d $MASQUE_VPN_CHECKOUT/build/release/bin ]] ||
      fail $code_not_found "$1: not found; nothing is built yet: ./dev build"
    fail $code_not_found "$1: not found"
  fi
  [[ -z $root ]] && exec -- "$@"
  exec chroot "$root" /usr/bin/env -C "$(pwd -P)" -- "$@"
}
