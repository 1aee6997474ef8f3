# SPDX-License-Identifier: Apache-2.0
"""tools/dev/host_files.sh copies settings into the root, and leaves the machine's own alone."""

from fake_root import PROGRAMS, in_mount_namespace

HOME = """
. "$1/host_files.sh"
HOME=/mnt/home && mkdir -p /mnt/dotfiles $HOME && echo one >/mnt/dotfiles/npmrc && ln -s /mnt/dotfiles/npmrc $HOME/.npmrc
"""


def test_settings_are_copied_when_they_change():
    done = in_mount_namespace(PROGRAMS + HOME + """
        copy_host_files /mnt/root && [[ $(</mnt/root/mnt/home/.npmrc) == one ]] || exit 1
        echo two of them >/mnt/dotfiles/npmrc
        copy_host_files /mnt/root && [[ $(</mnt/root/mnt/home/.npmrc) == "two of them" ]] || exit 2
    """)
    assert done.returncode == 0, done.stderr


def test_another_home_costs_no_look_at_certificates():
    done = in_mount_namespace(PROGRAMS + HOME + """
        copy_host_files /mnt/root
        exec 3>&1
        chroot() { echo "$@" >&3; }
        HOME=/mnt/other; copy_host_files /mnt/root
        HOME=/mnt/home; copy_host_files /mnt/root
    """)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_certificate_is_known_to_programs():
    done = in_mount_namespace(PROGRAMS + HOME + """
        mount -t tmpfs tmpfs /usr/local && mkdir -p /usr/local/share/ca-certificates
        copy_host_files /mnt/root
        chroot() { echo "$@" >&3; }
        touch /usr/local/share/ca-certificates/own.crt; copy_host_files /mnt/root 3>&1
    """)
    assert (done.returncode, done.stdout) == (0, "/mnt/root update-ca-certificates\n"), done.stderr


def test_a_home_that_the_root_sees_is_left_alone():
    done = in_mount_namespace(PROGRAMS + HOME + """
        mkdir -p /mnt/root/mnt/home && mount --bind /mnt/home /mnt/root/mnt/home
        copy_host_files /mnt/root
        [[ -L /mnt/home/.npmrc ]] || exit 1
    """)
    assert done.returncode == 0, done.stderr
