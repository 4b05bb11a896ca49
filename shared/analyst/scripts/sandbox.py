"""The program that confines a script, runs it, and returns its output. It uses only the standard library.

It runs in a process of its own, with a specification (JSON) on standard input, and writes one line of JSON and the bytes of a
picture to standard output. How much it confines depends on `mode`:

- `namespaces`: new namespaces for mounts, processes, network and IPC. The script sees Python and an empty folder; there is no
  network. The caller must be root, or the kernel must allow user namespaces.
- `landlock`: Landlock limits the script to Python and an empty folder of the host, and the filter of system calls keeps it from
  the host's processes. It needs no privileges.
- `container`: the container has done that.
- `process`: files and processes are those of the host.

In each mode, a filter of system calls (seccomp) allows neither further processes nor sockets, and limits hold for memory,
processor time and files (`kernel`). The way to the relay is a channel, on which the script is sent a connection each time that it
asks for one. Sources: namespaces(7), user_namespaces(7), pivot_root(2), unix(7), proc(5).
"""

import ctypes
import fcntl
import json
import os
import platform
import select
import signal
import socket
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyst.scripts import kernel
else:  # this file is run as a program, without the packages
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import kernel

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_MS_RELATIME = 1 << 21
_MNT_DETACH = 2
_MOUNT_SETATTR, _AT_RECURSIVE = 442, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_BLOCK = 65_536
_DEVICES = ("null", "zero", "random", "urandom")
_SCRIPT, _WORK, _API = "/run/script", "/run/work", "/run/da"


_CHANNEL, _STATUS = 3, 4
"""Descriptors of the process that becomes the script; the second one is closed when it does."""
_MOST_CONNECTIONS = 2000
_LOOKED, _COUNTED = 0.05, 0.25
"""Seconds between two looks at a script whose folder is not a file system of its own, and between two counts of its files."""
_ENDING = 2.0
"""Seconds that a process may take to end, in which the system does not tell what it did."""
_MOST_FILES = 20_000
_MOST_WRITTEN = 1 << 30
"""Bytes that such a script may write in total: files that it deletes while they are open are not seen in its folder."""
_MOST_THREADS = 128
_ON_HOST = ("landlock", "process")
"""Modes in which the folder is one of the host."""


def main() -> int:
    """Run a script; return the exit code of this program, which is 0 if there is an answer."""
    spec = json.load(sys.stdin)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The first process writes the answer only if the second one, which is in the namespaces, can't.
    try:
        _end_with_parent()
        if spec["mode"] != "container" and os.getppid() != spec["parent"]:  # it ended before
            return 1
        if spec["mode"] == "namespaces":
            return _in_namespaces(spec)
        if spec["mode"] == "container":
            _write_script(spec, _SCRIPT)
        answer, picture = _supervised(spec)
    except (kernel.RefusedError, OSError) as error:
        _answer({"refused": str(error)}, b"")
        return 0
    _answer(answer, picture)
    return 0


def _answer(answer: "dict[str, Any]", picture: bytes) -> None:
    sys.stdout.buffer.write(json.dumps({**answer, "picture": len(picture)}).encode() + b"\n" + picture)
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        kernel.libc.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


# --- namespaces


def _in_namespaces(spec: "dict[str, Any]") -> int:
    """Run the script in new namespaces, by a child that is the first process of its own."""
    if sys.platform != "linux" or platform.machine() not in kernel.AUDIT:
        raise kernel.RefusedError("namespaces need Linux on x86_64 or aarch64")
    spaces = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    is_root = uid == 0 and kernel.libc.unshare(spaces) == 0
    if not is_root:
        kernel.call(kernel.libc.unshare(spaces | _CLONE_NEWUSER), "the kernel does not allow new namespaces")
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
    except (kernel.RefusedError, OSError) as error:
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
    kernel.call(kernel.libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "the root can't be changed")
    kernel.call(kernel.libc.umount2(b".", _MNT_DETACH), "the files of the host can't be hidden")
    os.chdir(_WORK)
    kernel.libc.sethostname(b"script", 6)


def _mount(source: "str | None", target: str, kind: "str | None", flags: int, data: "str | None" = None) -> None:
    made = (None if each is None else each.encode() for each in (source, target, kind))
    kernel.call(
        kernel.libc.mount(*made, ctypes.c_ulong(flags), None if data is None else data.encode()),
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
    if kernel.libc.syscall(_MOUNT_SETATTR, -100, target.encode(), _AT_RECURSIVE, attributes, len(attributes)) < 0:
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
    on_host = spec["mode"] in _ON_HOST
    script, work, api = (spec["folder"], spec["work"], spec["api"]) if on_host else (_SCRIPT, _WORK, _API)
    if spec["mode"] == "landlock" and not kernel.landlock_abi():
        raise kernel.RefusedError("the kernel does not offer Landlock")
    reading, writing = zip(os.pipe(), os.pipe())  # noqa: B905 - Python 3.9 has no `strict`
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    confined, status_end = os.pipe()
    began, parent = time.monotonic(), os.getpid()
    child = os.fork()
    if child == 0:
        _become_script(spec, (script, work), (*writing, theirs.fileno(), status_end), parent)
    for descriptor in (*writing, status_end):
        os.close(descriptor)
    theirs.close()
    if refused := _all_of(confined):
        os.waitpid(child, 0)
        raise kernel.RefusedError(refused.decode(errors="replace"))
    heard = {descriptor: bytearray() for descriptor in reading}
    watch = _Watch(child, work, spec["disk"]) if on_host else None
    with ours:
        run = _Run(child, heard, reading[0], _Connections(ours, f"{api}/api.sock"), watch)
        stopped, status = run.heard_until(began + spec["seconds"], spec["output"])
    _kill_rest(spec["mode"], child, is_over=status is not None)
    if status is None:
        status = os.waitpid(child, 0)[1]
    while True:  # what other processes leave behind; there are none but in the mode `process`
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    out, err = (bytes(heard[descriptor]) for descriptor in reading)
    picture, problem = (b"", None) if stopped else _picture(out, work, spec["picture"])
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


def _all_of(pipe: int) -> bytes:
    heard = b""
    while block := os.read(pipe, _BLOCK):
        heard += block
    os.close(pipe)
    return heard


class _Run:
    """A script that runs: its process, what it writes, and what else has to be done for it meanwhile."""

    def __init__(
        self, child: int, heard: "dict[int, bytearray]", out: int, connections: "_Connections", watch: "_Watch | None"
    ) -> None:
        self.child, self.heard, self.out, self.connections, self.watch = child, heard, out, connections, watch

    def heard_until(self, until: float, most: int) -> "tuple[str | None, int | None]":
        """Read what the script writes; return why it was stopped and its status, if it has one already."""
        waiting = select.poll()
        for descriptor in self.heard:
            os.set_blocking(descriptor, False)
            waiting.register(descriptor, select.POLLIN)
        waiting.register(self.connections.channel, select.POLLIN)
        while True:
            ready = waiting.poll(50)
            ended, status = os.waitpid(self.child, os.WNOHANG)
            for descriptor in list(self.heard):
                _read(descriptor, self.heard[descriptor], most, keep_last=descriptor != self.out)
            if len(self.heard[self.out]) > most:
                return "output", status if ended else None
            if ended:
                return None, status
            if time.monotonic() > until:
                return "timeout", None
            exceeded = None if self.watch is None else self.watch.exceeded()
            if exceeded is not None:
                return exceeded, None
            for descriptor, event in ready:
                is_over = bool(event & ~select.POLLIN)
                if is_over or (descriptor not in self.heard and not self.connections.serve()):
                    waiting.unregister(descriptor)


class _Connections:
    """Sends the script a connection to the relay for each byte that it sends, because it can't connect itself."""

    def __init__(self, channel: "socket.socket", relay: str) -> None:
        channel.setblocking(False)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # about ten wait until they are received
        self.channel, self.relay, self.left = channel, relay, _MOST_CONNECTIONS
        self.writable = select.poll()
        self.writable.register(channel, select.POLLOUT)

    def serve(self) -> bool:
        """Answer one request; return whether there may be more."""
        if not self.writable.poll(0):
            time.sleep(0.005)
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.setblocking(False)
                connection.connect(self.relay)
                connection.setblocking(True)
                if self.channel.recv(1) and self.left > 0:
                    self.left -= 1
                    socket.send_fds(self.channel, [b"+"], [connection.fileno()])
                    return True
        except BlockingIOError:  # the relay is busy: later
            time.sleep(0.005)
            return True
        except OSError:
            pass
        self.channel.close()  # who waits for a connection is told
        return False


class _Watch:
    """Looks after limits that the system can't enforce where the folder is one of the host."""

    def __init__(self, child: int, work: str, most: int) -> None:
        self.proc, self.work, self.most = f"/proc/{child}", work, most
        self.next_look, self.next_count, self.seen = 0.0, 0.0, time.monotonic()
        try:
            self.has_proc = bool(_lines(f"{self.proc}/io"))
        except OSError:  # the kernel does not count, or the script runs as another user
            self.has_proc = False

    def exceeded(self) -> "str | None":
        """Return which limit the script exceeds; `None` if none."""
        now = time.monotonic()
        if now < self.next_look:
            return None
        self.next_look = now + _LOOKED
        try:
            counted = self._counted() if self.has_proc else None
            self.seen = now
        except (OSError, ValueError, KeyError):  # it ends; if it does not, it hides
            counted = "files" if now > self.seen + _ENDING else None
        if counted is not None or now < self.next_count:
            return counted
        self.next_count = now + _COUNTED
        try:
            return "files" if self._is_full() else None
        except OSError:  # only a script that hides something causes this
            return "files"

    def _counted(self) -> "str | None":
        numbers = dict(line.split(":", 1) for line in _lines(f"{self.proc}/io"))
        if max(int(numbers["wchar"]), int(numbers["write_bytes"])) > _MOST_WRITTEN:
            return "files"
        threads = next((line for line in _lines(f"{self.proc}/status") if line.startswith("Threads:")), "")
        return "threads" if int(threads.partition(":")[2] or 0) > _MOST_THREADS else None

    def _is_full(self) -> bool:
        size, count, folders = 0, 0, [self.work]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        count += 1
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            size += _size(entry.path)
                        if count > _MOST_FILES or size > self.most:
                            return True
            except FileNotFoundError:  # deleted meanwhile
                continue
        return False


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def _lines(path: str) -> "list[str]":
    with open(path) as file:
        return file.read().splitlines()


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


def _kill_rest(mode: str, child: int, *, is_over: bool) -> None:
    try:
        if not is_over:
            os.kill(child, signal.SIGKILL)
        if mode in _ON_HOST:
            os.killpg(child, signal.SIGKILL)
        elif os.getpid() == 1:
            os.kill(-1, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _change_user(spec: "dict[str, Any]", script: str) -> None:
    if os.geteuid() != 0 or spec["uid"] is None:
        return
    os.setgroups([])
    os.setresgid(spec["uid"], spec["uid"], spec["uid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    for path, setting in ((spec["python"], "SCRIPT_PYTHON"), (f"{script}/script.py", "SCRATCH_DIR")):
        if not os.access(path, os.R_OK):
            raise kernel.RefusedError(f"the user {spec['uid']} can't read {path!r}; set {setting} or SCRIPT_UID")


def _become_script(
    spec: "dict[str, Any]", folders: "tuple[str, str]", descriptors: "tuple[int, ...]", parent: int
) -> None:
    """Become the script: this process has nothing else to do, and never returns."""
    script, work = folders
    on_host = spec["mode"] in _ON_HOST
    try:
        # Move what is needed out of the way first, then to its place, and close all else.
        moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64) for descriptor in descriptors]
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for place, descriptor in enumerate(moved, 1):
            os.dup2(descriptor, place)
        os.set_inheritable(_STATUS, False)
        os.closerange(_STATUS + 1, max(1024, *(descriptor + 1 for descriptor in moved)))
        os.setsid()
        os.nice(10)
        os.chdir(work)
        if on_host:
            _change_user(spec, script)
            _end_with_parent()
            if os.getppid() != parent:
                os._exit(127)
        if spec["mode"] == "landlock":
            kernel.give_up_privileges()
            kernel.confine_files([*spec["readable"], script], work)
        kernel.limit(spec["memory"], int(spec["seconds"]), spec["disk"], on_host=on_host)
    except BaseException as error:  # noqa: BLE001 - whatever happens, this process must not continue
        os.write(_STATUS, (str(error) or type(error).__name__).encode())
        os._exit(127)
    try:
        environ = {
            "HOME": work, "TMPDIR": work, "DA_CHANNEL": str(_CHANNEL), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join((script, *spec["packages"])), "MPLCONFIGDIR": work, "PYTHONSAFEPATH": "1",
            "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1", "USER": "script",
            "MALLOC_ARENA_MAX": "2",  # each takes 64 MB of the address space, which is what is limited
        }  # fmt: skip
        python = spec["python"] or sys.executable
        os.execve(python, [python, "-s", f"{script}/script.py"], environ)  # noqa: S606 - there is no shell
    except BaseException as error:  # noqa: BLE001 - whatever happens, this process must not continue
        os.write(2, f"the script could not be started: {error}\n".encode())
    finally:
        os._exit(127)


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
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return b"", "it is not a file of its own"
        if status.st_size > most:
            return b"", f"it has {status.st_size:,} bytes, and {most:,} are allowed"
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
            document = json.loads(text)
        except (ValueError, RecursionError):
            continue
        path = document.get("image_path") if isinstance(document, dict) and document.get("notify") is True else None
        return path if isinstance(path, str) and path else None
    return None


if __name__ == "__main__":
    sys.exit(main())
