# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The host's settings for package registries and its own certificate authorities, copied into the
# root when they change: pip, npm, cargo and go in there reach what they reach outside.

host_files() {
  local home=${HOME:-/root}
  shopt -s nullglob
  printf '%s\n' /etc/pip.conf "$home"/.pip/pip.conf "$home"/.config/pip/pip.conf \
    "$home"/.config/go/env "$home"/.npmrc "$home"/.cargo/config.toml "$home"/.gitconfig \
    "$home"/.netrc /etc/gitconfig /usr/local/share/ca-certificates/*.crt
  shopt -u nullglob
}

certificates_in() { grep '\.crt ' <<<"$1"; }

# Costs one stat when nothing changed.
copy_host_files() {
  local root=$1 files now seen=
  mapfile -t files < <(host_files)
  now=$(stat -Lc '%n %Z %s' "${files[@]}" 2>/dev/null)
  [[ -r $root/etc/masque-vpn-host-files ]] && seen=$(<"$root/etc/masque-vpn-host-files")
  [[ $now == "$seen" ]] && return
  local file
  for file in "${files[@]}"; do
    # The same file when a command is run from the home directory.
    [[ -e $file && ! $file -ef $root$file ]] || continue
    mkdir -p "$root${file%/*}" && cp -Lp "$file" "$root$file.new.$$" && mv -f "$root$file.new.$$" "$root$file"
  done
  [[ $(certificates_in "$now") == "$(certificates_in "$seen")" ]] ||
    chroot "$root" update-ca-certificates >/dev/null 2>&1 || say "update-ca-certificates failed in $root"
  printf '%s\n' "$now" >"$root/etc/masque-vpn-host-files.$$"
  mv -f "$root/etc/masque-vpn-host-files.$$" "$root/etc/masque-vpn-host-files"
}
