# SPDX-License-Identifier: Apache-2.0
"""tools/dev/mounts.sh makes a root see the checkout, also one that takes the place of a removed one, and names of
networks.
"""

import pytest

from fake_root import PROGRAMS, in_mount_namespace

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


def test_what_the_machine_mounted_since_is_seen():
    done = in_mount_namespace("""
        ensure_mounts /mnt/root
        mount -t tmpfs tmpfs /tmp && echo new >/tmp/which
        ensure_mounts /mnt/root; [[ $(</mnt/root/tmp/which) == new ]] || exit 1
    """)
    assert done.returncode == 0, done.stderr


def test_mounts_of_removed_directories_do_not_pile_up():
    done = in_mount_namespace("""
        for name in a b c; do
          mkdir /mnt/$name && bound_dirs+=(/mnt/$name) && ensure_mounts /mnt/root && rmdir /mnt/$name || exit 1
        done
        [[ $(grep -c ' /mnt/root/mnt/[abc] ' /proc/self/mountinfo) == 1 ]] || exit 2
    """)
    assert done.returncode == 0, done.stderr


# Names of networks are mounts in /run/netns: whoever made it, a name of either side is one on both.
BEFORE = {
    "nothing": PROGRAMS,
    "one that is not shared": PROGRAMS + """
        mkdir /run/netns && mount --bind /run/netns /run/netns && mount --make-private /run/netns
    """,
    "one of iproute2": "ip netns add earlier" + PROGRAMS,
    "a root with one of its own": PROGRAMS + """
        mkdir /run/netns && mount --bind /run/netns /run/netns && mount --make-private /run/netns
        mount --rbind /run /mnt/root/run && mount --bind /proc /mnt/root/proc
        chroot /mnt/root ip netns add inside && ip netns add outside
    """,
    "one made anew": PROGRAMS + """
        ensure_mounts /mnt/root
        umount -l /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns
    """,
    "one of another /run": PROGRAMS + """
        ensure_mounts /mnt/root
        mount -t tmpfs tmpfs /run
    """,
    "a machine that shares all its mounts": "mount --make-rshared /" + PROGRAMS,
    "a machine that shares all but one": "mount --make-rshared /" + PROGRAMS + """
        ensure_mounts /mnt/root
        mount --make-private /run/netns
    """,
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_names_of_networks_are_on_both_sides(before):
    done = in_mount_namespace("named() { grep -c nsfs /proc/self/mountinfo; }; at_first=$(named)\n" + before + """
        ensure_mounts /mnt/root
        ip netns add from-outside && chroot /mnt/root ip netns add from-inside || exit 1
        for name in $(ls /run/netns); do
          ip netns exec $name true || exit 2
          (run_on_platform ip netns exec $name true) || exit 3
        done
        lines=$(wc -l </proc/self/mountinfo)
        ensure_mounts /mnt/root; [[ $lines == "$(wc -l </proc/self/mountinfo)" ]] || exit 4
        for name in $(ls /run/netns); do ip netns delete $name || exit 5; done
        [[ $(named) == "$at_first" ]] || exit 6
        ip netns add stays; remove_mounts /mnt/root; ip netns exec stays true || exit 7
    """)
    assert done.returncode == 0, done.stderr


def test_names_of_networks_are_in_two_roots_at_once():
    done = in_mount_namespace("""
        cp -r /mnt/root /mnt/other
        ensure_mounts /mnt/root; ip netns add a; ensure_mounts /mnt/other; ip netns add b
        for root in /mnt/root /mnt/other; do
          for name in a b; do [[ /run/netns/$name -ef $root/run/netns/$name ]] || exit 1; done
        done
        remove_mounts /mnt/other
        ip netns exec a true && [[ /run/netns/a -ef /mnt/root/run/netns/a ]] || exit 2
    """)
    assert done.returncode == 0, done.stderr
