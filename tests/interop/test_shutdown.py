# SPDX-License-Identifier: Apache-2.0
"""How our gateway ends, as a client that is not ours sees it (watch_shutdown.py).

    client: aioquic ---- 192.0.2.0/24 ---- gateway: masque-vpn, SIGTERM
"""

import signal

import pytest

from netlab import Lab, wait_for
from peers import COMMANDS, FIXED_PATH, HERE
from programs import Gateway, profile_identity

NAME = "vpn.example"
LISTEN = "192.0.2.1:4433"
# 2^62-4: the last ID that a request could have (RFC 9114 5.2).
NO_LIMIT = (1 << 62) - 4
H3_NO_ERROR, H3_REQUEST_REJECTED = 0x100, 0x10B
END_LIMIT_S = 0.8


# proves: W8, W10, I3
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_planned_end_is_told_on_the_wire(number):
    with Lab("shutdown") as lab:
        client, host = lab.namespace("client"), lab.namespace("gateway")
        lab.veth(client, host, ["192.0.2.2/24"], ["192.0.2.1/24"])
        gateway = Gateway(lab, host, LISTEN, ["10.9.0.0/24", "fd09::/64"], NAME)
        ca, certificate, key = profile_identity(gateway.add_user("alice"), lab.dir)
        gateway.start()
        watcher = client.start(
            [COMMANDS["python"][0], HERE / "watch_shutdown.py", "--address", LISTEN, "--uri",
             f"https://{NAME}:4433{FIXED_PATH}", "--ca", ca, "--cert", certificate, "--key", key,
             "--inner", "10.9.0.1,fd09::1"], name="watcher")
        wait_for(watcher.json_lines, 20, "the tunnel", [watcher])
        gateway.process.signal(number)
        assert gateway.process.wait(5) == 0
        assert watcher.wait(10) == 0, watcher.tail()
        seen = watcher.json_lines()[-1]
        tunnel, *requests = [seen["tunnel"], *seen["requests"]]
        # First no limit, then the one above all that the gateway has looked at.
        assert seen["goaways"] == [NO_LIMIT, requests[0][0] + 4], seen
        assert seen["pings_after_goaway"], seen
        assert tunnel[1:] == ["fin", None], seen
        # Before the limit was named and at it: nothing was done for either.
        assert [request[0] for request in requests] == [4, 8], seen
        for request in requests:
            assert request[1:] == ["reset", H3_REQUEST_REJECTED], seen
        assert seen["close_code"] == H3_NO_ERROR, seen
        assert seen["seconds"] < END_LIMIT_S, seen
