"""What a worker may see and use: Linux namespaces where the kernel grants them, limits everywhere.

The zygote (worker.py) enters namespaces of its own once: its file system shows Python, the libraries and the
course without its checks, nothing else; there is no network. Every worker gets a further process namespace,
an empty /tmp, and no privileges. See namespaces(7), pivot_root(2), user_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dl_course.grading import seccomp

_NEW_NS = 0x20000
_NEW_UTS = 0x4000000
_NEW_IPC = 0x8000000
_NEW_USER = 0x10000000
_NEW_PID = 0x20000000
_NEW_NET = 0x40000000
_RDONLY = 1
_NOSUID = 2
_NODEV = 4
_NOEXEC = 8
_REMOUNT = 32
_BIND = 4096
_REC = 16384
_PRIVATE = 1 << 18
_KEPT = _NOSUID | _NODEV | _NOEXEC | 1024 | 2048  # flags of a mount that a user namespace may not take off
_DETACH = 2
_PDEATHSIG = 1
_SUBREAPER = 36
_NO_NEW_PRIVS = 38

NAMESPACES = "namespaces"  # strongest first; with a filter of system calls
UNFILTERED = "namespaces, but without a filter of system calls"
USER = "a user of its own"
GROUP = "a process group of its own"
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
SCRATCH_BYTES = 2**29
FILE_BYTES = 2**28
PROCESSES = 64
OPEN_FILES = 256
WORKERS_USER = 65534


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [os.fsencode(each) if isinstance(each, (str, Path)) else each for each in arguments]
    if getattr(libc, name)(*(ctypes.c_ulong(each) if isinstance(each, int) else each for each in given)):
        raise OSError(code := ctypes.get_errno(), f"{name}: {os.strerror(code)}")


def enter_namespaces() -> None:
    """Leave the machine's processes, network and mounts; holds for processes that are forked from here on."""
    if sys.platform != "linux":
        raise OSError("namespaces are Linux's")
    user = os.getuid()
    group = os.getgid()
    _call("unshare", _NEW_NS | _NEW_UTS | _NEW_IPC | _NEW_PID | _NEW_NET | (_NEW_USER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _call("mount", None, "/", None, _REC | _PRIVATE, None)


def show_only(root: Path, visible: Iterable[str]) -> None:
    """Make `root` the file system: the visible paths, read-only, /proc of this process namespace, /tmp."""
    _call("mount", "tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=16m,mode=755")
    for path in visible:
        if os.path.exists(path) and not (root / path[1:]).exists():
            _show(path, root / path[1:])
    for path in DEVICES:
        _placed(root / path[1:], folder=False)
        _call("mount", path, root / path[1:], None, _BIND, None)
    for name in ("proc", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "dev/shm").symlink_to("/tmp")
    _call("mount", "proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC, None)
    os.chdir(root)
    _call("pivot_root", ".", ".")  # the old root then lies over the new one, and goes
    _call("umount2", ".", _DETACH)
    os.chdir("/tmp")


def _show(path: str, place: Path) -> None:
    if os.path.islink(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.realpath(path))
        return
    _placed(place, os.path.isdir(path))
    _call("mount", path, place, None, _BIND | _REC, None)
    kept = os.statvfs(place).f_flag & _KEPT
    _call("mount", None, place, None, _BIND | _REMOUNT | _RDONLY | kept, None)


def _placed(place: Path, folder: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(exist_ok=True) if folder else place.touch()


def fork_apart(namespaces: bool) -> int:
    """Fork, as os.fork does; the child begins a process namespace, whose end ends all that are in it."""
    if not namespaces:
        return os.fork()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        _call("unshare", _NEW_PID)  # which holds for children only
        if child := os.fork():
            _call("setns", own, _NEW_PID)
        return child
    finally:
        os.close(own)


def seclude(namespaces: bool, folder: Path, visible: Iterable[str], memory: int) -> None:
    """Give this process its own /tmp and /proc, a folder to work in, limits; take its privileges.

    /tmp is empty but for what is visible, such as a course that is installed there.
    """
    if namespaces:
        _call("unshare", _NEW_NS | _NEW_IPC)
        there = [path for path in visible if path.startswith("/tmp/") and os.path.isdir(path)]
        inside = {path: os.open(path, os.O_RDONLY) for path in there}
        _call("mount", "tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, f"size={SCRATCH_BYTES},mode=1777")
        for path, place in inside.items():
            if not os.path.exists(path):
                os.makedirs(path)
                _call("mount", f"/proc/self/fd/{place}", path, None, _BIND | _REC, None)
            os.close(place)
        _call("mount", None, "/", None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV, None)
        _call("mount", "proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC, None)
    folder.mkdir(mode=0o700)
    os.chdir(folder)
    _limit(namespaces or own_user(namespaces), memory)
    if own_user(namespaces):
        os.chown(folder, WORKERS_USER, WORKERS_USER)
        os.setgroups([])
        os.setresgid(*[WORKERS_USER] * 3)
        os.setresuid(*[WORKERS_USER] * 3)
    if sys.platform == "linux":
        nothing = (ctypes.c_uint32 * 6)()
        _call("capset", (ctypes.c_uint32 * 2)(0x20080522, 0), nothing)
        _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
        _call("prctl", _PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if filtered():
        seccomp.forbid()


@cache
def filtered() -> bool:
    """Return whether the kernel filters system calls, tried out by a process that ends."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
        seccomp.forbid()
        os._exit(0)
    finally:
        os._exit(1)


def own_user(namespaces: bool) -> bool:
    """Return whether workers run as a user of their own: root can see to it, if all may read Python there."""
    if namespaces or os.getuid():
        return os.getuid() == 0
    python = Path(sys.base_prefix)
    return all(path.stat().st_mode & 1 for path in (python, *python.parents))


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends, so that none can hide."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone
        _call("prctl", _SUBREAPER, 1, 0, 0, 0)


def _limit(own_user: bool, memory: int) -> None:
    import resource  # not on Windows, where the cage says what to use

    limits = {"CORE": 0, "FSIZE": FILE_BYTES, "NOFILE": OPEN_FILES}
    if own_user:  # else it would count the teacher's own processes
        limits["NPROC"] = PROCESSES
    if sys.platform == "linux":  # beyond what torch has reserved already
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits["AS"] = pages * resource.getpagesize() + memory
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
