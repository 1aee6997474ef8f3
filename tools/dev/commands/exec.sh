# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev exec COMMAND [ARGUMENT...]
#
# Runs a command where the product runs (here, or in the Debian 13 root), with the built programs on
# PATH, in the network namespace and directory of the caller, as the same process. Builds nothing.

(($#)) || die "usage: ./dev exec COMMAND [ARGUMENT...]"
run_on_platform "$@"
