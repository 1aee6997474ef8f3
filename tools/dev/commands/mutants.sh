# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev mutants [NAME...] [OPTION...]
#
# Builds with sanitizers, then breaks one security check after the other (all, or those named) and fails
# when no test notices: tests/mutants/run, which takes the options. --report docs/report/mutants.md writes
# the table.

build_preset dev
run python3 "$MASQUE_VPN_CHECKOUT/tests/mutants/run" "$@"
