# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev exec COMMAND [ARGUMENT...]
#
# Runs a command where the product runs (here, or in the Debian 13 root), with the built programs on
# PATH, in the network namespace and directory of the caller, as the same process. Builds nothing.
# The exit code is the command's; 126 and 127 where it cannot be executed or is not found, 125 where
# the directory cannot be the same (one of the system, such as /etc).

(($#)) || die "usage: ./dev exec COMMAND [ARGUMENT...]"
run_on_platform "$@"
