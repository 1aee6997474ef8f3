# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev demo [OPTION...]
#
# Builds the programs, then shows the product at work between namespaces: ping, names, files and
# throughput through a tunnel (tools/demo). Nothing stays behind.
#
#   --json        print the results as JSON
#   --seconds N   length of each throughput measurement (3)

run_script programs tools/demo "$@"
