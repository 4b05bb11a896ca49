"""What the kernel keeps a script from: Landlock for files, a filter of system calls (seccomp), and resource limits.

Like `sandbox`, it uses only the standard library. None of this needs privileges. Sources: landlock(7), seccomp(2), the
tables of system calls of Linux (`unistd_64.h` of x86, `asm-generic/unistd.h`).
"""

import ctypes
import os
import platform
import resource
import stat
import struct
import sys
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_MM, _PR_SET_NO_NEW_PRIVS, _PR_SET_PTRACER = 4, 22, 35, 38, 0x59616D61
_SECCOMP_MODE_FILTER = 2
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOTTY, _ENOSYS, _ENOTSUP = 1, 25, 38, 95
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = 1, 1, 5
_CLONE_THREAD = 0x10000
_O_TRUNC = 0o1000

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The architectures whose system calls are known."""
_X32 = 0x40000000
_CALLS = {
    "x86_64": {
        "open": 2, "socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53, "clone": 56, "openat": 257,
        "kill": 62, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "prlimit64": 302, "setpgid": 109,
        "sched_setparam": 142, "sched_setscheduler": 144, "sched_setaffinity": 203, "sched_setattr": 314,
        "fcntl": 72, "ioctl": 16, "prctl": 157,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "bind": 200, "listen": 201, "socketpair": 199, "clone": 220, "openat": 56,
        "kill": 129, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "prlimit64": 261, "setpgid": 154,
        "sched_setparam": 118, "sched_setscheduler": 119, "sched_setaffinity": 122, "sched_setattr": 274,
        "fcntl": 25, "ioctl": 29, "prctl": 167,
    },
}  # fmt: skip
_DENIED = {
    # fork vfork ptrace process_vm_* unshare setns mount umount2 pivot_root chroot keyctl add_key request_key bpf
    # perf_event_open userfaultfd *_handle_at kexec* *_module memfd_create swap* reboot acct personality syslog
    "x86_64": (
        57, 58, 101, 310, 311, 272, 308, 165, 166, 155, 161, 250, 248, 249, 321, 298, 323, 304, 303, 246, 320, 175, 313,
        176, 319, 167, 168, 169, 163, 135, 103,
    ),
    "aarch64": (
        117, 270, 271, 97, 268, 40, 39, 41, 51, 219, 217, 218, 280, 241, 282, 265, 264, 104, 294, 105, 273, 106, 279,
        224, 225, 142, 89, 92, 116,
    ),
}  # fmt: skip
_DENIED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 447, 448)
"""io_uring_setup, _enter and _register; open_tree, move_mount, fsopen, fsconfig, fsmount, fspick; pidfd_getfd,
process_madvise, mount_setattr, memfd_secret, process_mrelease."""
_DENIED_ON_HOST = {
    # chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat utimensat truncate fallocate
    # inotify_init inotify_init1 inotify_add_watch fanotify_init fanotify_mark
    # shmget shmat shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
    # tkill setpriority ioprio_set migrate_pages move_pages kcmp get_robust_list quotactl modify_ldt iopl ioperm uselib
    "x86_64": (
        90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280, 76, 285, 253, 294, 254, 300, 301, 29, 30, 31, 64, 65, 66, 220, 68,
        69, 70, 71, 240, 241, 200, 141, 251, 256, 279, 312, 274, 179, 154, 172, 173, 134,
    ),
    "aarch64": (
        52, 53, 54, 55, 88, 45, 47, 26, 27, 262, 263, 194, 196, 195, 190, 193, 191, 192, 186, 189, 188, 187, 180, 181, 130,
        140, 30, 238, 239, 272, 100, 60,
    ),
}  # fmt: skip
"""Calls that act on files by path outside of Landlock's control, or on other processes of the same user."""
_XATTR = {"x86_64": range(188, 200), "aarch64": range(5, 17)}
_NEW = 424
_KNOWN_NEW = (436, 439, 441, 449, 451, 453, 454, 455, 456, 462)
"""close_range, faccessat2, epoll_pwait2, futex_waitv, cachestat, map_shadow_stack, futex_*, mseal: of the calls that all
architectures number alike (from 424), those that are harmless. Others, and those that are yet to come, do not exist."""
_IOCTLS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_FCNTLS = (8, 10, 15, 1024, 1026, 1031)
"""F_SETOWN, F_SETSIG and F_SETOWN_EX (signals to others), F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ."""

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE = 1 << 4 | 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 10, 1 << 12
_FIRST_RIGHTS = (1 << 13) - 1
_LATER_RIGHTS = ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""`(ABI, right)` of rights that came later: moving to another folder, truncating, ioctl of devices."""
_NETWORK, _NETWORK_SINCE = 3, 4
_SCOPES, _SCOPES_SINCE = 3, 6
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
_O_PATH = 0o10000000
_RESOURCES = ("/proc/self/cgroup", "/proc/meminfo", "/proc/cpuinfo", "/sys/devices/system/cpu/online")
_CGROUPS = "/sys/fs/cgroup"
_QUOTAS = ("memory.max", "cpu.max", "memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us")

libc = ctypes.CDLL(None, use_errno=True)


class RefusedError(Exception):
    """The script can't be confined here."""


def call(result: int, what: str) -> int:
    """Return the result of a system call.

    Raises:
        RefusedError: it failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise RefusedError(f"{what}: {os.strerror(number)}")
    return result


# --- Landlock


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel offers; 0 without it."""
    if sys.platform != "linux" or platform.machine() not in AUDIT:
        return 0
    return max(0, int(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def give_up_privileges() -> None:
    """Ensure that no program that this process becomes gains privileges."""
    if sys.platform == "linux":
        call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "privileges can't be given up")


def confine_files(readable: "Iterable[str]", writable: str) -> None:
    """Limit this process to files that it may read and execute, and a folder that it may change.

    Paths that don't exist are ignored. Landlock controls neither `stat` nor the calls that `limit` filters for that
    reason.
    """
    abi = landlock_abi()
    if not abi:
        raise RefusedError("the kernel does not offer Landlock")
    handled = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS:
        handled |= right if abi >= since else 0
    attributes = struct.pack("QQQ", handled, _NETWORK, _SCOPES if abi >= _SCOPES_SINCE else 0)
    size = 24 if abi >= _SCOPES_SINCE else 16 if abi >= _NETWORK_SINCE else 8
    rules = call(libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0), "Landlock can't be used")
    changes = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE | _MAKE_DIR | _MAKE_REG | _MAKE_FIFO | _MAKE_SYM
    changes |= 1 << 13 | 1 << 14
    for path in readable:
        _allow(rules, path, handled & (_READ_FILE | _READ_DIR | _EXECUTE))
    for path, rights in (
        (writable, changes),
        ("/dev/null", _READ_FILE | _WRITE_FILE),
        *((path, _READ_FILE) for path in ("/dev/zero", "/dev/random", "/dev/urandom", *_resources())),
    ):
        _allow(rules, path, handled & rights)
    call(libc.syscall(_LANDLOCK_RESTRICT, rules, 0), "Landlock can't be used")
    os.close(rules)


def _resources() -> "list[str]":
    """Return the files that say how much memory and how many processors there are.

    Programs that see them, as Landlock hides nothing, expect to be able to open them: DuckDB ends otherwise.
    """
    found = list(_RESOURCES)
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return found
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        for name in {controllers, *controllers.split(",")}:
            for folder in {f"{_CGROUPS}/{name}/{path}", f"{_CGROUPS}/{name}"}:
                found += [f"{folder}/{quota}" for quota in _QUOTAS]
    return found


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= _ON_FILES
    rule = struct.pack("=Qi", rights, place)
    call(libc.syscall(_LANDLOCK_ADD, rules, 1, rule, 0), f"Landlock can't allow {path!r}")
    os.close(place)


# --- limits and the filter


def limit(memory: int, seconds: int, disk: int, *, on_host: bool) -> None:
    """Limit memory (bytes), processor time and the size of a file (bytes), and filter system calls.

    With `on_host`, files and processes are those of the host, so that the filter must keep from them as well.
    """
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds + 1),
        (resource.RLIMIT_FSIZE, disk),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    give_up_privileges()
    if platform.machine() not in AUDIT or sys.platform != "linux":
        resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))
        return
    data = b"".join(struct.pack("HBBI", *each) for each in _Filter(platform.machine(), on_host=on_host).code)
    buffer = ctypes.create_string_buffer(data, len(data))
    program = struct.pack("HxxxxxxP", len(data) // 8, ctypes.addressof(buffer))
    call(
        libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0),
        "system calls can't be filtered",
    )


class _Filter:
    """A program of BPF: it forbids new processes, sockets, and what scripts need not do but flaws in a kernel are found in.

    Between two rules, the number of the call is loaded. Arguments are judged by their lower 32 bits: those that are
    judged are of the type `int`, or flags.
    """

    def __init__(self, machine: str, *, on_host: bool) -> None:
        self.code: list[tuple[int, int, int, int]] = []
        self.calls = _CALLS[machine]
        self._load(4)
        self.code += [(0x15, 1, 0, AUDIT[machine]), (0x06, 0, 0, _KILL)]
        self._load(0)
        if machine == "x86_64":
            self.code += [(0x35, 0, 1, _X32), (0x06, 0, 0, _ERRNO | _ENOSYS)]
        self._deny((435,), _ENOSYS)  # clone3: its flags are in memory, so only `clone` can be judged
        self._deny((*_DENIED[machine], *_DENIED_EVERYWHERE))
        self._deny(self.calls[name] for name in ("socket", "connect", "bind", "listen"))
        self._judge("socketpair", 0, only=(_AF_UNIX,))
        # sendto() of a datagram socket reaches any other by its name, connected or not
        self._judge("socketpair", 1, only=(_SOCK_STREAM, _SOCK_SEQPACKET), mask=0xF)
        self._judge("clone", 0, only=(_CLONE_THREAD,), mask=_CLONE_THREAD)
        if on_host:
            self._protect_host(machine)
        self.code.append((0x06, 0, 0, _ALLOW))

    def _protect_host(self, machine: str) -> None:
        own = (0, os.getpid())
        self._deny(_DENIED_ON_HOST[machine])
        self._deny(_XATTR[machine], _ENOTSUP)
        for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            self._judge(name, 0, only=own[1:])
        for name in (
            "prlimit64",
            "setpgid",
            "sched_setparam",
            "sched_setscheduler",
            "sched_setaffinity",
            "sched_setattr",
        ):
            self._judge(name, 0, only=own)
        # access mode 3 opens what may neither be read nor written, and truncation of what is read was not judged by
        # Landlock before its version 3
        for name, place in (("open", 1), ("openat", 2)):
            if name in self.calls:
                self._judge(name, place, never=(3, 3 | _O_TRUNC, _O_TRUNC), mask=3 | _O_TRUNC)
        self._judge("prctl", 0, never=(PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_MM, _PR_SET_PTRACER))
        self._judge("fcntl", 1, never=_FCNTLS)
        self._judge("ioctl", 1, only=_IOCTLS, error=_ENOTTY)
        self.code.append((0x35, 0, len(_KNOWN_NEW) + 1, _NEW))
        self.code += [(0x15, len(_KNOWN_NEW) - place, 0, number) for place, number in enumerate(_KNOWN_NEW)]
        self.code.append((0x06, 0, 0, _ERRNO | _ENOSYS))

    def _load(self, offset: int) -> None:
        self.code.append((0x20, 0, 0, offset))

    def _deny(self, numbers: "Iterable[int]", error: int = _EPERM) -> None:
        for number in numbers:
            self.code += [(0x15, 0, 1, number), (0x06, 0, 0, _ERRNO | error)]

    def _judge(
        self,
        name: str,
        argument: int,
        *,
        only: "tuple[int, ...]" = (),
        never: "tuple[int, ...]" = (),
        mask: int = 0,
        error: int = _EPERM,
    ) -> None:
        """Allow a call only with some values of an argument, or with all but some."""
        rule = [(0x20, 0, 0, 16 + 8 * argument)]
        if mask:
            rule.append((0x54, 0, 0, mask))
        values = only or never
        # each comparison jumps over the remaining ones, to the refusal or over it
        for place, value in enumerate(values):
            rule.append((0x15, len(values) - place, 0, value))
        if never:
            rule.append((0x05, 0, 0, 1))  # none of them: over the refusal
        rule.append((0x06, 0, 0, _ERRNO | error))
        rule.append((0x20, 0, 0, 0))
        self.code += [(0x15, 0, len(rule), self.calls[name]), *rule]
