# SPDX-License-Identifier: Apache-2.0
"""A root to try ./dev's parts on: small, and gone with the mount namespace that it is made in."""

import pathlib
import subprocess

PARTS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "dev"

# A root without programs, and a checkout that is not below /tmp, which every root
# sees; all of it on a file system of its own. So is /run: names of networks are not the machine's.
PRELUDE = """
set -u
while umount -l /run/netns 2>/dev/null; do :; done
mount -t tmpfs tmpfs /mnt && mount -t tmpfs tmpfs /run || exit 99
mkdir -p /mnt/cache /mnt/checkout/tools /mnt/root/{proc,sys,dev,run,tmp,etc,usr,var/lib} || exit 99
ln -s "$1" /mnt/checkout/tools/dev
ln -s usr/bin usr/sbin usr/lib usr/lib64 /mnt/root/
touch /mnt/root/etc/{resolv.conf,hosts,masque-vpn-root}
unset PIP_FIND_LINKS
MASQUE_VPN_CHECKOUT=/mnt/checkout MASQUE_VPN_CACHE=/mnt/cache
for part in lib packages mirror root native mounts host_files exec build tests; do . "$1/$part.sh"; done
root_path() { echo /mnt/root; }
runs_natively() { return 1; }
copy_host_files() { :; }
cd /mnt/checkout
"""

# The root has the programs of this machine.
PROGRAMS = """
mount --bind /mnt/root /mnt/root && mount --make-private /mnt/root && mount --bind /usr /mnt/root/usr || exit 99
"""


def in_mount_namespace(script: str) -> subprocess.CompletedProcess:
    """The script, after the parts of ./dev and with /mnt/root as the build root."""
    return subprocess.run(["unshare", "--mount", "bash", "-c", PRELUDE + script, "dev_test", PARTS],
                          capture_output=True, text=True, timeout=30)
