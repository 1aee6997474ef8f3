# SPDX-License-Identifier: Apache-2.0
"""Gets programs of others into the benchmark's cache, once; nothing is installed on the platform."""

import os
import shutil
import subprocess
from pathlib import Path

from tunnels import Missing

CHECKOUT = Path(__file__).resolve().parents[2]
FETCH_LIMIT_S = 300


def cache() -> Path:
    """Beside Go's packages, as bench/clean keeps wireguard-go; `./dev bench` sets GOPATH."""
    directory = Path(os.environ.get("GOPATH", Path.home() / "go")).parent / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def run(argv: list[str | os.PathLike[str]], **options) -> str:
    """Its output; raises Missing when it fails."""
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True,
                              timeout=FETCH_LIMIT_S, **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise Missing(f"{argv[0]} {argv[1]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def debian_package(name: str) -> Path:
    """The directory below which the files of the package, and of what it needs that the platform
    lacks, lie."""
    directory = cache() / name
    if directory.exists():
        return directory
    if not shutil.which("apt-get"):
        raise Missing("no apt-get to get it with")
    work = cache() / f"{name}.{os.getpid()}"
    try:
        for part in ("lists/partial", "archives/partial", "debs", "files"):
            (work / part).mkdir(parents=True)
        apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={work}/lists", "-o", f"Dir::Cache={work}",
               "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
        run([*apt, "update"])
        plan = run([*apt, "--simulate", "--no-install-recommends", "install", name])
        wanted = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
        run([*apt, "download", *wanted], cwd=work / "debs")
        for package in sorted((work / "debs").glob("*.deb")):
            run(["dpkg-deb", "--extract", package, work / "files"])
        (work / "files").rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return directory


def library_path(directory: Path) -> str:
    """LD_LIBRARY_PATH for a program of debian_package()."""
    return ":".join(map(str, sorted({file.parent for file in directory.rglob("*.so*")})))


def go_program(source: Path, name: str) -> Path:
    """A Go program of this repository, built when its source changed."""
    go = shutil.which("go")
    if not go:
        raise Missing("no Go toolchain")
    program = cache() / name
    run([go, "build", "-trimpath", "-o", program, "."], cwd=source,
        env={**os.environ, "CGO_ENABLED": "0"})
    return program
