#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What mmdebstrap runs while it makes the root (see root.sh): root_hooks.sh setup|customize ROOT
set -eu
root=$2

case $1 in
  setup)
    mkdir -p "$root"/etc/apt/preferences.d "$root"/var/cache/apt/archives
    cp "$MASQUE_SETUP/pins" "$root/etc/apt/preferences.d/masque-vpn"
    # The mirror may need a login; packages fetched for an earlier list are not fetched again.
    if compgen -G '/etc/apt/auth.conf*' >/dev/null; then cp -r /etc/apt/auth.conf* "$root/etc/apt/"; fi
    cp -l "$MASQUE_DEBS"/*.deb "$root/var/cache/apt/archives/" 2>/dev/null || true
    # No daemon starts while packages are configured.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" 2>/dev/null ||
      { mkdir -p "$root/usr/sbin" && printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"; }
    chmod 755 "$root/usr/sbin/policy-rc.d"
    ;;
  customize)
    mv -f "$root"/var/cache/apt/archives/*.deb "$MASQUE_DEBS"/ || true
    # Programs of versioned packages under their plain names.
    for program in "$root"/usr/lib/go-*/bin/* "$root"/usr/lib/llvm-19/bin/{clang-format,clang-tidy,llvm-profdata,llvm-cov,llvm-symbolizer}; do
      [[ -e $program ]] && ln -sf "${program#"$root"}" "$root/usr/local/bin/${program##*/}"
    done
    # Bound over by every entry; they must be plain files.
    for file in resolv.conf hosts; do
      rm -f "$root/etc/$file" && : >"$root/etc/$file"
    done
    mkdir -p "$root"/{proc,sys,dev,run,tmp}
    ;;
esac
