"""Serves the double of Keboola on loopback: the Storage API, and the file storages of the three clouds."""

import gzip
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.doubles.keboola.project import Fault, File, Project, RefusalError, stamp
from tests.doubles.loopback import http_server

GCS_BUCKET, S3_BUCKET, CONTAINER, ACCOUNT = "kbc-files", "kbc-s3-files", "exports", "kbcfiles"
REGION = "eu-central-1"
ACCESS_KEY, SECRET_KEY = "ASIADOUBLE", "secret-of-s3"
_DATE = "%a, %d %b %Y %H:%M:%S GMT"


@dataclass(frozen=True, slots=True)
class Served:
    """A project that is served at an address."""

    project: Project
    url: str

    @property
    def settings(self) -> dict[str, str]:
        return {"KEBOOLA_STACK_URL": self.url, "KEBOOLA_STORAGE_TOKEN": self.project.token}

    @property
    def config(self) -> dict[str, str]:
        """The config of a source, whose files lie here and not in a cloud."""
        return {"file_endpoint": self.url}

    def asked(self, pattern: str) -> list[str]:
        """Return the paths of requests that match."""
        return [path for _, path in self.project.requests if re.search(pattern, path)]


@contextmanager
def serving(project: Project) -> Iterator[Served]:
    """Serve a project until the block ends."""

    with http_server(type("Handler", (_Handler,), {"project": project})) as url:
        yield Served(project, url)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    project: Project
    fault: Fault | None = None

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""

    @property
    def url(self) -> str:
        return f"http://{self.headers.get('Host')}"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.route, self.query = parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
        self.raw_query = parts.query
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.project.turn:
            self.project.requests.append((self.command, self.path))
            self.fault = self._fault()
        try:
            self._attempt()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _fault(self) -> Fault | None:
        for fault in self.project.faults:
            if fault.times > 0 and re.search(fault.path, self.path) and fault.method in (None, self.command):
                fault.times -= 1
                if fault.after is not None:
                    fault.after()
                return fault
        return None

    def _attempt(self) -> None:
        try:
            if self.fault is not None and self.fault.status:
                self._answer(
                    self.fault.status, self.fault.body, {"Content-Type": "application/json", **self.fault.headers}
                )
            elif self.route.startswith("/v2/storage"):
                self._storage()
            else:
                self._files()
        except RefusalError as refusal:
            document = {
                "error": refusal.message,
                "code": refusal.code,
                "exceptionId": "exception-0123456789",
                "status": "error",
            }
            self._answer(
                refusal.status, json.dumps(document).encode(), {"Content-Type": "application/json", **refusal.headers}
            )

    # ---- the Storage API -------------------------------------------------------------------------------------------

    def _storage(self) -> None:
        project = self.project
        with project.turn:
            if project.maintenance > 0:
                project.maintenance -= 1
                document = {
                    "status": "maintenance",
                    "reason": "Project is being migrated",
                    "estimatedEndTime": stamp(datetime.now(UTC) + timedelta(minutes=5)),
                }
                self._answer(
                    503, json.dumps(document).encode(), {"Content-Type": "application/json", "Retry-After": "0.01"}
                )
                return
        path = self.route.removeprefix("/v2/storage").strip("/")
        if branched := re.match(r"branch/(default|\d+)/", path):
            if branched[1] not in ("default", project.branch):
                raise RefusalError(404, f"Branch id:{branched[1]} was not found", "storage.branchNotFound")
            path = path[branched.end() :]
        if path == "":
            self._json({"api": "storage", "services": [], "features": []})
            return
        if self.headers.get("X-StorageApi-Token") != project.token:
            raise RefusalError(401, "Invalid access token", "storage.tokenInvalid")
        with project.turn:
            self._json(self._routed(self.command, path), 202 if path.endswith("export-async") else 200)

    def _routed(self, method: str, path: str) -> Any:  # noqa: PLR0911 - a table of routes
        project = self.project
        include = (self.query.get("include") or "").split(",")
        match method, [unquote(part) for part in path.split("/")]:
            case "GET", ["tokens", "verify"]:
                return project.verify()
            case "GET", ["buckets"]:
                return list(project.buckets.values())
            case "GET", ["buckets", bucket, "tables"]:
                return [project.shown(one, include) for one in project.visible() if one.bucket == bucket]
            case "GET", ["tables"]:
                return [project.shown(one, include) for one in project.visible()]
            case "GET", ["tables", table]:
                return project.shown(project.find(table), (), detail=True)
            case "POST", ["tables", table, "export-async"]:
                job = project.export(project.find(table), self._order())
                return {
                    "id": job.id,
                    "status": "waiting",
                    "url": f"{self.url}/v2/storage/jobs/{job.id}",
                    "results": None,
                }
            case "GET", ["jobs", job_id]:
                return project.job(int(job_id))
            case "GET" | "PUT", ["files", file_id, *_]:
                return self._file(int(file_id))
        raise RefusalError(404, f"Not found: {path}", "storage.notFound")

    def _order(self) -> dict[str, Any]:
        if "json" in (self.headers.get("Content-Type") or ""):
            document = json.loads(self.body)
            return document if isinstance(document, dict) else {}
        return dict(parse_qsl(self.body.decode()))

    def _file(self, number: int) -> dict[str, Any]:
        file = self.project.files.get(number)
        if file is None:
            raise RefusalError(404, f"File {number} not found", "storage.files.notFound")
        with_credentials = "federationToken" in self.query or self.command == "PUT"
        if with_credentials:
            file.generation += 1
            self.project.expired = False
        suffix = "manifest" if file.is_sliced else ""
        resource: dict[str, Any] = {
            "id": file.id,
            "name": file.name,
            "isSliced": file.is_sliced,
            "isEncrypted": True,
            "provider": file.provider,
            "region": REGION,
            "sizeBytes": sum(map(len, file.objects)),
            "url": f"{self.url}/signed/{file.id}/{quote(file.prefix)}{suffix}?signature=s3cret-signature",
            "maxAgeDays": 2,
        }
        if not with_credentials:
            return resource
        if file.provider == "gcp":
            resource["gcsPath"] = {"bucket": GCS_BUCKET, "key": file.prefix}
            resource["gcsCredentials"] = {
                "access_token": self._secret(file),
                "expires_in": 3599,
                "token_type": "Bearer",
                "projectId": "kbc",
            }
        elif file.provider == "aws":
            resource["s3Path"] = {"bucket": S3_BUCKET, "key": file.prefix}
            resource["credentials"] = {
                "AccessKeyId": ACCESS_KEY,
                "SecretAccessKey": SECRET_KEY,
                "SessionToken": self._secret(file),
                "Expiration": stamp(datetime.now(UTC) + timedelta(hours=12)),
            }
        else:
            resource["absPath"] = {"container": CONTAINER, "name": file.prefix}
            blob = f"{self.url}/{ACCOUNT}.blob.core.windows.net"
            sas = f"sv=2022-11-02&sr=c&sig={self._secret(file)}"
            resource["absCredentials"] = {
                "SASConnectionString": f"BlobEndpoint={blob};SharedAccessSignature={sas}",
                "expiration": stamp(datetime.now(UTC) + timedelta(hours=12)),
            }
        return resource

    def _secret(self, file: File) -> str:
        return f"credential-{file.id}-{file.generation}"

    # ---- the clouds ------------------------------------------------------------------------------------------------

    def _files(self) -> None:
        route = unquote(self.route)
        if found := re.fullmatch(r"/signed/(\d+)/(.+)", route):
            file = self.project.files[int(found[1])]
            if self.query.get("signature") != "s3cret-signature":
                raise RefusalError(403, "SignatureDoesNotMatch")
            self._object(file, found[2])
        elif found := re.fullmatch(rf"(?:/download)?/storage/v1/b/{GCS_BUCKET}/o/(.+)", route):
            file = self._by_key(found[1])
            self._check(self.headers.get("Authorization") == f"Bearer {self._secret(file)}", 401)
            self._object(file, found[1])
        elif found := re.fullmatch(rf"/{ACCOUNT}\.blob\.core\.windows\.net/{CONTAINER}/(.+)", route):
            file = self._by_key(found[1])
            self._check(self.query.get("sig") == self._secret(file), 403)
            self._object(file, found[1])
        elif found := re.fullmatch(rf"/{S3_BUCKET}/(.+)", route):
            file = self._by_key(found[1])
            self._check(self._is_signed(file), 403)
            self._object(file, found[1])
        else:
            raise RefusalError(404, f"NoSuchKey {route}")

    def _check(self, is_right: bool, status: int) -> None:
        if self.project.expired or not is_right:
            raise RefusalError(status, "ExpiredToken")

    def _by_key(self, key: str) -> File:
        for file in self.project.files.values():
            if key.startswith(file.prefix):
                return file
        raise RefusalError(404, f"NoSuchKey {key}")

    def _is_signed(self, file: File) -> bool:
        """Sign the request again with the library of AWS."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        header = self.headers.get("Authorization") or ""
        found = re.search(r"Credential=([^/]+)/(\d+)/([^/]+)/s3/.*SignedHeaders=([^,]+), ?Signature=(\w+)", header)
        if found is None or found[1] != ACCESS_KEY or self.headers.get("x-amz-security-token") != self._secret(file):
            return False
        names = found[4].split(";")
        auth = S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, self._secret(file)), "s3", found[3])
        request = AWSRequest(
            self.command, f"{self.url}{self.path}", {n: self.headers.get(n, "") for n in names if n != "host"}
        )
        request.context["timestamp"] = self.headers["x-amz-date"]
        request.context["payload_signing_enabled"] = False
        auth._modify_request_before_signing = lambda _request: None  # the headers are those that were sent
        auth.headers_to_sign = lambda _request: _Headers({n: self.headers.get(n, "") for n in names})
        canonical = auth.canonical_request(request)
        return bool(auth.signature(auth.string_to_sign(request, canonical), request) == found[5])

    def _object(self, file: File, key: str) -> None:
        if key == f"{file.prefix}manifest" and file.is_sliced:
            data = json.dumps(
                {"entries": [{"url": self._address(file, number)} for number in _any_order(file)]}
            ).encode()
        else:
            found = file.object(key)
            if found is None:
                raise RefusalError(404, f"NoSuchKey {key}")
            data = found
        if self.fault is not None and self.fault.replace is not None:
            data = self.fault.replace(data)
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": '"etag"',
            "Last-Modified": datetime.now(UTC).strftime(_DATE),
            "x-ms-blob-type": "BlockBlob",
            "Accept-Ranges": "bytes",
        }
        ranged = self.headers.get("x-ms-range") or self.headers.get("Range")
        if ranged and (found_range := re.fullmatch(r"bytes=(\d+)-(\d*)", ranged)):
            start, size = int(found_range[1]), len(data)
            end = min(int(found_range[2] or size - 1), size - 1)
            if start >= size:
                self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
            self._answer(206, data[start : end + 1], headers)
            return
        self._answer(200, data, headers)

    def _address(self, file: File, number: int) -> str:
        name = f"{file.prefix}{number}_part{'.parquet' if file.name.endswith('.parquet') else '.csv.gz'}"
        match file.provider:
            case "gcp":
                return f"gs://{GCS_BUCKET}/{name}"
            case "aws":
                return f"s3://{S3_BUCKET}/{name}"
            case _:
                return f"azure://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/{name}"

    # ---- answers ---------------------------------------------------------------------------------------------------

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        if "gzip" in (self.headers.get("Accept-Encoding") or "") and len(data) > 1000:
            data = gzip.compress(data, 1)
            headers["Content-Encoding"] = "gzip"
        self._answer(status, data, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        wrong = 0 if self.fault is None else self.fault.wrong_length
        self.send_header("Content-Length", str(len(body) + wrong))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if self.fault is None or self.fault.cut is None else body[: self.fault.cut])
        self.wfile.flush()
        if self.fault is not None and (self.fault.cut is not None or wrong):
            raise ConnectionAbortedError


class _Headers(dict[str, str]):
    """Headers as the library of AWS asks for them."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]]


def _any_order(file: File) -> list[int]:
    """Return the numbers of the slices in an order that is not theirs."""
    numbers = range(len(file.objects))
    return [*numbers[1::2], *numbers[::2]]
