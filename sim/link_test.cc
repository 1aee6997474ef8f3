// SPDX-License-Identifier: Apache-2.0
#include "sim/link.h"

#include <gtest/gtest.h>
