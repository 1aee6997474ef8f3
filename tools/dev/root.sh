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
  # No subshell: a signal to ./dev alone is to reach the shell that can end the work.
  exec 8>"$cache_dir/root.lock"
  flock -n 8 || {
    say "another ./dev is making the Debian 13 root; waiting for it"
    flock 8
  }
  [[ -e $root$in_root_marker ]] || make_root "$root"
  exec 8>&-
}

# The lock is not for children (8>&-): a daemon started by a package must not keep it.
make_root() {
  local root=$1 work=$1.new.$$ log=$1.log started=$SECONDS stale job signal
  # With work's name, so that also one whose maker was killed is removed as stale.
  local setup=$work.setup
  [[ $EUID -eq 0 ]] || die "making the Debian 13 root needs root; run ./dev as root once"
  need_keyring
  need_mmdebstrap
  for stale in "$cache_dir"/root-*.new.*; do
    [[ ! -d $stale ]] || remove_root "$stale"
  done
  say "making the Debian 13 root (once; some minutes): $root"
  for signal in INT TERM HUP; do
    # shellcheck disable=SC2064  # the values of now
    trap "abandon_root $signal ${work@Q} ${setup@Q}" $signal
  done
  # A process group of its own, to be ended as a whole.
  set -m
  bootstrap "$work" "$setup" >"$log" 2>&1 </dev/null 8>&- &
  set +m
  job=$!
  while kill -0 $job 2>/dev/null; do
    sleep 2
    root_progress "$log" $((SECONDS - started))
  done
  [[ -t 2 ]] && printf '\n' >&2
  wait $job || {
    tail -n 15 "$log" | cut -c1-300 >&2
    rm -rf "$setup"
    remove_root "$work"
    die "no Debian 13 root: see $log, mend the cause and run ./dev again"
  }
  rm -rf "$setup"
  touch "$work$in_root_marker"
  mv -T "$work" "$root"
  trap - INT TERM HUP
  say "the root is ready after $((SECONDS - started)) s"
  [[ $(compgen -G "$cache_dir/root-*.log" | wc -l) -lt 2 ]] ||
    say "roots of older package lists take space in $cache_dir: ./dev clean --all removes all"
}

# abandon_root SIGNAL WORK SETUP: ends what makes the root, removes what there is of it, and then
# ends by the same signal.
abandon_root() {
  local job
  # A second Ctrl-C must not leave half of it behind.
  trap '' INT TERM HUP
  say "interrupted: removing what there is of the Debian 13 root"
  # Not by a variable: the signal may come before that is set.
  for job in $(jobs -p); do end_group "$job"; done
  rm -rf "$3"
  (end_users "$2" && remove_root "$2")
  trap - "$1"
  kill -s "$1" $BASHPID
}

# Ends a job and its process group: mmdebstrap unmounts what it has mounted when it is asked to end.
end_group() {
  local tenths=100
  kill -TERM -- "-$1" 2>/dev/null
  while kill -0 "$1" 2>/dev/null && ((tenths-- > 0)); do sleep 0.1; done
  kill -KILL -- "-$1" 2>/dev/null
  wait "$1" 2>/dev/null
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

# bootstrap WORK SETUP: becomes mmdebstrap, which makes the root WORK; SETUP is for its settings, which
# may hold the logins of a proxy.
bootstrap() {
  local work=$1 setup=$2 debs=$cache_dir/debs
  mkdir -m 700 "$setup" && mkdir -p "$debs" || exit
  debian_sources "$root_release" >"$setup/sources" ||
    die "no Debian mirror in this machine's apt configuration"
  package_pins "$root_release" >"$setup/pins"
  mirror_apt_conf >"$setup/apt.conf"
  export MASQUE_SETUP=$setup MASQUE_DEBS=$debs MASQUE_HOOKS=$MASQUE_VPN_CHECKOUT/tools/dev/root_hooks.sh
  # shellcheck disable=SC2016  # for mmdebstrap's shell
  exec mmdebstrap --mode=root --variant=minbase \
    --aptopt="$setup/apt.conf" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --skip=essential/unlink --skip=cleanup/apt/cache \
    --setup-hook='"$MASQUE_HOOKS" setup "$1"' --customize-hook='"$MASQUE_HOOKS" customize "$1"' \
    --include="$(package_names | paste -sd,)" \
    "$root_release" "$work" "$setup/sources"
}

# Fills users: the processes that run in the root $1.
find_users() {
  local process
  users=()
  for process in /proc/[0-9]*; do
    [[ ! $process/root -ef $1 ]] || users+=("${process#/proc/}")
  done
}

# Ends the processes that run in the root $1.
end_users() {
  local users tenths=50
  while find_users "$1" && ((${#users[@]} && tenths-- > 0)); do
    kill -KILL "${users[@]}" 2>/dev/null
    sleep 0.1
  done
  true
}

# Only when nothing runs in it, and after nothing is mounted below: rm follows bind mounts of the same
# file system.
remove_root() {
  local root=$1 users
  find_users "$root"
  ((${#users[@]} == 0)) || die "$root is in use: end the processes ${users[*]} first"
  remove_mounts "$root" || die "$root cannot be unmounted"
  rm -rf --one-file-system "$root"
}
