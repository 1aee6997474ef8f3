# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev clean [--all]
#
# Removes build/; with --all also the Debian 13 roots and what compilers and package clients cached.

case ${1-} in
  '' | --all) ;;
  *) die "usage: ./dev clean [--all]" ;;
esac
rm -rf --one-file-system "$build_dir"
[[ ${1-} == --all && -d $cache_dir ]] || exit 0
[[ ! -e $in_root_marker ]] || die "leave the root first: ./dev clean --all removes it"
for root in "$cache_dir"/root-*; do
  [[ ! -d $root ]] || remove_root "$root"
done
rm -rf --one-file-system "$cache_dir"/{debs,shared} "$cache_dir"/{*.lock,*.log}
# This machine's apt is asked again.
rm -f "$native_stamps"/*.not-here
