# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev demo [OPTION...]
#
# Builds the programs, then shows the product at work: tools/demo, which takes the options.

run_script programs tools/demo "$@"
