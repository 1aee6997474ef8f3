# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The Debian 13 root in which hosts older than Debian 13 build and run the product. Made once for
# each package list, in the cache, from the mirror that the host's apt is set up for.

root_release=trixie

# Path of the root for the present package list, whether or not it exists yet.
root_path() { printf '%s/root-%s\n' "$cache_dir" "$(packages_hash)"; }

# Makes the root when it is missing. Two callers at once: the second waits for the first.
ensure_root() {
  local root=$1
  [[ -e $root$in_root_marker ]] && return
  mkdir -p "$cache_dir"
  (
    flock -n 9 || {
      say "another ./dev is making the Debian 13 root; waiting for it"
      flock 9
    }
    [[ -e $root$in_root_marker ]] || make_root "$root"
  ) 9>"$cache_dir/root.lock"
}

# The lock is not for children (9>&-): a daemon started by a package must not keep it.
make_root() {
  local root=$1 work=$1.new.$$ log=$1.log started=$SECONDS stale
  [[ $EUID -eq 0 ]] || die "making the Debian 13 root needs root; run ./dev as root once"
  need_keyring
  need_mmdebstrap
  for stale in "$cache_dir"/root-*.new.*; do
    [[ ! -d $stale ]] || remove_root "$stale"
  done
  say "making the Debian 13 root (once; some minutes): $root"
  bootstrap "$work" >"$log" 2>&1 9>&- &
  local job=$!
  trap 'kill $job 2>/dev/null; exit 130' INT TERM
  while kill -0 $job 2>/dev/null; do
    sleep 2
    root_progress "$log" $((SECONDS - started))
  done
  [[ -t 2 ]] && printf '\n' >&2
  wait $job || {
    tail -n 15 "$log" | cut -c1-300 >&2
    remove_root "$work"
    die "no Debian 13 root: see $log, mend the cause and run ./dev again"
  }
  touch "$work$in_root_marker"
  mv -T "$work" "$root"
  say "the root is ready after $((SECONDS - started)) s"
  [[ $(compgen -G "$cache_dir/root-*.log" | wc -l) -lt 2 ]] ||
    say "roots of older package lists take space in $cache_dir: ./dev clean --all removes all"
}

# One changing line on a terminal, a line every 10 s or so elsewhere.
root_progress() {
  local last
  last=$(tail -n 1 "$1" | tr -d '\r' | cut -c1-60)
  if [[ -t 2 ]]; then
    printf '\r\033[Kdev: %4d s  %s' "$2" "$last" >&2
  elif (($2 % 10 < 2)); then
    say "$2 s  $last"
  fi
}

need_mmdebstrap() {
  command -v mmdebstrap >/dev/null || install_on_host mmdebstrap
}

# The first keyrings of Debian 12 were older than the keys of Debian 13; its updates have them.
need_keyring() {
  [[ -e /usr/share/keyrings/debian-archive-$root_release-stable.gpg ]] ||
    install_on_host debian-archive-keyring
}

install_on_host() {
  say "installing $1 on this machine"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } >&2 ||
    die "$1 cannot be installed: mend this machine's apt (apt-get update; apt-get install $1)"
}

# Runs mmdebstrap into the directory $1.
bootstrap() {
  local work=$1 debs=$cache_dir/debs setup
  setup=$(mktemp -d) && mkdir -p "$debs"
  debian_sources "$root_release" >"$setup/sources" ||
    die "no Debian mirror in this machine's apt configuration"
  package_pins "$root_release" >"$setup/pins"
  mirror_apt_conf >"$setup/apt.conf"
  # shellcheck disable=SC2016  # for mmdebstrap's shell
  MASQUE_SETUP=$setup MASQUE_DEBS=$debs MASQUE_HOOKS=$MASQUE_VPN_CHECKOUT/tools/dev/root_hooks.sh \
    mmdebstrap --mode=root --variant=minbase \
    --aptopt="$setup/apt.conf" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --skip=essential/unlink --skip=cleanup/apt/cache \
    --setup-hook='"$MASQUE_HOOKS" setup "$1"' --customize-hook='"$MASQUE_HOOKS" customize "$1"' \
    --include="$(package_names | paste -sd,)" \
    "$root_release" "$work" "$setup/sources"
  local status=$?
  rm -rf "$setup"
  return $status
}

# Only when nothing runs in it, and after nothing is mounted below: rm follows bind mounts of the same
# file system.
remove_root() {
  local root=$1 process users=()
  for process in /proc/[0-9]*; do
    [[ ! $process/root -ef $root ]] || users+=("${process#/proc/}")
  done
  ((${#users[@]} == 0)) || die "$root is in use: end the processes ${users[*]} first"
  remove_mounts "$root" || die "$root cannot be unmounted"
  rm -rf --one-file-system "$root"
}
