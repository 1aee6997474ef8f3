# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev soak [OPTION...]
#
# Builds, then runs the sweep of bad links over ten thousand seeds (MASQUE_SWEEP_SEEDS, or --seeds) and for
# longer than `./dev test` does: tests/soak/run, which takes the options.

run_script scenarios_test tests/soak/run "$@"
