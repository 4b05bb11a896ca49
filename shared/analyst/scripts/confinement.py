"""Confinement: runs a source as an unprivileged program without a network, and returns what it wrote."""

import json
import os
import select
import shutil
import signal
import site
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

from analyst.errors import AnalystError, SettingsError
from analyst.scripts.relay import Upstream, relayed
from analyst.settings import Settings
from analyst.settings.kinds import bytes_of

LARGEST_PICTURE: Final = 5 << 20
"""Maximum size of a picture, in bytes."""
_DISK: Final = 64 << 20
_START: Final = 30.0
"""Seconds that the start and the end of a confined program may take."""
_NOBODY: Final = 65_534
_BLOCK: Final = 1 << 16
_LABEL: Final = "ai-data-analyst.run"
"""The label of a container that has the id of its run."""
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
_PROGRAM: Final = ("sandbox.py", "kernel.py")
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ssl/certs")
_ABOUT: Final = """import json, os, site, sys
prefix = sys.base_prefix
print(json.dumps({
    "executable": os.path.realpath(sys.executable), "version": "python%d.%d" % sys.version_info[:2], "prefix": prefix,
    "packages": [path for path in sys.path if path.rstrip("/").endswith(("site-packages", "dist-packages"))],
}))"""


Variant = Literal["namespaces", "landlock", "container", "process"]


class ConfinementError(AnalystError):
    """Scripts can't be confined on this host, so none are run."""

    status = 409
    code = "scripts_not_confined"


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended. `stopped` says which limit it exceeded; `picture` is empty without one."""

    confined_by: Variant
    exit_code: int
    stdout: str
    stderr: str
    stopped: Literal["timeout", "output", "files", "threads", "killed"] | None
    picture: bytes
    picture_problem: str | None


@dataclass(frozen=True, slots=True)
class Confinement:
    """How scripts are run, by the settings."""

    settings: Settings

    def run(self, source: str, upstream: Upstream, run_id: str) -> Ended:
        """Run a source and return what it wrote. An earlier attempt at this run ends first, if its worker left it behind.

        Raises:
            ConfinementError: the system can't confine it.
            SettingsError: there is no container runtime, or no Python.
        """
        refused = {}
        for variant in _variants(self.settings.script_runner):
            answer, picture = self._answer(variant, source, upstream, run_id)
            if "refused" not in answer or answer.get("killed"):
                return Ended(
                    variant,
                    int(answer.get("exit_code", -9)),
                    str(answer.get("stdout", "")),
                    str(answer.get("stderr", "")),
                    "killed" if answer.get("killed") else answer.get("stopped"),
                    picture,
                    answer.get("picture_problem"),
                )
            refused[variant] = answer["refused"]
        why = "; ".join(f"{variant}: {reason}" for variant, reason in refused.items())
        raise ConfinementError(
            f"scripts are not run because this host can't confine them ({why}); an administrator can use a kernel with "
            "Landlock, allow user namespaces, or set SCRIPT_RUNNER=container"
        )

    def _answer(
        self, variant: Variant, source: str, upstream: Upstream, run_id: str
    ) -> tuple[Mapping[str, Any], bytes]:
        with _folders(self.settings.scratch_dir) as (root, api), relayed(api, upstream):
            spec = self._spec(variant, source, root, api)
            if variant in ("namespaces", "container"):  # the program connects as another user, and the parent is closed
                api.chmod(0o755)
            command, name = self._command(variant, root, api, run_id)
            if name is not None:
                _end_earlier(command[0], run_id)
            try:
                return _communicate(command, spec, self.settings.script_timeout + _START)
            finally:
                if name is not None:  # it outlives its command if that was killed
                    _remove_containers(command[0], name)

    def _spec(self, mode: Variant, source: str, root: Path, api: Path) -> Mapping[str, Any]:
        settings = self.settings
        uid = settings.script_uid if settings.script_uid is not None or mode == "process" else _NOBODY
        spec: dict[str, Any] = {
            "mode": mode,
            "parent": os.getpid(),
            "script": source,
            "da_script": _text("da_script"),
            "root": str(root),
            "api": str(api),
            "uid": uid,
            "seconds": settings.script_timeout,
            "memory": bytes_of(settings.script_memory),
            "disk": _DISK,
            "output": settings.script_output,
            "picture": LARGEST_PICTURE,
            "python": "",
            "packages": [],
            "readable": [],
        }
        if mode == "container":
            return {**spec, "python": ""}  # that of the image
        interpreter = python_of(str(settings.script_python or sys.executable))
        spec |= {"python": interpreter["executable"], "packages": interpreter["packages"]}
        if mode != "namespaces":
            for name in ("script", "work"):
                (root / name).mkdir()
            for name in ("script", "da_script"):
                (root / "script" / f"{name}.py").write_text(spec[name])
            for path in (root.parent, root, root / "work", root / "script"):
                path.chmod(0o777 if path.name == "work" else 0o755)
            spec |= {"folder": str(root / "script"), "work": str(root / "work")}
        library = Path(interpreter["prefix"]) / "lib"
        python = [
            interpreter["executable"],
            str(library / interpreter["version"]),
            *map(str, library.glob("libpython*")),
        ]
        return {**spec, "readable": _outermost([*_LIBRARIES, *python, *interpreter["packages"]])}

    def _command(self, variant: Variant, root: Path, api: Path, run_id: str) -> tuple[list[str], str | None]:
        """Return the command of the program, and the name of the container that it starts."""
        if variant != "container":
            return [sys.executable, "-I", "-S", str(files("analyst.scripts") / "sandbox.py")], None
        runtime = next((path for path in map(shutil.which, ("docker", "podman")) if path), None)
        if runtime is None:
            raise SettingsError(
                "scripts can't run in containers because there is neither docker nor podman on this host"
            )
        name = f"da-{root.parent.name}"
        for each in _PROGRAM:
            shutil.copy(str(files("analyst.scripts") / each), api / each)
        memory = bytes_of(self.settings.script_memory) + _DISK
        # The working folder of the container is not that of the script: Docker would make that one with the modes of root.
        return [
            runtime, "run", "--rm", "--interactive", "--name", name, "--label", f"{_LABEL}={run_id}",
            "--network", "none", "--read-only",
            "--tmpfs", f"/run/work:rw,nosuid,nodev,size={_DISK},mode=1777", "--tmpfs", "/run/script:rw,nosuid,nodev,size=2m,mode=1777",
            "--memory", str(memory), "--memory-swap", str(memory), "--cpus", "1", "--pids-limit", "64",
            "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{_NOBODY}:{_NOBODY}",
            "--volume", f"{api}:/run/da:ro", "--entrypoint", "python3", "--workdir", "/",
            self.settings.script_image, "-I", "/run/da/sandbox.py",
        ], name  # fmt: skip


def _end_earlier(runtime: str, run_id: str) -> None:
    """End the containers of earlier attempts at a run: a container does not end with the worker that started it.

    They are found by a label. A name could be in use by the next attempt when a worker that was only slow cleans up.
    """
    which = f"label={_LABEL}={run_id}"
    with suppress(OSError, subprocess.SubprocessError):  # if the runtime does not answer, the next command says so
        listed = subprocess.run(
            [runtime, "ps", "--all", "--quiet", "--filter", which],
            capture_output=True, timeout=_START, check=True, env=_ENVIRONMENT,
        )  # fmt: skip
        if found := listed.stdout.decode().split():
            _remove_containers(runtime, *found)


def _remove_containers(runtime: str, *names: str) -> None:
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [runtime, "rm", "--force", *names], capture_output=True, timeout=_START, check=False, env=_ENVIRONMENT
        )


def _variants(runner: str) -> tuple[Variant, ...]:
    """Return the ways to confine that a value of `SCRIPT_RUNNER` stands for; the first that the host allows is taken."""
    match runner:
        case "namespaces" | "landlock" | "container" | "process":
            return (runner,)
        case "sandbox":
            return ("namespaces", "landlock")
    return ()


@contextmanager
def _folders(scratch: Path | None) -> Iterator[tuple[Path, Path]]:
    """Make a folder for the new root, and one for the socket."""
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    # short, because the path of a socket has 107 bytes at most
    folder = Path(tempfile.mkdtemp(prefix="script-", dir=scratch))
    try:
        (folder / "root").mkdir()
        # Whoever opens the socket acts with the rights of the owner of the script, and the parent may become readable.
        (folder / "api").mkdir(mode=0o700)
        yield folder / "root", folder / "api"
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder that a script has written to: as deep as it likes, and closed by its modes."""
    numbers = count()
    with suppress(OSError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            while names := os.listdir(top):  # noqa: PTH208 - it is a descriptor
                for name in names:
                    _flatten(top, name, numbers)
        finally:
            os.close(top)
        folder.rmdir()


def _flatten(top: int, name: str, numbers: Iterator[int]) -> None:
    """Delete a file; or a folder, whose folders move to the top first, so that neither depth nor length of a path matters."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    try:
        for inner in os.listdir(folder):  # noqa: PTH208 - it is a descriptor
            if stat.S_ISDIR(os.lstat(inner, dir_fd=folder).st_mode):
                os.chmod(inner, 0o700, dir_fd=folder)  # moving a folder changes its `..`
                os.rename(inner, f"removed.{next(numbers)}", src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


@cache
def python_of(executable: str) -> Mapping[str, Any]:
    """Return where a Python and its packages are.

    Raises:
        SettingsError: it can't be run.
    """
    if executable == sys.executable:
        packages = [path for path in (*site.getsitepackages(), *sys.path) if path.rstrip("/").endswith("-packages")]
        return {
            "executable": os.path.realpath(executable),
            "version": f"python{sys.version_info[0]}.{sys.version_info[1]}",
            "prefix": sys.base_prefix,
            "packages": list(dict.fromkeys(packages)),
        }
    try:
        done = subprocess.run(
            [executable, "-I", "-c", _ABOUT], capture_output=True, timeout=_START, check=True, env=_ENVIRONMENT
        )
        found: Mapping[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SettingsError(
            f"SCRIPT_PYTHON {executable!r} can't be run: {type(error).__name__}; set the path of a Python"
        ) from None
    return found


@cache
def _text(module: str) -> str:
    return (files("analyst.scripts") / f"{module}.py").read_text()


def _outermost(paths: Sequence[str]) -> list[str]:
    """Drop paths that are below another one, unless that is a link."""
    kept = [path.rstrip("/") for path in dict.fromkeys(paths)]
    roots = [path for path in kept if not os.path.islink(path)]  # noqa: PTH114
    return [path for path in kept if not any(path != root and path.startswith(root + "/") for root in roots)]


def _communicate(command: Sequence[str], spec: Mapping[str, Any], seconds: float) -> tuple[Mapping[str, Any], bytes]:
    """Run a program with a specification on its input; return its answer. After some time, it is killed with its group."""
    most = LARGEST_PICTURE + 14 * int(spec["output"]) + _BLOCK  # each character of JSON may be escaped
    program = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if spec["mode"] == "container" else subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )
    assert program.stdin is not None  # noqa: S101 - it is a pipe
    assert program.stdout is not None  # noqa: S101 - it is a pipe
    heard, errors, until = bytearray(), bytearray(), time.monotonic() + seconds
    try:
        with suppress(BrokenPipeError):
            program.stdin.write(json.dumps(spec).encode())
            program.stdin.close()
        outputs = {pipe.fileno(): into for pipe, into in ((program.stdout, heard), (program.stderr, errors)) if pipe}
        poll = select.poll()
        for descriptor in outputs:
            poll.register(descriptor, select.POLLIN)
        while outputs and len(heard) <= most:
            left = until - time.monotonic()
            ready = poll.poll(max(0.0, left) * 1000)
            if not ready:
                return {"killed": True}, b""
            for descriptor, _event in ready:
                block = os.read(descriptor, _BLOCK)
                outputs[descriptor] += block[: max(0, 4 * most - len(outputs[descriptor]))]
                if not block:
                    poll.unregister(descriptor)
                    del outputs[descriptor]
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        for pipe in (program.stdout, program.stderr):
            if pipe is not None:
                pipe.close()
    return _answer_of(bytes(heard), bytes(errors))


def _answer_of(heard: bytes, errors: bytes) -> tuple[Mapping[str, Any], bytes]:
    line, _, rest = heard.partition(b"\n")
    try:
        answer = json.loads(line)
        picture = rest[: int(answer["picture"])]
        is_whole = len(picture) == int(answer["picture"])
    except (ValueError, KeyError, TypeError):
        lines = errors.decode(errors="replace").strip().splitlines()[:1]
        return ({"refused": lines[0][:300]} if lines else {"killed": True}), b""
    return (answer, picture) if is_whole else ({"killed": True}, b"")
