"""What a script can't do: read what its owner may not, reach a network or the host, outlive its run, or exhaust the host."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

from analyst.auth import script_tokens
from analyst.runs import new_run_id
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
    lines = [f"os.stat({path!r})" for path in paths]
    lines += [f"open({path!r}).read()" for path in paths]
    assert attempts(stage, ann[1], *lines) == []
    names = stage.output(
        ann[1],
        "import os\nprint(sorted(os.environ), os.getuid(), sorted(os.listdir('/run')), os.listdir())\nprint('{}')",
    )
    assert "SERVICE_TOKEN" not in names
    assert "TOKEN" not in names
    assert " 0 " not in names
    assert "['da', 'script', 'work'] []" in names


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


def test_no_process_and_no_privilege_can_be_had(stage: Stage, ann: tuple[str, str]) -> None:
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


def test_the_api_gives_what_the_owner_may_read(stage: Stage, ann: tuple[str, str]) -> None:
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
        attempt("DELETE", "/api/scripts/evil")
        print("{}")
    """
    output = stage.output(ann[1], textwrap.dedent(source))
    assert output.startswith("1\n")
    assert [line for line in output.splitlines() if line.startswith("GOT")] == []
    assert output.count("NO ") == 27, output
    assert world.ask("GET", "/api/scripts", token=ann[1])["count"] > 0
    assert "evil" not in str(world.ask("GET", "/api/scripts", token=ann[1]))
    events = world.ask("GET", "/api/admin/audit?action=query&limit=3")["events"]
    assert {(event["caller"], event["user_id"]) for event in events} == {("script", ann[0])}


def test_the_script_never_holds_its_token(stage: Stage, ann: tuple[str, str]) -> None:
    source = """
        import os, socket
        s = socket.socket(socket.AF_UNIX); s.connect(os.environ["DA_SOCKET"])
        s.sendall(b"GET /api/me HTTP/1.1\\r\\nAuthorization: Bearer x\\r\\n\\r\\n")
        answer = b""
        while block := s.recv(9999): answer += block
        print(b"ann@example.com" in answer, b"eyJ" in answer, answer.count(b"HTTP/"))
        s = socket.socket(socket.AF_UNIX); s.connect(os.environ["DA_SOCKET"])
        s.sendall(b"GET /api/me HTTP/1.1\\r\\nX: y\\rAuthorization: z\\r\\nContent-Length: -5\\r\\n\\r\\n" + b"GET /auth/tokens HTTP/1.1\\r\\n\\r\\n")
        print(s.recv(20))
        print("{}")
    """
    output = stage.output(ann[1], textwrap.dedent(source))
    assert output.startswith("True False 1\nb'HTTP/1.0 413")


def test_the_token_only_reads_and_ends_with_its_owner(stage: Stage) -> None:
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


def test_bombs_end_within_their_limits(begun: Begun, tmp_path: Path) -> None:
    with staged(begun, tmp_path, SCRIPT_TIMEOUT="2", SCRIPT_MEMORY="200MB") as stage:
        _, token = stage.town.person("bo")
        for source, expected in (
            ("while True: pass", "stopped after 2 seconds"),
            (
                "import time\nimport signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(99)",
                "stopped after 2 seconds",
            ),
            ("import os, time\nos.close(1); os.close(2); time.sleep(99)", "stopped after 2 seconds"),
            ("x = [bytearray(10**6) for _ in range(10**6)]", "MemoryError"),
            ("import os\nwhile True: os.fork()", "PermissionError"),
            ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()", "e"),
            ("f = open('x', 'wb')\nwhile True: f.write(bytes(10**6)); f.flush()", "e"),
            ("n = 0\nwhile True:\n    open(f'x{n}', 'w').write('x'); n += 1", "e"),
            ("import os\nfiles = [os.open('.', 0) for _ in range(1000)]", "Too many open files"),
        ):
            began = time.monotonic()
            done = stage.run(stage.push(token, source))
            assert done["status"] == "failed", source
            assert expected in done["error"], done
            assert time.monotonic() - began < 20
        store = stage.town.world.process.store
        assert sum(entry.size for entry in store.list("state/scripts/")) < 1_000_000


def test_nothing_outlives_a_worker_that_is_killed(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from analyst.http_client import HttpClient
        from analyst.scripts.confinement import Confinement
        from analyst.scripts.relay import Upstream
        from analyst.settings import Settings
        settings = Settings(data_url="file:///x", scratch_dir=Path(sys.argv[1]), script_timeout=60)
        Confinement(settings).run("import time\\nwhile True: time.sleep(0.1)  # marker", Upstream(HttpClient(), "http://x", "t", 1))
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)])

    def scripts() -> set[str]:
        return {each.name for each in Path("/proc").glob("[0-9]*") if _hidden(each) == "script.py"}

    before = scripts()
    until = time.monotonic() + 30
    while not (started := scripts() - before) and time.monotonic() < until:
        time.sleep(0.05)
    assert started
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    while scripts() & started and time.monotonic() < until:
        time.sleep(0.05)
    assert not scripts() & started


def _hidden(process: Path) -> str:
    """Return the name of the file that a process runs."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next(
        (word.decode(errors="replace").rpartition("/")[2] for word in words if word.endswith(b"/script.py")), ""
    )


def test_a_host_that_can_not_confine_runs_nothing(
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
