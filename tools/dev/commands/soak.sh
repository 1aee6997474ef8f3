# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev soak [OPTION...]
#
# Builds, then runs the sweep of bad links over ten thousand seeds and for longer than `./dev test` does
# (tests/soak/run).
#
#   --seeds N     how many (10000, or MASQUE_SWEEP_SEEDS)
#   --first N     the first of them (1)
#   --seconds N   of traffic before and after the change of the link (20)
#   --jobs N      processes at once (one a CPU)
#   --build DIR   the build to use (build/release)

run_script scenarios_test tests/soak/run "$@"
