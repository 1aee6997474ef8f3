# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev soak [OPTION...]
#
# Builds, then runs the product for hours under load and faults: tests/soak/run, which takes the
# options.

run_script tests/soak/run "$@"
