#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes apt know the backports suite of this image's own release, from the archive that the image uses
# already: ngtcp2 and nghttp3 come from there (docs/adr/0003). Run once, after which apt-get update is done.
set -eu
# shellcheck source=/dev/null
. /etc/os-release
suite=$VERSION_CODENAME-backports

apt-get update -qq
# shellcheck disable=SC2016  # apt's variables
if ! apt-get indextargets --format '$(RELEASE)' | grep -qx "$suite"; then
  archive=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CREATED_BY)' |
    awk -v release="$VERSION_CODENAME" '$2 == release && $3 == "Packages" { print $1; exit }')
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$archive" "$suite" /usr/share/keyrings/debian-archive-keyring.gpg >/etc/apt/sources.list.d/backports.sources
  apt-get update -qq
fi

# Two libraries from there, everything else from the release.
printf 'Package: src:ngtcp2 src:nghttp3\nPin: release n=%s\nPin-Priority: 990\n' "$suite" \
  >/etc/apt/preferences.d/masque-vpn
