# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Mounts that make the root see this machine: its devices, processes, networks, /tmp, the checkout.
# Whoever enters the root makes what is missing; whoever removes the root unmounts first.

# Fills mount_points, in the order of mounting, and mount_device: mount point -> major:minor of what
# is on top there.
declare -A mount_device
read_mounts() {
  local device point
  mount_device=() mount_points=()
  while read -r _ _ device _ point _; do
    point=${point//\\040/ }
    mount_points+=("$point")
    mount_device[$point]=$device
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

# True when everything that the root needs is mounted in this mount namespace.
mounts_complete() {
  local root=$1 dir
  read_mounts
  for dir in "" /proc /sys /dev /run /tmp; do
    [[ -n ${mount_device[$root$dir]-} ]] || return 1
  done
  # "ip netns exec" puts another /sys in place.
  [[ ${mount_device[/sys]} == "${mount_device[$root/sys]}" ]] || return 1
  for dir in "${bound_dirs[@]}" /etc/resolv.conf /etc/hosts; do
    [[ ! -e $dir || $dir -ef $root$dir ]] || return 1
  done
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
  local root=$1 dir
  share_netns_dir || return
  # The root onto itself: "ip netns exec" wants / to be a mount point. Private: what is mounted
  # below must not appear a second time through a shared parent.
  if [[ -z ${mount_device[$root]-} ]]; then
    mount --bind "$root" "$root" && mount --make-private "$root" || return
  fi
  for dir in /proc /dev /run /tmp; do
    [[ -n ${mount_device[$root$dir]-} ]] || bind "$dir" "$root$dir" || return
  done
  [[ ${mount_device[/sys]} == "${mount_device[$root/sys]-}" ]] || bind /sys "$root/sys" || return
  for dir in "${bound_dirs[@]}"; do
    [[ $dir -ef $root$dir ]] && continue
    # Another directory was at this path and has been removed: on a removed one nothing mounts.
    [[ -z ${mount_device[$root$dir]-} ]] || detach "$root$dir"
    mkdir -p "$root$dir" && bind "$dir" "$root$dir" || return
  done
  for dir in /etc/resolv.conf /etc/hosts; do
    [[ ! -e $dir || $dir -ef $root$dir ]] && continue
    [[ -z ${mount_device[$root$dir]-} ]] || detach "$root$dir"
    mount --bind "$dir" "$root$dir" || return
  done
}

# With what is mounted below, unless the root itself lies below.
bind() {
  if [[ $2 == "$1"/*"$1" ]]; then mount --bind "$1" "$2"; else mount --rbind "$1" "$2"; fi
}

# Takes away the mount on top of $1 with all below; fails where another mount hides it. Private first: an
# unmount below a shared mount happens to the machine's own mounts too.
detach() { mount --make-rprivate "$1" 2>/dev/null && umount -l "$1"; }

# Named network namespaces are mounts; shared as iproute2 does it, those made on either side later
# are seen on both.
share_netns_dir() {
  [[ -n ${mount_device[/run/netns]-} ]] && return
  mkdir -p /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns
}

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
