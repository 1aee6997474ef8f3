// SPDX-License-Identifier: Apache-2.0
#include "linkemu/settings.h"

#include <gtest/gtest.h>
