# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# usage: ./dev build [PRESET [TARGET...]]
#
# Builds the product: build/release/bin, or another preset of CMakePresets.json
# (dev, release, tsan, coverage, fuzz, tidy).

build_preset "${1:-release}" "${@:2}"
