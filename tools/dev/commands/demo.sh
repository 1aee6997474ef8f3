# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev demo [OPTION...]
#
# Builds, then shows the product at work: tools/demo, which takes the options.

run_script tools/demo "$@"
