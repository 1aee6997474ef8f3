# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev shell
#
# An interactive shell where the product runs, with the built programs on PATH.

run_on_platform bash --norc -i
