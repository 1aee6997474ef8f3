# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The package list, in the forms that its users want.

packages_file=$MASQUE_VPN_CHECKOUT/tools/dev/packages.txt

package_lines() { sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$packages_file"; }

package_names() { package_lines | awk '{ print $1 }'; }

# Changes whenever what has to be installed changes.
packages_hash() { package_lines | sort | sha256sum | cut -c1-12; }

# apt preferences for the sources that come from the backports suite of the release $1.
package_pins() {
  printf 'Package:'
  package_lines | sed -n 's/.* backports=/ src:/p' | sort -u | tr -d '\n'
  printf '\nPin: release n=%s-backports\nPin-Priority: 600\n' "$1"
}
