# SPDX-License-Identifier: Apache-2.0
"""tools/dev/mounts.sh makes a root see the checkout, also one that takes the place of a removed one."""

from fake_root import in_mount_namespace

SEEN = """
checkout_is_seen() { [[ $1 == "$(cat "/mnt/root$MASQUE_VPN_CHECKOUT/which")" ]]; }
"""


def test_a_checkout_is_seen_and_mounted_once():
    done = in_mount_namespace(SEEN + """
        echo one >/mnt/checkout/which
        ensure_mounts /mnt/root; checkout_is_seen one || exit 1
        before=$(wc -l </proc/self/mountinfo)
        ensure_mounts /mnt/root; [[ $before == "$(wc -l </proc/self/mountinfo)" ]] || exit 2
    """)
    assert done.returncode == 0, done.stderr


def test_a_checkout_at_the_place_of_a_removed_one_is_seen():
    done = in_mount_namespace(SEEN + """
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
