# SPDX-License-Identifier: Apache-2.0
"""tools/dev/mounts.sh makes a root see the checkout, also one that takes the place of a removed one."""

import pathlib
import subprocess

PARTS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "dev"

# A root with the directories that are mounted on, and a checkout that is not below /tmp, which every
# root sees; all of it on a file system that vanishes with the mount namespace.
PRELUDE = """
set -u
mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/cache /mnt/checkout /mnt/root/{proc,sys,dev,run,tmp,etc} || exit 99
touch /mnt/root/etc/{resolv.conf,hosts}
unset PIP_FIND_LINKS
MASQUE_VPN_CHECKOUT=/mnt/checkout MASQUE_VPN_CACHE=/mnt/cache
. "$1/lib.sh"
. "$1/mounts.sh"
checkout_is_seen() { [[ $1 == "$(cat "/mnt/root$MASQUE_VPN_CHECKOUT/which")" ]]; }
"""


def in_mount_namespace(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(["unshare", "--mount", "bash", "-c", PRELUDE + script, "mounts_test", PARTS],
                          capture_output=True, text=True, timeout=30)


def test_a_checkout_is_seen_and_mounted_once():
    done = in_mount_namespace("""
        echo one >/mnt/checkout/which
        ensure_mounts /mnt/root; checkout_is_seen one || exit 1
        before=$(wc -l </proc/self/mountinfo)
        ensure_mounts /mnt/root; [[ $before == "$(wc -l </proc/self/mountinfo)" ]] || exit 2
    """)
    assert done.returncode == 0, done.stderr


def test_a_checkout_at_the_place_of_a_removed_one_is_seen():
    done = in_mount_namespace("""
        echo one >/mnt/checkout/which
        ensure_mounts /mnt/root
        rm -r /mnt/checkout && mkdir /mnt/checkout && echo two >/mnt/checkout/which
        ensure_mounts /mnt/root; checkout_is_seen two || exit 1
    """)
    assert done.returncode == 0, done.stderr


def test_nothing_stays_mounted_after_removal():
    done = in_mount_namespace("""
        ensure_mounts /mnt/root
        remove_mounts /mnt/root || exit 1
        ! grep -q ' /mnt/root' /proc/self/mountinfo || exit 2
    """)
    assert done.returncode == 0, done.stderr
