# SPDX-License-Identifier: Apache-2.0
"""Who may include what: the arrows between the layers, and the headers of outside libraries."""

import re

# Folder -> the folders that its files may include, besides itself. Nothing else may be included.
CORE = ["core/ip", "core/capsule", "core/fec", "core/path", "core/quic", "core/http", "core/tunnel"]
ARROWS = {
    "base": [],
    "core/ip": ["base"],
    "core/capsule": ["base", "core/ip"],
    "core/fec": ["base"],
    "core/path": ["base", "core/fec", "core/ip"],
    "core/quic": ["base", "core/fec", "core/path", "core/ip"],
    "core/http": ["base", "core/fec", "core/path", "core/ip", "core/quic"],
    "core/tunnel": ["base", "core/ip", "core/capsule"],
    "core/client": ["base", *CORE],
    "core/server": ["base", *CORE],
    "host": ["base", "core"],
    "service": ["base", "core", "host"],
    "apps": ["base", "core", "host", "service"],
    "sim": ["base", "core"],
    "examples": ["base", "core", "host"],
}
# Headers that are seams between two layers: everybody in core may include them.
SEAMS = {"core/tunnel/datagram_channel.h", "core/path/traffic_class.h", "core/path/sending_pace.h"}

# Prefix of a header of an outside library -> where it may be included (.cc files and tests of there).
LIBRARIES = {
    "ngtcp2/": ["src/core/quic"],
    "nghttp3/": ["src/core/http"],
    "nghttp2/": ["src/core/http"],
    "openssl/": ["src/core/quic", "src/core/http", "src/service/pki"],
    "sqlite3.h": ["src/service/store"],
    "CLI/": ["src/service/cli"],
    "toml++/": ["src/service/config"],
    "libmnl/": ["src/host"],
    "nftables/": ["src/host"],
    "cap-ng.h": ["src/host"],
    "nlohmann/": ["src/service"],
    "microhttpd.h": ["src/service/admin"],
}


def layer_of(path: str) -> str | None:
    """The layer of a path as it is written in an #include."""
    parts = path.split("/")
    if len(parts) < 2:
        return None
    if parts[0] == "core":
        return "/".join(parts[:2])
    return parts[0] if parts[0] in ARROWS else None


def allows(source: str, target: str) -> bool:
    return any(target == into or target.startswith(into + "/") for into in [source, *ARROWS[source]])


def include_arrow(file):
    """apps -> service -> host -> core -> base, and the order within core."""
    if not file.is_cpp:
        return
    source = layer_of(file.path.removeprefix("src/"))
    if source is None:
        return
    for line, header, angled in file.includes:
        target = layer_of(header)
        if angled or target is None or allows(source, target):
            continue
        if header in SEAMS and source.startswith("core/"):
            continue
        yield line, f"{source} may not include {header}"


def library_header(file):
    """An outside library shows itself only in the .cc files of the folder that wraps it."""
    if not file.is_cpp or not file.is_under("src", "sim", "examples"):
        return
    for line, header, _ in file.includes:
        for prefix, folders in LIBRARIES.items():
            if not header.startswith(prefix):
                continue
            if not file.is_under(*folders):
                yield line, f"<{header}> belongs to {' and '.join(folders)}"
            elif file.suffix == ".h":
                yield line, f"<{header}> in a header: every includer would see the library"


# What core may not know of: the machine. <chrono> is durations in base/time.h.
SYSTEM_HEADER = re.compile(
    r"(sys|net|netinet|netinet6|arpa|linux|asm|bits)/|"
    r"(unistd|fcntl|poll|signal|pthread|time|sched|dirent|ifaddrs|netdb|dlfcn|stdio|stdlib|errno)\.h$|"
    r"(thread|mutex|shared_mutex|condition_variable|future|stop_token|semaphore|latch|barrier|atomic|"
    r"random|fstream|filesystem|ctime|csignal|cstdio|chrono)$"
)
SYSTEM_USE = re.compile(
    r"\b(steady_clock|system_clock|high_resolution_clock|file_clock|utc_clock|random_device|"
    r"clock_gettime|gettimeofday|getrandom|RAND_bytes|getenv|this_thread|jthread|"
    r"s?rand\s*\(|std::time\s*\(|std::thread)"
)


def core_is_pure(file):
    """core has no clock, thread, socket, file or randomness of its own."""
    if not file.is_cpp or not file.is_under("src/core"):
        return
    for line, header, angled in file.includes:
        if angled and SYSTEM_HEADER.match(header) and not (file.is_test and header in TEST_HEADERS):
            yield line, f"<{header}> in core"
    for number, code in enumerate(file.code_lines, 1):
        for match in SYSTEM_USE.finditer(code):
            yield number, f"{match[0].rstrip(' (')} in core"


# Tests of core may measure and read vectors from files.
TEST_HEADERS = {"fstream", "filesystem", "cstdio", "chrono"}
