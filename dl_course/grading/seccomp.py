"""A filter of system calls, on Linux: what no notebook needs, and what would outlive or escape a worker.

Memory that no process is charged for (shared segments, memfds, message queues), the kernel's keyring, further
namespaces and mounts, looking into other processes, sockets but for local and internet ones. See seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from errno import EAFNOSUPPORT, ENOSYS, EPERM

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERROR = 0x00050000
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35
_ANY_BIT = 0x45
_RETURN = 0x06
_NUMBER = 0  # offsets in struct seccomp_data
_ARCHITECTURE = 4
_FIRST_ARGUMENT = 16
_SECCOMP = 22  # prctl's
_FILTER = 2
_NEW_NAMESPACES = 0x7E020080  # of clone: mounts, cgroup, UTS, IPC, user, processes, network, time
_FAMILIES = (1, 2, 10, 16)  # UNIX, INET, INET6, and NETLINK, which lists the network's interfaces
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_CALLS = {  # name: its numbers on x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h)
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51),
    "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "pidfd_getfd": (438, 438), "bpf": (321, 280),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "perf_event_open": (298, 241),
    "fanotify_init": (300, 262), "open_by_handle_at": (304, 265),
}  # fmt: skip
_CLONE = (56, 220)
_CLONE3 = (435, 435)  # its flags lie in memory, where no filter sees them: libraries then use clone
_SOCKET = (41, 198)


def forbid() -> None:
    """Take the calls away from this process and all that it starts; OSError where there is no filter."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        raise OSError(f"no filter of system calls for {sys.platform} on {machine}")
    steps = _program(*_MACHINES[machine])
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = (ctypes.c_ulong(_SECCOMP), ctypes.c_ulong(_FILTER), ctypes.c_char_p(program))
    if libc.prctl(*numbers, ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(error := ctypes.get_errno(), f"seccomp: {os.strerror(error)}")


def _program(architecture: int, column: int) -> list[tuple[int, int, int, int]]:
    def back(what: int) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, what)

    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), back(_KILL), (_LOAD, 0, 0, _NUMBER)]
    if column == 0:  # x32, the other numbering of x86_64
        steps += [(_AT_LEAST, 0, 1, 0x40000000), back(_ERROR | ENOSYS)]
    for numbers in _CALLS.values():
        steps += [(_EQUAL, 0, 1, numbers[column]), back(_ERROR | EPERM)]
    steps += [(_EQUAL, 0, 1, _CLONE3[column]), back(_ERROR | ENOSYS)]
    steps += [(_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    steps += [(_ANY_BIT, 0, 1, _NEW_NAMESPACES), back(_ERROR | EPERM), back(_ALLOW)]
    steps += [(_EQUAL, 0, len(_FAMILIES) + 2, _SOCKET[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    steps += [(_EQUAL, len(_FAMILIES) - place, 0, family) for place, family in enumerate(_FAMILIES)]
    return [*steps, back(_ERROR | EAFNOSUPPORT), back(_ALLOW)]
