# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Mounts that make the root see this machine: its devices, processes, networks, /tmp, the checkout.
# Whoever enters the root makes what is missing; whoever removes the root unmounts first.

# Fills mount_points, in the order of mounting, and for what is on top of each: the directory that is
# mounted there, and the group of mounts that share with it what is mounted below ("" when none does).
declare -A mount_source mount_peers
read_mounts() {
  local source point options
  mount_source=() mount_peers=() mount_points=()
  while read -r _ _ _ source point _ options; do
    point=${point//\\040/ }
    mount_points+=("$point")
    mount_source[$point]=$source mount_peers[$point]=
    [[ ! $options =~ ^shared:[0-9]+ ]] || mount_peers[$point]=${BASH_REMATCH[0]}
  done </proc/self/mountinfo
}

# Directories that are at the same path inside; /tmp is too, and the one from which a command is run.
bound_dirs=("$MASQUE_VPN_CHECKOUT" "$shared_dir")
if [[ -f $MASQUE_VPN_CHECKOUT/.git ]]; then
  # A work tree of git: its repository is elsewhere.
  read -r _ git_dir <"$MASQUE_VPN_CHECKOUT/.git"
  bound_dirs+=("${git_dir%/worktrees/*}")
fi
# Packages for pip on this machine.
[[ ! -d ${PIP_FIND_LINKS-} ]] || bound_dirs+=("$PIP_FIND_LINKS")

# Fills unseen: what is not the same in the root $1, of all that has to be.
find_unseen() {
  local root=$1 path
  unseen=()
  # /sys too: "ip netns exec" puts another one in place.
  for path in /proc /sys /dev /run /tmp "${bound_dirs[@]}" /etc/resolv.conf /etc/hosts; do
    [[ ! -e $path || $path -ef $root$path ]] || unseen+=("$path")
  done
}

# True when everything that the root needs is mounted in this mount namespace.
mounts_complete() {
  local root=$1
  read_mounts
  find_unseen "$root"
  [[ -n ${mount_source[$root]+is} ]] && ((${#unseen[@]} == 0)) && shares_netns_dir "$root"
}

ensure_mounts() {
  local root=$1
  mounts_complete "$root" && return
  [[ $EUID -eq 0 ]] || die "entering the Debian 13 root needs root"
  mkdir -p "$shared_dir"
  (
    flock 9
    mounts_complete "$root" || make_mounts "$root"
  ) 9>"$cache_dir/mounts.lock" ||
    die "cannot mount into $root: is this a container without CAP_SYS_ADMIN?"
}

make_mounts() {
  local root=$1 path
  share_netns_dir || return
  # The root onto itself: "ip netns exec" wants / to be a mount point. Private: what is mounted
  # below must not appear a second time through a shared parent.
  if [[ -z ${mount_source[$root]+is} ]]; then
    mount --bind "$root" "$root" && mount --make-private "$root" || return
  fi
  detach_removed "$root"
  find_unseen "$root"
  for path in "${unseen[@]}"; do
    [[ ! -d $path ]] || mkdir -p "$root$path" || return
    bind "$path" "$root$path" || return
  done
  join_netns_dirs "$root"
}

# What has been removed since, a checkout for example: on its place nothing mounts.
detach_removed() {
  local root=$1 point
  for point in "${!mount_source[@]}"; do
    [[ $point != "$root"/* || ${mount_source[$point]} != *//deleted ]] || detach "$point"
  done
  true
}

# With what is mounted below, unless the root itself lies below.
bind() {
  if [[ $2 == "$1"/*"$1" ]]; then mount --bind "$1" "$2"; else mount --rbind "$1" "$2"; fi
}

# Takes away the mount on top of $1 with all below; fails where there is none. Private first: an unmount
# below a shared mount happens to the machine's own mounts too.
detach() { mount --make-rprivate "$1" 2>/dev/null && umount -l "$1"; }

# Named network namespaces are mounts: where both directories share what is mounted in them, those
# made on either side later are seen on both.
shares_netns_dir() {
  [[ -n ${mount_peers[/run/netns]-} && ${mount_peers[/run/netns]} == "${mount_peers[$1/run/netns]-}" ]]
}

# As iproute2 does it.
share_netns_dir() {
  mount --make-shared /run/netns 2>/dev/null && return
  mkdir -p /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns
}

# Puts the machine's directory in the place of one that the root has for itself.
join_netns_dirs() {
  local root=$1 inside outside
  read_mounts
  shares_netns_dir "$root" && return
  # The names in there remain, on both sides.
  for inside in "$root"/run/netns/*; do
    outside=${inside#"$root"}
    ! is_netns "$inside" || is_netns "$outside" || { touch "$outside" && mount --bind "$inside" "$outside"; } || return
  done
  # What happens below the root's /run is not to happen to the machine's.
  mount --make-slave "$root/run" || return
  while detach "$root/run/netns"; do :; done
  mount --rbind /run/netns "$root/run/netns"
}

is_netns() { [[ $(stat -f -c %T "$1" 2>/dev/null) == nsfs ]]; }

# Unmounts everything below and at the root $1, the last mounted first.
remove_mounts() {
  local root=$1 point points=()
  read_mounts
  for point in "${mount_points[@]}"; do
    [[ $point != "$root" && $point != "$root"/* ]] || points=("$point" "${points[@]}")
  done
  ((${#points[@]})) || return 0
  # Private first, as in detach, with all that is hidden below others. The last point is the root
  # itself, bound onto itself.
  mount --make-rprivate "${points[-1]}" && umount "${points[@]}"
}
