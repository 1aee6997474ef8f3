# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev tidy [TARGET...]
#
# Builds everything, or the targets named, under clang-tidy (.clang-tidy), and fails when it finds something: to
# the end, so that all is seen. Takes much longer than `./dev check`, of which it is no part.

build_preset tidy "$@"
