# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev mutants [NAME...] [OPTION...]
#
# Builds with sanitizers, then breaks one security check after the other (all, or those named) and fails
# when no test notices (tests/mutants/run).
#
#   --report FILE   write what noticed which as a page (docs/report/mutants.md)
#   --list          name the mutants and run nothing
#   --jobs N        mutants at once (1)
#   --build DIR     a build with MASQUE_MUTANTS (build/dev)

build_preset dev
run python3 "$MASQUE_VPN_CHECKOUT/tests/mutants/run" "$@"
