# SPDX-License-Identifier: Apache-2.0
"""usage: as_pid_1.py COMMAND...: what the engine needs of its new namespaces, then the engine itself.

Within the build root (./dev exec is a chroot) `docker exec` would start its commands in the machine's root: joining a
container's mount namespace leads to the root of that namespace, and a chroot does not change it. So the build root is
made the root of this mount namespace first, which nobody else is in.
"""

import ctypes
import os
import subprocess
import sys

MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def make_root_of_the_namespace():
    root = os.open("/", os.O_DIRECTORY | os.O_PATH)
    os.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), os.CLONE_NEWNS)
    if os.path.samestat(os.stat("/"), os.stat(root)):
        return
    os.fchdir(root)
    check(libc.pivot_root(b".", b"."))
    check(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


make_root_of_the_namespace()
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
# The TUN as udev makes it: a machine without udev has it for root alone.
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "net", "/dev/net"], check=True)
os.mknod("/dev/net/tun", 0o20666, os.makedev(10, 200))
os.chmod("/dev/net/tun", 0o666)
os.execvp(sys.argv[1], sys.argv[1:])
