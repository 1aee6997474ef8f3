# SPDX-License-Identifier: Apache-2.0
"""A Docker engine of the test's own: in namespaces of its own, with its data in the build directory.

All its processes live in one PID namespace and all its mounts in one mount namespace, so that nothing of it is
left when it ends, however it ends. Its data (images, the layers of earlier builds) stays for the next run.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
START_SECONDS = 60


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Engine:
    """`network` is "machine" (builds that need apt) or "own" (containers that talk to each other)."""

    def __init__(self, data: Path, network: str):
        self.data = data
        self.network = network
        # Socket paths are short.
        self.run_dir = Path(tempfile.mkdtemp(prefix="mvdk"))
        self.log = self.run_dir / "log"
        self.socket = self.run_dir / "sock"
        self.cgroup = f"masque-vpn-test-{os.getpid()}"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Engine":
        self.data.mkdir(parents=True, exist_ok=True)
        options = ["--storage-driver=overlay2", f"--data-root={self.data}", f"--exec-root={self.run_dir}/exec",
                   f"--host=unix://{self.socket}", f"--pidfile={self.run_dir}/pid", f"--cgroup-parent=/{self.cgroup}"]
        unshare = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if self.network == "machine":
            options += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        else:
            unshare += ["--net"]
        start = ["python3", str(Path(__file__).with_name("as_pid_1.py")), "dockerd", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*unshare, *start], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        deadline = time.monotonic() + START_SECONDS
        while self.call("docker", "version", check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text(errors="replace")[-3000:]
                self.__exit__(None, None, None)
                raise RuntimeError(f"dockerd did not start:\n{text}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                # Takes its whole PID namespace with it.
                self.process.kill()
                self.process.wait()
        for folder in sorted(Path("/sys/fs/cgroup").glob(f"**/{self.cgroup}/**/"), reverse=True):
            try:
                folder.rmdir()
            except OSError:
                pass
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0",
                "DOCKER_CONFIG": str(self.run_dir / "config"), "COMPOSE_ANSI": "never"}

    def call(self, *command: str, check=True, timeout=60, **options) -> subprocess.CompletedProcess:
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=timeout,
                              check=False, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}")
        return done

    def docker(self, *arguments: str, **options) -> str:
        return self.call("docker", *arguments, **options).stdout.strip()
