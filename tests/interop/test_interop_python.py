# SPDX-License-Identifier: Apache-2.0
"""masque-vpn with a peer on aioquic, both ways. The tests are in suite.py."""

import pytest

from suite import *  # noqa: F401,F403 pylint: disable=wildcard-import,unused-wildcard-import


@pytest.fixture
def kind() -> str:
    return "python"
