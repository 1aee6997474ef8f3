#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What mmdebstrap runs while it makes the root (see root.sh): root_hooks.sh setup|customize ROOT
set -eu
root=$2

case $1 in
  setup)
    mkdir -p "$root"/etc/apt/preferences.d "$root"/var/cache/apt/archives "$root"/usr/sbin
    cp "$MASQUE_SETUP/pins" "$root/etc/apt/preferences.d/masque-vpn"
    # What reaching the mirror may need: logins, lists of mirrors, certificate authorities.
    for file in /etc/apt/auth.conf /etc/apt/auth.conf.d /etc/apt/mirrors /etc/ssl/certs/ca-certificates.crt; do
      [[ ! -e $file ]] || { mkdir -p "$root${file%/*}" && cp -rL "$file" "$root${file%/*}/"; }
    done
    # Packages fetched for an earlier list are not fetched again.
    cp -l "$MASQUE_DEBS"/*.deb "$root/var/cache/apt/archives/" 2>/dev/null || true
    # No daemon starts while packages are configured.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    ;;
  customize)
    chroot "$root" apt-get -qq autoclean
    rm -f "$MASQUE_DEBS"/*.deb
    mv "$root"/var/cache/apt/archives/*.deb "$MASQUE_DEBS"/
    # Programs of versioned packages under their plain names.
    for program in "$root"/usr/lib/llvm-19/bin/{clang-format,clang-tidy,llvm-profdata,llvm-cov,llvm-symbolizer}; do
      [[ ! -e $program ]] || ln -sf "${program#"$root"}" "$root/usr/local/bin/${program##*/}"
    done
    # Those of this machine are bound over them.
    for file in resolv.conf hosts; do
      rm -f "$root/etc/$file"
      : >"$root/etc/$file"
    done
    ;;
esac
