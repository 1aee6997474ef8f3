# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev check
#
# What must be green before a commit: format, the rules of the tree, shellcheck, a build with
# sanitizers and warnings as errors, the fast tests.

check_format || die "the format is not right: ./dev format"
build_preset dev
run_tests dev -L '^(tidy|fast)$'
