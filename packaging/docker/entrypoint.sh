#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a container of the image runs:
#   server      the gateway of /etc/masque-vpn/gateway, made by `masque-vpn init` at the first start
#   client      the client of $MASQUE_VPN_PROFILE
#   anything    masque-vpn with these arguments, for example: user add alice -c ... --endpoint ...
#
# First start of a gateway: MASQUE_VPN_NAME (required), MASQUE_VPN_POOLS (blank-separated CIDRs),
# MASQUE_VPN_ROUTES, MASQUE_VPN_LISTEN, MASQUE_VPN_NAT=yes.
set -eu

directory=${MASQUE_VPN_DIRECTORY:-/etc/masque-vpn/gateway}
profile=${MASQUE_VPN_PROFILE:-/etc/masque-vpn/client.toml}

# The program's file carries CAP_NET_ADMIN: without it in the container the kernel does not even start it.
if ! masque-vpn --version >/dev/null 2>&1; then
  echo "entrypoint: run the container with --cap-add NET_ADMIN --device /dev/net/tun" >&2
  exit 77
fi

# Prints "OPTION VALUE" lines for each word.
each() {
  option=$1
  shift
  for value in "$@"; do printf '%s %s\n' "$option" "$value"; done
}

make_gateway() {
  if [ -z "${MASQUE_VPN_NAME:-}" ]; then
    echo "entrypoint: $directory has no gateway yet; set MASQUE_VPN_NAME to the name or address that clients use" >&2
    exit 78
  fi
  # shellcheck disable=SC2046,SC2086  # lists of words are meant
  masque-vpn init "$directory" --name "$MASQUE_VPN_NAME" --listen "${MASQUE_VPN_LISTEN:-0.0.0.0:443}" \
    $(each --pool ${MASQUE_VPN_POOLS:-10.84.0.0/24 fd84:84::/64}) $(each --route ${MASQUE_VPN_ROUTES:-}) >&2
  case ${MASQUE_VPN_NAT:-no} in
    yes | true | 1)
      # The first `enabled` after [nat]; forwarding is a setting of the container (compose.yaml: sysctls).
      sed -i '/^\[nat\]/,/^enabled/s/^enabled = false/enabled = true /' "$directory/server.toml"
      ;;
  esac
}

case ${1:-server} in
  server)
    [ -e "$directory/server.toml" ] || make_gateway
    exec masque-vpn server -c "$directory/server.toml"
    ;;
  client) exec masque-vpn client -c "$profile" ;;
  *) exec masque-vpn "$@" ;;
esac
