"""What a script can't do: read what its owner may not, reach a network or the host, outlive its run, or exhaust the host."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from analyst.auth import script_tokens
from analyst.http_client import HttpClient
from analyst.runs import new_run_id
from analyst.scripts import kernel
from analyst.scripts.confinement import Confinement
from analyst.scripts.relay import Upstream
from analyst.settings import Settings
from tests.integration.scripts.conftest import PNG, Stage, staged
from tests.integration.world import SERVICE_TOKEN, Begun

TRY = """
import os, socket, sys
def attempt(what):
    try:
        print("GOT", what())
    except BaseException as error:
        print("NO", type(error).__name__, error)
"""


VARIANTS = (
    "namespaces",
    pytest.param("landlock", marks=pytest.mark.skipif(not kernel.landlock_abi(), reason="the kernel has no Landlock")),
)


@pytest.fixture(scope="module")
def reachable() -> Iterator[dict[str, str]]:
    """Settings with which the user `nobody` reaches Python and the folders of scripts, if the tests run as root."""
    if os.geteuid():
        yield {}
        return
    folder = tempfile.mkdtemp(dir="/tmp")
    Path(folder).chmod(0o755)
    yield {"SCRATCH_DIR": folder, "SCRIPT_PYTHON": "/usr/bin/python3"}
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=VARIANTS)
def stage(
    request: pytest.FixtureRequest,
    begun: Begun,
    tmp_path_factory: pytest.TempPathFactory,
    reachable: dict[str, str],
) -> Iterator[Stage]:
    variant = str(request.param)
    more = reachable if variant == "landlock" else {}
    with staged(begun, tmp_path_factory.mktemp("stage"), SCRIPT_RUNNER=variant, **more) as made:
        yield made


def is_on_host(stage: Stage) -> bool:
    """Return whether the script sees the paths of the host, though it can't open them."""
    return stage.town.world.process.settings.script_runner == "landlock"


def attempts(stage: Stage, token: str, *lines: str) -> list[str]:
    """Return what became of each attempt."""
    source = TRY + "\n".join(f"attempt(lambda: {line})" for line in lines) + "\nprint('{}')\n"
    found = stage.output(token, source).splitlines()
    assert len([line for line in found if line.startswith(("GOT", "NO"))]) == len(lines), found
    return [line for line in found if line.startswith("GOT")]


def test_the_host_is_hidden(stage: Stage, ann: tuple[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    bucket = stage.town.world.process.settings.data_url.removeprefix("file://")
    paths = [
        str(secret),
        bucket,
        f"{bucket}/state/current.json",
        "/etc/shadow",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/proc/1/environ",
    ]
    paths += [
        "/proc/self/environ",
        "/var/run/docker.sock",
        "/run/secrets",
        f"{Path.cwd()}/README.md",
        "/root/.ssh",
        "/sys",
        "/dev/mem",
        "/home",
        "/etc/passwd-",
    ]
    lines = [f"open({path!r}).read()" for path in paths]
    lines += [f"os.listdir({path!r})" for path in (*paths, "/", "/tmp", "/run", "/var", str(tmp_path), "..", "../..")]
    if not is_on_host(stage):
        lines = [line for line in lines if line not in ("os.listdir('/')", "os.listdir('/tmp')", "os.listdir('/run')")]
        lines = [line for line in lines if line not in ("os.listdir('..')", "os.listdir('../..')")]
        lines += [f"os.stat({path!r})" for path in paths]
    assert attempts(stage, ann[1], *lines) == []
    names = stage.output(ann[1], "import os\nprint(sorted(os.environ), os.getuid(), os.listdir())\nprint('{}')")
    assert "SERVICE_TOKEN" not in names
    assert "TOKEN" not in names
    assert " 0 " not in names
    assert names.endswith(" []\n{}\n")
    if not is_on_host(stage):
        assert "['da', 'script', 'work']" in stage.output(
            ann[1], "import os\nprint(sorted(os.listdir('/run')))\nprint('{}')"
        )


def test_the_host_is_not_changed(stage: Stage, ann: tuple[str, str]) -> None:
    """What is judged neither by Landlock nor by a namespace of its own: files by their path, and other processes."""
    shared = Path(tempfile.mkdtemp(dir="/tmp"))
    shared.chmod(0o777)
    file = shared / "secret.txt"
    file.write_text("secret")
    file.chmod(0o666)
    before = file.stat()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hidden, socket.socket(socket.AF_UNIX) as listening:
        hidden.bind(f"\0{shared.name}")
        listening.bind(str(shared / "socket"))
        listening.listen()
        (shared / "socket").chmod(0o777)
        hidden.setblocking(False)
        path, pid = str(file), os.getpid()
        lines = [
            f"open({path!r}).read()",
            f"open({path!r}, 'w')",
            f"os.open({path!r}, 3)",
            f"os.open({path!r}, os.O_RDONLY | os.O_TRUNC)",
            f"os.truncate({path!r}, 0)",
            f"os.chmod({path!r}, 0)",
            f"os.utime({path!r})",
            f"os.setxattr({path!r}, 'user.x', b'y')",
            f"os.listxattr({path!r})",
            f"os.unlink({path!r})",
            f"os.link({path!r}, 'x')",
            f"os.rename({path!r}, 'x')",
            f"open({str(shared / 'new')!r}, 'w')",
            f"os.mkdir({str(shared / 'new')!r})",
            f"os.symlink('x', {str(shared / 'new')!r})",
            f"os.symlink({path!r}, 'link') or open('link').read()",
            f"os.kill({pid}, 0)",
            f"os.kill({pid}, 18)",
            "os.killpg(1, 0)",
            f"os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
            f"os.sched_setaffinity({pid}, [0])",
            f"__import__('resource').prlimit({pid}, 7)",
            f"os.pidfd_open({pid})",
            f"os.readlink('/proc/{pid}/exe')",
            f"open('/proc/{pid}/mem', 'rb')",
            f"open('/proc/{pid}/cmdline', 'rb').read()",
            f"socket.socket(socket.AF_UNIX).connect({str(shared / 'socket')!r})",
            f"socket.socketpair()[0].connect({str(shared / 'socket')!r})",
            f"socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', '\\0{shared.name}')",
            f"socket.socketpair(type=socket.SOCK_RAW)[0].sendto(b'x', '\\0{shared.name}')",
            "os.execv('/bin/sh', ['sh'])",
        ]
        if is_on_host(stage):
            lines += [
                "open('../script/script.py', 'w')",
                "__import__('fcntl').fcntl(0, 8, 1)",
                "__import__('fcntl').fcntl(0, 10, 9)",
                "__import__('fcntl').ioctl(0, 0x8901, b'\\1\\0\\0\\0')",
                "os.setpriority(os.PRIO_USER, 0, 19)",
                "os.chmod('.', 0)",
            ]
        try:
            assert attempts(stage, ann[1], *lines) == []
            with pytest.raises(BlockingIOError):
                hidden.recv(1)
        finally:
            after = file.stat()
            shutil.rmtree(shared)
    assert (before.st_mode, before.st_mtime_ns, before.st_size) == (after.st_mode, after.st_mtime_ns, after.st_size)


def test_the_filter_blocks_system_calls_that_reach_the_host(stage: Stage, ann: tuple[str, str]) -> None:
    if not is_on_host(stage) or os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86_64, and namespaces need fewer")
    calls = {
        "inotify_init1": (294,),
        "fanotify_init": (300,),
        "shmget": (29,),
        "msgget": (68,),
        "mq_open": (240,),
        "tkill": (200, 1, 9),
        "prctl(PDEATHSIG)": (157, 1, 0),
        "prctl(DUMPABLE)": (157, 4, 0),
        "prctl(PTRACER)": (157, 0x59616D61, 2**32 - 1),
        "fchmodat2": (452, -100, 0, 0),
        "openat2": (437, -100, 0, 0),
        "listmount": (458,),
        "file_setattr": (469,),
        "a later one": (999,),
        "kill, upper bits": (62, 2**32 + 1, 9),
    }
    source = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n" + "\n".join(
        f"print({name!r}, libc.syscall(*map(ctypes.c_long, {each!r})), ctypes.get_errno())"
        for name, each in calls.items()
    )
    output = stage.output(ann[1], f"{source}\nprint('{{}}')").splitlines()
    assert len(output) == len(calls) + 1
    for name, line in zip(calls, output, strict=False):
        assert line in (f"{name} -1 1", f"{name} -1 38"), line


def test_a_run_records_how_it_was_confined(stage: Stage, ann: tuple[str, str]) -> None:
    script = stage.push(ann[1], "print('{}')")
    assert stage.run(script)["status"] == "ok"
    variant = stage.town.world.process.settings.script_runner
    assert stage.last(script, ann[1])["confined_by"] == variant
    for path in ("/api/admin/config", "/api/admin/health"):
        found = stage.town.world.ask("GET", path)["scripts"]
        assert (found["confined_by"], found["runner"], found["problem"]) == (variant, variant, None)


def test_there_is_no_network(stage: Stage, ann: tuple[str, str]) -> None:
    port = stage.url.rpartition(":")[2]
    lines = [
        f"socket.create_connection(('127.0.0.1', {port}), 2)",
        "socket.create_connection(('169.254.169.254', 80), 2)",
        "socket.create_connection(('::1', 80), 2)",
        "socket.getaddrinfo('metadata.google.internal', 80)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(40, socket.SOCK_STREAM)",
        "socket.socket(38, socket.SOCK_SEQPACKET)",
        "__import__('urllib.request').request.urlopen('http://169.254.169.254/')",
        "__import__('duckdb').sql(\"from read_csv('http://169.254.169.254/x.csv')\")",
    ]
    assert attempts(stage, ann[1], *lines) == []


def test_a_script_can_start_no_process_and_gain_no_privilege(stage: Stage, ann: tuple[str, str]) -> None:
    lines = [
        "os.fork()",
        "__import__('subprocess').run(['/bin/sh', '-c', 'id'])",
        "__import__('subprocess').run([sys.executable, '-c', ''])",
        "os.setuid(0)",
        "os.setgroups([0])",
        "os.chroot('/tmp')",
        "os.mknod('/tmp/disk', 0o60600, 0x801)",
        "os.kill(2**22 - 1, 9)",
        "open('/run/script/script.py', 'w')",
        "open('/usr/lib/x', 'w')",
        "__import__('multiprocessing').Process(target=print).start()",
    ]
    assert attempts(stage, ann[1], *lines) == []
    calls = {
        "unshare": 272,
        "mount": 165,
        "ptrace": 101,
        "bpf": 321,
        "io_uring_setup": 425,
        "memfd_create": 319,
        "keyctl": 250,
    }
    if os.uname().machine == "x86_64":
        source = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n" + "\n".join(
            f"print({name!r}, libc.syscall({number}, 0, 0, 0, 0, 0), ctypes.get_errno())"
            for name, number in calls.items()
        )
        output = stage.output(
            ann[1], source + "\nprint(libc.syscall(0x40000000 + 41, 2, 1, 0), ctypes.get_errno())\nprint('{}')"
        )
        for name in calls:
            assert f"{name} -1 1" in output
        assert "-1 38" in output


def test_the_api_returns_what_the_owner_may_read(stage: Stage, ann: tuple[str, str]) -> None:
    world = stage.town.world
    source = """
        from da_script import ApiError, get, query, request
        def attempt(method, path, body=None):
            try:
                print("GOT", method, path, request(method, path, body))
            except ApiError as error:
                print("NO", error.status, method, path)
        print(len(query("select * from shop.orders")))
        attempt("POST", "/api/query", {"sql": "select * from shop.people"})
        attempt("POST", "/api/query", {"sql": "select * from read_csv('/etc/passwd')"})
        attempt("POST", "/api/query", {"sql": "select * from shop.orders", "full_result": True})
        attempt("GET", "/api/catalog/tables/shop/people")
        for path in ("/api/users", "/api/manifest", "/api/data/shop/orders/url", "/api/admin/config", "/api/audit", "/api/admin/tasks"):
            attempt("GET", path)
        for path in ("/auth/tokens", "/healthz", "/docs", "/account.json", "//evil.example/api/x", "http://evil.example/api/", "/api/../auth/tokens"):
            attempt("GET", path)
        attempt("POST", "/auth/tokens", {"name": "x"})
        attempt("POST", "/api/scripts/deploy", {"name": "evil", "source": "x = 1"})
        attempt("POST", "/api/access-requests", {"table": "shop.people"})
        attempt("PUT", "/api/notifications/preferences", {"watch": []})
        attempt("POST", "/api/notifications/read", {})
        attempt("POST", "/api/notifications/test", {"channel": "page"})
        attempt("POST", "/api/memory", {"title": "x", "content": "x", "category": "debugging"})
        attempt("POST", "/api/memory/notes", {"name": "x", "text": "x"})
        attempt("POST", "/api/telegram/link", {})
        attempt("POST", "/api/scripts/run", {"source": "x = 1"})
        attempt("POST", "/api/sync/table-subscriptions", {"tables": {}})
        attempt("PUT", "/api/memory/files/x.png", {})
        attempt("DELETE", "/api/scripts/evil")
        print("{}")
    """
    output = stage.output(ann[1], textwrap.dedent(source))
    assert output.startswith("1\n")
    assert [line for line in output.splitlines() if line.startswith("GOT")] == []
    assert output.count("NO ") == 30, output
    assert "NO 403 DELETE" in output
    assert world.ask("GET", "/api/scripts", token=ann[1])["count"] > 0
    assert "evil" not in str(world.ask("GET", "/api/scripts", token=ann[1]))
    events = world.ask("GET", "/api/admin/audit?action=query&limit=3")["events"]
    assert {(event["caller"], event["user_id"]) for event in events} == {("script", ann[0])}


def test_the_script_never_holds_its_token(stage: Stage, ann: tuple[str, str]) -> None:
    source = """
        import os, socket
        channel = socket.socket(fileno=int(os.environ["DA_CHANNEL"]))
        def connection():
            channel.send(b"?")
            return socket.socket(fileno=socket.recv_fds(channel, 1, 1)[1][0])
        s = connection()
        s.sendall(b"GET /api/me HTTP/1.1\\r\\nAuthorization: Bearer x\\r\\n\\r\\n")
        answer = b""
        while block := s.recv(9999): answer += block
        print(b"ann@example.com" in answer, b"eyJ" in answer, answer.count(b"HTTP/"))
        s = connection()
        s.sendall(b"GET /api/me HTTP/1.1\\r\\nX: y\\rAuthorization: z\\r\\nContent-Length: -5\\r\\n\\r\\n" + b"GET /auth/tokens HTTP/1.1\\r\\n\\r\\n")
        print(s.recv(20))
        print("{}")
    """
    output = stage.output(ann[1], textwrap.dedent(source))
    assert output.startswith("True False 1\nb'HTTP/1.0 413")


def test_the_token_can_only_read_and_ends_with_its_owner(stage: Stage) -> None:
    world = stage.town.world
    person, token = stage.town.person("tina", role="admin")
    process = world.process
    now = stage.town.clock[0]
    run_token = script_tokens.issue(process.keys, person, new_run_id(now), now, timedelta(minutes=1))
    assert world.ask("GET", "/api/me", token=run_token)["email"] == "tina@example.com"
    for method, path, body in (
        ("POST", "/auth/tokens", {"name": "x"}),
        ("GET", "/auth/tokens", None),
        ("GET", "/api/users", None),
        ("POST", "/api/users", {"email": "evil@example.com"}),
        ("POST", "/schedule", {}),
        ("GET", "/account", None),
        ("GET", "/account.json", None),
        ("POST", "/api/scripts/deploy", {"name": "x", "source": "x = 1"}),
    ):
        assert world.send(method, path, body, token=run_token).status_code == 403, path
    world.ask("DELETE", f"/api/users/{person}")
    assert world.send("GET", "/api/me", token=run_token).status_code == 401
    _, token = stage.town.person("tom")
    other = script_tokens.issue(
        process.keys, world.ask("GET", "/api/me", token=token)["user_id"], "x", now, timedelta(minutes=1)
    )
    stage.town.later(minutes=2)
    assert world.send("GET", "/api/me", token=other).status_code == 401


@pytest.mark.parametrize(
    ("made", "path"),
    [
        ("os.symlink('/etc/passwd', 'x.png')", "x.png"),
        ("os.symlink('/etc', 'd')", "d/passwd"),
        ("os.mkfifo('x.png')", "x.png"),
        ("os.mkdir('x.png')", "x.png"),
        ("pass", "/etc/passwd"),
        ("pass", "../../etc/passwd"),
        ("pass", "/run/work/../../etc/passwd"),
        ("pass", "/dev/zero"),
        ("pass", "x\0.png"),
        ("pass", "x" * 300),
        ("open('x.png', 'w').write('<svg onload=alert(1)>')", "x.png"),
        (f"open('x.png', 'wb').write({PNG[:40]!r})", "x.png"),
        ("f = open('x.png', 'wb'); f.write(b'\\x89PNG\\r\\n\\x1a\\n'); f.truncate(6 << 20)", "x.png"),
        (f"open('x.png', 'wb').write({PNG.replace(bytes([0, 0, 0, 1, 0, 0, 0, 1]), bytes([127] * 8))!r})", "x.png"),
        (f"open('a', 'wb').write({PNG!r}); os.link('a', 'x.png')", "x.png"),
    ],
)
def test_only_a_picture_of_its_own_is_sent(stage: Stage, ann: tuple[str, str], made: str, path: str) -> None:
    source = f"import os\nfrom da_script import notify\n{made}\nnotify('x', image_path={path!r})\n"
    done = stage.run(stage.push(ann[1], source))
    assert done["status"] == "failed"
    assert "picture" in done["error"]


def test_endless_scripts_are_stopped(begun: Begun, tmp_path: Path) -> None:
    """Some of them end before, at another limit."""
    with staged(begun, tmp_path, SCRIPT_TIMEOUT="2", SCRIPT_MEMORY="200MB") as stage:
        _, token = stage.town.person("bo")
        for source, expected in (
            ("while True: pass", "stopped after 2 seconds"),
            (
                "import time\nimport signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(99)",
                "stopped after 2 seconds",
            ),
            ("import os, time\nos.close(1); os.close(2); time.sleep(99)", "stopped after 2 seconds"),
            ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()", "e"),
            ("f = open('x', 'wb')\nwhile True: f.write(bytes(10**6)); f.flush()", "e"),
            ("n = 0\nwhile True:\n    open(f'x{n}', 'w').write('x'); n += 1", "e"),
        ):
            done = stage.run(stage.push(token, source))
            assert done["status"] == "failed", source
            assert expected in done["error"], done
        store = stage.town.world.process.store
        assert sum(entry.size for entry in store.list("state/scripts/")) < 1_000_000


def test_bombs_end_at_the_limits_of_their_resources(begun: Begun, tmp_path: Path) -> None:
    with staged(begun, tmp_path, SCRIPT_MEMORY="200MB") as stage:
        _, token = stage.town.person("bo")
        for source, expected in (
            ("x = [bytearray(10**6) for _ in range(10**6)]", "MemoryError"),
            ("import os\nwhile True: os.fork()", "PermissionError"),
            ("import os\nfiles = [os.open('.', 0) for _ in range(1000)]", "Too many open files"),
        ):
            done = stage.run(stage.push(token, source))
            assert done["status"] == "failed", source
            assert expected in done["error"], done


@pytest.mark.skipif(not kernel.landlock_abi(), reason="the kernel has no Landlock")
def test_bombs_of_files_and_threads_are_stopped_on_the_host(
    begun: Begun, tmp_path: Path, reachable: dict[str, str]
) -> None:
    """Where the folder is one of the host, nothing but a watch limits how much there is in it."""
    variables = {"SCRIPT_TIMEOUT": "120", "SCRIPT_RUNNER": "landlock", "SCRIPT_MEMORY": "1GB", **reachable}
    with staged(begun, tmp_path, **variables) as stage:
        _, token = stage.town.person("bo")
        for source, expected in (
            ("n = 0\nwhile True:\n    open(f'{n}', 'wb').write(bytes(10**7)); n += 1", "64 MB of files"),
            (
                "import os\nf = open('x', 'wb')\nos.unlink('x')\nwhile True: f.seek(0); f.write(bytes(10**7))",
                "1 GB in total",
            ),
            ("n = 0\nwhile True:\n    open(f'{n}', 'w'); n += 1", "20,000 files"),
            # deeper than Python recurses, and than a path is long: this has to be removed as well
            ("import os\nfor _ in range(1500): os.mkdir('d' * 9); os.chdir('d' * 9)\n1 / 0", "e"),
            (
                "import os, time\nos.mkdir('a/')\nos.mkdir('a/b', 0o300)\nos.umask(0o777)\nos.mkdir('c')\n1 / 0",
                "ZeroDivisionError",
            ),
            (
                "import threading, time\nthreading.stack_size(32768)\nfor _ in range(200): threading.Thread(target=time.sleep, args=(9,)).start()",
                "128 threads",
            ),
        ):
            done = stage.run(stage.push(token, source))
            assert done["status"] == "failed", source
            assert expected in done["error"], (source, done)
        folder = stage.town.world.process.settings.scratch_dir
        assert not list(cast("Path", folder).glob("script-*"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_outlives_a_killed_worker(variant: str, tmp_path: Path, reachable: dict[str, str]) -> None:
    program = """
        import sys
        from pathlib import Path
        from analyst.http_client import HttpClient
        from analyst.scripts.confinement import Confinement
        from analyst.scripts.relay import Upstream
        from analyst.settings import Settings
        settings = Settings(
            data_url="file:///x", scratch_dir=Path(sys.argv[1]), script_timeout=60,
            script_runner=sys.argv[2], script_python=sys.argv[3] if sys.argv[3:] else None,
        )
        Confinement(settings).run("import time\\nwhile True: time.sleep(0.1)  # marker", Upstream(HttpClient(), "http://x", "t", 1), "r")
    """
    usual = {"SCRATCH_DIR": str(tmp_path)} | (reachable if variant == "landlock" else {})
    arguments = [usual["SCRATCH_DIR"], variant, *([usual["SCRIPT_PYTHON"]] if "SCRIPT_PYTHON" in usual else [])]
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), *arguments])

    def scripts() -> set[str]:
        return {each.name for each in Path("/proc").glob("[0-9]*") if hidden(each) == "script.py"}

    until = time.monotonic() + 120
    while not (started := {each for each in scripts() if worker.pid in ancestors(each)}) and time.monotonic() < until:
        time.sleep(0.05)
    assert started
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    while scripts() & started and time.monotonic() < until:
        time.sleep(0.05)
    assert not scripts() & started


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("variant", ["process", *VARIANTS])
def test_other_users_of_the_host_cannot_use_the_relay_to_the_api(variant: str, reachable: dict[str, str]) -> None:
    """Whoever opens it reads what the owner of the script may read."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # not one of the tests, which is closed to others
    folder.chmod(0o755)
    python = Path(reachable["SCRIPT_PYTHON"]) if "SCRIPT_PYTHON" in reachable else None
    settings = Settings(
        data_url="file:///x", scratch_dir=folder, script_timeout=60, script_runner=variant, script_python=python
    )
    source = "import time\nuntil = time.monotonic() + 60\nwhile time.monotonic() < until: time.sleep(0.05)"
    run = threading.Thread(
        target=lambda: Confinement(settings).run(source, Upstream(HttpClient(), "http://127.0.0.1:1", "t", 1), "r")
    )
    run.start()
    ends = time.monotonic() + 50  # the script ends after 60
    while not (found := list(folder.glob("script-*/api/api.sock"))) and time.monotonic() < ends:
        time.sleep(0.02)
    started: set[Path] = set()
    while not started and time.monotonic() < ends:
        started = {
            p for p in Path("/proc").glob("[0-9]*") if hidden(p) == "script.py" and os.getpid() in ancestors(p.name)
        }
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(found[0])!r})"
    other = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code],
        user=65_534, group=65_534, extra_groups=[], capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    for each in started:
        os.kill(int(each.name), signal.SIGKILL)
    run.join()
    shutil.rmtree(folder)
    assert "PermissionError" in other.stderr


def ancestors(process: str) -> Iterator[int]:
    with suppress(OSError):  # it has ended
        while process != "0":
            process = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            yield int(process)


def hidden(process: Path) -> str:
    """Return the name of the file that a process runs."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next(
        (word.decode(errors="replace").rpartition("/")[2] for word in words if word.endswith(b"/script.py")), ""
    )


def test_a_host_that_cannot_confine_runs_no_script(
    begun: Begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with staged(begun, tmp_path, SCRIPT_RUNNER="container") as stage:
        _, token = stage.town.person("kim")
        script = stage.push(token, "print('{}')")
        for _ in range(6):
            done = stage.run(script, trigger="schedule")
            assert done["status"] == "failed"
        assert stage.town.world.ask("GET", f"/api/scripts/{script}", token=token)["paused"] is None
        assert len(stage.town.titles(token)) == 1
    with staged(begun, tmp_path / "off", SCRIPT_RUNNER="off") as stage:
        _, token = stage.town.person("kim")
        script = stage.push(token, "print('{}')", schedule="every 1m")
        assert stage.town.world.send("POST", f"/api/scripts/{script}/run", {}, token=token).status_code == 409
        stage.town.later(hours=1)
        stage.town.world.ask("POST", "/schedule", {}, token=SERVICE_TOKEN)
        stage.town.settle()
        assert stage.town.world.ask("GET", f"/api/scripts/{script}/runs", token=token)["runs"] == []
