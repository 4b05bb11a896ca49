"""The program that confines a script, runs it, and returns its output. It uses only the standard library.

It runs in a process of its own, with a specification (JSON) on standard input, and writes one line of JSON and the bytes of a
picture to standard output. How much it confines depends on `mode`:

- `sandbox`: new namespaces for mounts, processes, network and IPC. The script sees Python, an empty folder, and the socket
  of the relay; there is no network. The caller must be root, or the kernel must allow user namespaces.
- `container`: the container has done that.
- `process`: files and processes are those of the host.

In each mode, a filter of system calls (seccomp) allows neither further processes nor sockets other than Unix ones, and limits
hold for memory, processor time and files. Sources: namespaces(7), user_namespaces(7), pivot_root(2), seccomp(2).
"""

import ctypes
import json
import os
import platform
import resource
import select
import signal
import stat
import struct
import sys
import time
from typing import Any

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_CLONE_THREAD = 0x10000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_MS_RELATIME = 1 << 21
_MNT_DETACH = 2
_MOUNT_SETATTR, _AT_RECURSIVE = 442, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_AF_UNIX = 1

_ARCHITECTURES: "dict[str, dict[str, Any]]" = {
    "x86_64": {
        "audit": 0xC000003E, "pivot_root": 155, "clone": 56, "clone3": 435, "socket": 41, "x32": True,
        # fork vfork ptrace process_vm_* unshare setns mount umount2 pivot_root chroot keyctl add_key request_key bpf
        # perf_event_open userfaultfd io_uring_* *_handle_at kexec* *_module memfd_* swap* reboot acct personality syslog
        "denied": (
            57, 58, 101, 310, 311, 272, 308, 165, 166, 155, 161, 250, 248, 249, 321, 298, 323, 304, 303, 246, 320, 175, 313,
            176, 319, 167, 168, 169, 163, 135, 103,
        ),
    },
    "aarch64": {
        "audit": 0xC00000B7, "pivot_root": 41, "clone": 220, "clone3": 435, "socket": 198, "x32": False,
        "denied": (
            117, 270, 271, 97, 268, 40, 39, 41, 51, 219, 217, 218, 280, 241, 282, 265, 264, 104, 294, 105, 273, 106, 279,
            224, 225, 142, 89, 92, 116,
        ),
    },
}  # fmt: skip
_DENIED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 447, 448)
"""io_uring_setup, _enter and _register; open_tree, move_mount, fsopen, fsconfig, fsmount, fspick; pidfd_getfd,
process_madvise, mount_setattr, memfd_secret, process_mrelease."""

_GRACE = 1.0
_BLOCK = 65_536
_DEVICES = ("null", "zero", "random", "urandom")
_SCRIPT, _WORK, _API = "/run/script", "/run/work", "/run/da"


class RefusedError(Exception):
    """The script can't be confined here."""


_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise RefusedError(f"{what}: {os.strerror(number)}")


def main() -> int:
    """Run a script; return the exit code of this program, which is 0 if there is an answer."""
    spec = json.load(sys.stdin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The first process writes the answer only if the second one, which is in the namespaces, can't.
    try:
        _end_with_parent()
        if spec["mode"] == "sandbox":
            return _sandboxed(spec)
        if spec["mode"] == "container":
            _write_script(spec, _SCRIPT)
        answer, picture = _supervised(spec)
    except (RefusedError, OSError) as error:
        _answer({"refused": str(error)}, b"")
        return 0
    _answer(answer, picture)
    return 0


def _answer(answer: "dict[str, Any]", picture: bytes) -> None:
    sys.stdout.buffer.write(json.dumps({**answer, "picture": len(picture)}).encode() + b"\n" + picture)
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


# --- namespaces


def _sandboxed(spec: "dict[str, Any]") -> int:
    """Run the script in new namespaces, by a child that is the first process of its own."""
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        raise RefusedError("namespaces need Linux on x86_64 or aarch64")
    spaces = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    is_root = uid == 0 and _libc.unshare(spaces) == 0
    if not is_root:
        _call(_libc.unshare(spaces | _CLONE_NEWUSER), "the kernel does not allow new namespaces")
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{spec['uid']} {uid} 1"),
            ("gid_map", f"{spec['uid']} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if not os.WIFEXITED(status):
            _answer({"refused": "", "killed": True}, b"")
        return 0
    try:
        _build_root(spec)
        if is_root:
            os.setgroups([])
            os.setresgid(spec["uid"], spec["uid"], spec["uid"])
            os.setresuid(spec["uid"], spec["uid"], spec["uid"])
        _end_with_parent()  # again: the system forgets it when the user changes
        answer, picture = _supervised(spec)
    except (RefusedError, OSError) as error:
        answer, picture = {"refused": str(error)}, b""
    _answer(answer, picture)
    os._exit(0)


def _build_root(spec: "dict[str, Any]") -> None:
    """Make a new root with Python, the script and an empty folder, and leave the old one."""
    root = spec["root"]
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={spec['disk']},mode=755,nr_inodes=20000")
    for path in spec["readable"]:
        if os.path.islink(path):
            os.makedirs(root + os.path.dirname(path), exist_ok=True)
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path):
            _bind(path, root + path)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    _bind(spec["api"], root + _API)
    for folder in (_WORK, "/tmp"):  # noqa: S108 - of the new root
        os.makedirs(root + folder, exist_ok=True)
        os.chmod(root + folder, 0o1777)  # noqa: S103 - only the script sees it
    os.makedirs(f"{root}/etc", exist_ok=True)
    with open(f"{root}/etc/passwd", "w") as file:
        file.write(f"script:x:{spec['uid']}:{spec['uid']}::{_WORK}:/nonexistent\n")
    _write_script(spec, root + _SCRIPT)
    os.chdir(root)
    _call(_libc.syscall(_ARCHITECTURES[platform.machine()]["pivot_root"], b".", b"."), "the root can't be changed")
    _call(_libc.umount2(b".", _MNT_DETACH), "the files of the host can't be hidden")
    os.chdir(_WORK)
    _libc.sethostname(b"script", 6)


def _mount(source: "str | None", target: str, kind: "str | None", flags: int, data: "str | None" = None) -> None:
    made = (None if each is None else each.encode() for each in (source, target, kind))
    _call(
        _libc.mount(*made, ctypes.c_ulong(flags), None if data is None else data.encode()),
        f"{target!r} can't be mounted",
    )


def _bind(source: str, target: str, *, read_only: bool = True) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, None, _MS_BIND | _MS_REC)
    if not read_only:
        return
    attributes = struct.pack("QQQQ", 0x1 | 0x2 | 0x4, 0, 0, 0)  # read-only, no set-user-ID programs, no devices
    if _libc.syscall(_MOUNT_SETATTR, -100, target.encode(), _AT_RECURSIVE, attributes, len(attributes)) < 0:
        # before Linux 5.12; flags that the mount has already must stay in a user namespace
        has = os.statvfs(target).f_flag
        kept = has & 0xFFF & ~_MS_REMOUNT | (_MS_RELATIME if has & 4096 else 0)
        _mount(None, target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | kept)


def _write_script(spec: "dict[str, Any]", folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    for name in ("script", "da_script"):
        with open(f"{folder}/{name}.py", "w", encoding="utf-8") as file:
            file.write(spec[name])


# --- the script


def _supervised(spec: "dict[str, Any]") -> "tuple[dict[str, Any], bytes]":
    """Run the script until it ends or exceeds a limit; return what it said, and its picture."""
    folders = (spec["folder"], spec["work"], spec["api"]) if spec["mode"] == "process" else (_SCRIPT, _WORK, _API)
    reading, writing = zip(os.pipe(), os.pipe(), strict=True)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become_script(spec, folders, writing)
    for descriptor in writing:
        os.close(descriptor)
    heard = {descriptor: bytearray() for descriptor in reading}
    stopped, status = _hear(child, heard, reading[0], began + spec["seconds"], spec["output"])
    _kill_rest(spec["mode"], child)
    if status is None:
        status = os.waitpid(child, 0)[1]
    while True:  # what other processes leave behind; there are none but in the mode `process`
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    out, err = (bytes(heard[descriptor]) for descriptor in reading)
    picture, problem = (b"", None) if stopped else _picture(out, folders[1], spec["picture"])
    code = os.waitstatus_to_exitcode(status)
    answer = {
        "exit_code": code,
        "stopped": stopped,
        "stdout": out[: spec["output"]].decode(errors="replace"),
        "stderr": err.decode(errors="replace"),
        "picture_problem": problem,
        "ms": round((time.monotonic() - began) * 1000),
    }
    return answer, picture


def _hear(
    child: int, heard: "dict[int, bytearray]", out: int, until: float, most: int
) -> "tuple[str | None, int | None]":
    """Read what the script writes; return why it was stopped and its status, if it has one already."""
    waiting = select.poll()
    for descriptor in heard:
        os.set_blocking(descriptor, False)
        waiting.register(descriptor, select.POLLIN)
    while True:
        ready = waiting.poll(50)
        ended, status = os.waitpid(child, os.WNOHANG)
        for descriptor in list(heard):
            _read(descriptor, heard[descriptor], most, keep_last=descriptor != out)
        if len(heard[out]) > most:
            return "output", status if ended else None
        if ended:
            return None, status
        if time.monotonic() > until:
            return "timeout", None
        for descriptor, event in ready:
            if event & ~select.POLLIN:
                waiting.unregister(descriptor)


def _read(descriptor: int, into: bytearray, most: int, *, keep_last: bool) -> None:
    for _ in range(64):  # then look at the clock again
        try:
            block = os.read(descriptor, _BLOCK)
        except BlockingIOError:
            return
        if not block:
            return
        into += block
        if keep_last:
            del into[: max(0, len(into) - most)]
        elif len(into) > most:
            return


def _kill_rest(mode: str, child: int) -> None:
    try:
        if mode == "process":
            os.killpg(child, signal.SIGKILL)
        elif os.getpid() == 1:
            os.kill(-1, signal.SIGKILL)
        else:
            os.kill(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _become_script(spec: "dict[str, Any]", folders: "tuple[str, str, str]", writing: "tuple[int, int]") -> None:
    """Become the script: this process has nothing else to do, and never returns."""
    script, work, api = folders
    try:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(writing[0], 1)
        os.dup2(writing[1], 2)
        os.closerange(3, 1024)
        os.setsid()
        os.nice(10)
        os.chdir(work)
        if spec["mode"] == "process" and os.geteuid() == 0 and spec["uid"] is not None:
            os.setgroups([])
            os.setresgid(spec["uid"], spec["uid"], spec["uid"])
            os.setresuid(spec["uid"], spec["uid"], spec["uid"])
        _limit(spec)
        environ = {
            "HOME": work, "TMPDIR": work, "DA_SOCKET": f"{api}/api.sock", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join((script, *spec["packages"])), "MPLCONFIGDIR": work, "PYTHONSAFEPATH": "1",
            "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        python = spec["python"] or sys.executable
        os.execve(python, [python, "-s", f"{script}/script.py"], environ)  # noqa: S606 - there is no shell
    except BaseException as error:  # noqa: BLE001 - whatever happens, this process must not go on
        os.write(2, f"the script could not be started: {error}\n".encode())
    finally:
        os._exit(127)


def _limit(spec: "dict[str, Any]") -> None:
    for kind, most in (
        (resource.RLIMIT_AS, spec["memory"]),
        (resource.RLIMIT_CPU, int(spec["seconds"]) + 1),
        (resource.RLIMIT_FSIZE, spec["disk"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    if sys.platform == "linux":
        _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "privileges can't be given up")
        _filter_calls()


def _filter_calls() -> None:
    """Forbid new processes, sockets of networks, and what scripts need not do but flaws in a kernel are found in."""
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))
        return
    code: list[tuple[int, int, int, int]] = []

    def load(offset: int) -> None:
        code.append((0x20, 0, 0, offset))

    def answer_if(value: int, answer: int) -> None:
        code.extend([(0x15, 0, 1, value), (0x06, 0, 0, answer)])

    load(4)
    code.extend([(0x15, 1, 0, known["audit"]), (0x06, 0, 0, _KILL)])
    load(0)
    if known["x32"]:
        code.extend([(0x35, 0, 1, 0x40000000), (0x06, 0, 0, _ERRNO | _ENOSYS)])
    answer_if(known["clone3"], _ERRNO | _ENOSYS)  # its flags are in memory, so only `clone` can be judged
    for number in (*known["denied"], *_DENIED_EVERYWHERE):
        answer_if(number, _ERRNO | _EPERM)
    code.append((0x15, 0, 4, known["clone"]))
    load(16)
    code.extend([(0x45, 1, 0, _CLONE_THREAD), (0x06, 0, 0, _ERRNO | _EPERM), (0x06, 0, 0, _ALLOW)])
    code.append((0x15, 0, 3, known["socket"]))
    load(16)
    code.extend([(0x15, 1, 0, _AF_UNIX), (0x06, 0, 0, _ERRNO | _EPERM)])
    code.append((0x06, 0, 0, _ALLOW))
    data = b"".join(struct.pack("HBBI", *each) for each in code)
    buffer = ctypes.create_string_buffer(data, len(data))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    _call(
        _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0),
        "system calls can't be filtered",
    )


# --- its picture


def _picture(out: bytes, work: str, most: int) -> "tuple[bytes, str | None]":
    """Return the picture that the output names, or why it can't be used; no link is followed."""
    path = image_path(out.decode(errors="replace"))
    if path is None:
        return b"", None
    parts = path[len(work) + 1 :].split("/") if path.startswith(work + "/") else path.split("/")
    if (path.startswith("/") and not path.startswith(work + "/")) or ".." in parts or "\0" in path:
        return b"", "it is not in the folder of the script"
    try:
        return _read_picture(work, parts, most)
    except OSError as error:
        return b"", f"it can't be opened: {error.strerror}"
    except ValueError:  # the name can't be encoded
        return b"", "its name is not valid"


def _read_picture(work: str, parts: "list[str]", most: int) -> "tuple[bytes, str | None]":
    folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in [part for part in parts[:-1] if part not in ("", ".")]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            return b"", "it is not a file of its own"
        if about.st_size > most:
            return b"", f"it has {about.st_size:,} bytes, and {most:,} are allowed"
        picture = b""
        while block := os.read(file, _BLOCK):
            picture += block
        return picture[:most], None
    finally:
        os.close(file)


def image_path(out: str) -> "str | None":
    """Return the `image_path` of the output of a script, if it has one."""
    for text in (out, next(iter(out.strip().splitlines()[::-1]), "")):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            continue
        path = said.get("image_path") if isinstance(said, dict) and said.get("notify") is True else None
        return path if isinstance(path, str) and path else None
    return None


if __name__ == "__main__":
    sys.exit(main())
