# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev bench [NAME] [OPTION...]
#
# Builds, then measures: bench/run, which takes the name and the options.

run_script bench/run "$@"
