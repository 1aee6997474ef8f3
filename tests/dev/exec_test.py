# SPDX-License-Identifier: Apache-2.0
"""./dev exec: the caller's directory, the program's exit code, the same process."""

import pytest

from fake_root import PROGRAMS, in_mount_namespace


def exec_in_root(script: str):
    return in_mount_namespace(PROGRAMS + script)


DIRECTORIES = {
    "the checkout": "/mnt/checkout",
    "below the checkout": "/mnt/checkout/src",
    "missing in the root": "/mnt/elsewhere",
    "another one in the root": "/mnt/both",
    "around the root": "/mnt",
    "with a blank": "/mnt/two words",
    "with a mount below": "/mnt/volume",
    "new in a system directory that is none": "/var/tmp/masque-vpn-exec-test",
}


@pytest.mark.parametrize("directory", DIRECTORIES.values(), ids=DIRECTORIES)
def test_runs_in_the_directory_of_the_caller(directory):
    done = exec_in_root(f"""
        mount -t tmpfs tmpfs /var/tmp
        mkdir -p '{directory}' /mnt/root/mnt/both /mnt/volume/below && touch '{directory}/outside'
        mount -t tmpfs tmpfs /mnt/volume/below && touch /mnt/volume/below/outside
        cd '{directory}'
        (run_on_platform sh -c 'pwd -P && ls outside && echo written >inside') || exit 1
        [[ $(<inside) == written ]] || exit 2
        [[ $PWD != /mnt/volume ]] || (run_on_platform ls below/outside) || exit 3
        before=$(wc -l </proc/self/mountinfo)
        (run_on_platform true) && [[ $before == "$(wc -l </proc/self/mountinfo)" ]] || exit 4
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [directory, "outside"]


def test_a_directory_reached_by_a_link_is_the_same():
    done = exec_in_root("""
        mkdir -p /mnt/real /mnt/both && ln -s /mnt/real /mnt/both/link && touch /mnt/real/outside
        cd /mnt/both && (run_on_platform true) && cd link && run_on_platform ls
    """)
    assert (done.returncode, done.stdout) == (0, "outside\n"), done.stderr


def test_a_directory_at_the_place_of_a_removed_one_is_the_same():
    done = exec_in_root("""
        mkdir /mnt/a && cd /mnt/a && (run_on_platform true) || exit 1
        cd /mnt && rm -r a && mkdir a && touch a/second && cd a && run_on_platform ls
    """)
    assert (done.returncode, done.stdout) == (0, "second\n"), done.stderr


@pytest.mark.parametrize("directory", ["/", "/etc", "/var", "/var/lib", "/var/lib/dpkg"])
def test_a_system_directory_is_refused_in_one_line(directory):
    done = exec_in_root(f"cd {directory} && run_on_platform touch /mnt/cache/ran")
    assert done.returncode == 125, done.stderr
    assert len(done.stderr.splitlines()) == 1 and f"{directory}:" in done.stderr, done.stderr


def test_a_removed_directory_is_refused_in_one_line():
    done = exec_in_root("mkdir /mnt/gone && cd /mnt/gone && rmdir /mnt/gone && run_on_platform true")
    assert done.returncode == 125, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "/mnt/gone" in done.stderr, done.stderr


def test_exit_codes_are_those_of_a_shell():
    done = exec_in_root("""
        mkdir -p build/release/bin && touch build/release/bin/not-executable
        code() { ("$@"); echo $?; }
        code run_on_platform sh -c 'exit 3'
        code run_on_platform sh -c 'kill -TERM $$'
        code run_on_platform masque-vpn-no-such-command
        code run_on_platform ./no-such-command
        code run_on_platform not-executable
        code run_on_platform build/release/bin/not-executable
    """)
    assert done.stdout.split() == ["3", "143", "127", "127", "126", "126"], done.stderr


def test_a_command_that_is_not_built_yet_is_explained():
    done = exec_in_root("run_on_platform masque-vpn-no-such-command")
    assert done.returncode == 127 and "./dev build" in done.stderr, done.stderr


def test_is_the_same_process():
    done = exec_in_root("echo $$; run_on_platform sh -c 'echo $$'")
    first, second = done.stdout.split()
    assert first == second, done.stderr
