"""The HTTP side of the double of Google Cloud Storage."""

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.doubles.gcs import CHUNK, Fault, Gcs, Held, RefusalError, Session, described
from tests.doubles.gcs_accounts import EMAIL, TOKEN, key

_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)$")
_OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o$")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o$")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)$")
_SIGN_BLOB = re.compile(r"/v1/projects/-/serviceAccounts/([^/]+):signBlob$")
_RESUME = 308


def handler(gcs: Gcs) -> type[BaseHTTPRequestHandler]:
    """Make the class that answers for a service."""
    return type("Handler", (_Handler,), {"gcs": gcs})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    gcs: Gcs
    fault: Fault | None = None
    kind = ""

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_HEAD(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def do_PUT(self) -> None:
        self._serve(self._put)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.gcs.now() if timestamp is None else timestamp, usegmt=True)

    def _serve(self, answer: Callable[[], None]) -> None:
        self.fault = None
        url = urlsplit(self.path)
        self.route, self.query = url.path, dict(parse_qsl(url.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._attempt(answer)
        except BrokenPipeError:
            self.close_connection = True
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _attempt(self, answer: Callable[[], None]) -> None:
        try:
            if self.route.startswith(("/storage/", "/upload/", "/download/")):
                self._authenticate()
            answer()
        except RefusalError as refusal:
            self._refuse(refusal)

    def _authenticate(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "Invalid Credentials")

    def _begin(self, kind: str) -> None:
        self.kind, self.fault = kind, self.gcs.begin(kind)
        if self.fault is not None and self.fault.status:
            raise RefusalError(self.fault.status, "as it was told")
        if self.fault is not None and not (self.fault.after or self.fault.cut is not None or self.fault.flip):
            raise ConnectionAbortedError

    def _get(self) -> None:
        if found := _OBJECT.match(self.route):
            bucket, name = map(unquote, found.groups())
            media = self.query.get("alt") == "media"
            self._begin("media" if media else "get")
            held = self.gcs.find(bucket, name, self.query)
            self._media(held) if media else self._json(described(bucket, held))
        elif found := _OBJECTS.match(self.route):
            self._begin("list")
            self._json(self.gcs.list(unquote(found[1]), self.query))
        elif found := _BUCKET.match(self.route):
            self._begin("get")
            self.gcs.objects(unquote(found[1]))
            self._json({"kind": "storage#bucket", "name": unquote(found[1])})
        else:
            self._begin("signed")
            self._signed()

    def _post(self) -> None:
        if found := _UPLOAD.match(self.route):
            self._begin("insert")
            self._upload(unquote(found[1]), self.query["uploadType"])
        elif found := _SIGN_BLOB.match(self.route):
            self._begin("sign")
            self._authenticate()
            if found[1] != EMAIL:
                raise RefusalError(HTTPStatus.FORBIDDEN, "Permission iam.serviceAccounts.signBlob denied")
            self._json({"signedBlob": _sign(json.loads(self.body)["payload"])})
        elif self.route == "/token":
            self._begin("token")
            self._json({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
        else:
            raise RefusalError(HTTPStatus.NOT_FOUND, "Not Found")

    def _upload(self, bucket: str, kind: str) -> None:
        if kind == "media":
            resource = {"name": self.query["name"], "contentType": self.headers["Content-Type"]}
            self._made(bucket, self.gcs.insert(bucket, self.query, resource, self.body))
        elif kind == "multipart":
            resource, data = _parts(self.headers["Content-Type"], self.body)
            self._made(bucket, self.gcs.insert(bucket, self.query, self._named(resource), data))
        else:
            self.gcs.objects(bucket)
            upload_id = os.urandom(16).hex()
            resource = self._named(json.loads(self.body or b"{}"))
            self.gcs.sessions[upload_id] = Session(bucket, self.query, resource)
            where = f"{self.gcs.address}{self.route}?uploadType=resumable&upload_id={upload_id}"
            self._answer(HTTPStatus.OK, b"", {"Location": where})

    def _named(self, resource: dict[str, Any]) -> dict[str, Any]:
        return {**resource, "name": resource.get("name", self.query.get("name"))}

    def _put(self) -> None:
        self._begin("insert")
        session = self.gcs.sessions.get(self.query.get("upload_id", ""))
        if session is None:
            raise RefusalError(HTTPStatus.NOT_FOUND, "No such upload")
        if session.made is None:
            self._receive(session)
        if session.made is not None:
            self._made(session.bucket, session.made)
        else:
            reached = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            self._answer(_RESUME, b"", reached)

    def _receive(self, session: Session) -> None:
        first, _, whole = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers["Content-Range"]).groups()  # type: ignore[union-attr]
        if first is not None:
            if int(first) > len(session.data):
                raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "a chunk is missing")
            if str(int(first) + len(self.body)) != whole and len(self.body) % CHUNK:
                raise RefusalError(HTTPStatus.BAD_REQUEST, "a chunk must be a multiple of 256 kB")
            session.data[int(first) :] = self.body
        if whole == str(len(session.data)):
            sums = dict(re.findall(r"(crc32c|md5)=([^,]+)", self.headers.get("x-goog-hash", "")))
            if "md5" in sums:
                sums["md5Hash"] = sums.pop("md5")
            session.made = self.gcs.insert(
                session.bucket, session.query, {**session.resource, **sums}, bytes(session.data)
            )

    def _delete(self) -> None:
        if (found := _OBJECT.match(self.route)) is None:
            raise RefusalError(HTTPStatus.NOT_FOUND, "Not Found")
        self._begin("delete")
        bucket, name = map(unquote, found.groups())
        self.gcs.delete(bucket, name, self.query)
        self._answer(HTTPStatus.NO_CONTENT, b"", {})

    def _signed(self) -> None:
        bucket, _, name = unquote(self.route[1:]).partition("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._verify()
        held = self.gcs.find(bucket, name, {})
        disposition = self.query.get("response-content-disposition")
        self._media(held, {"Content-Disposition": disposition} if disposition else {})

    def _verify(self) -> None:
        given = self.query
        if given.get("X-Goog-Algorithm") != "GOOG4-RSA-SHA256":
            raise RefusalError(HTTPStatus.FORBIDDEN, "Anonymous caller does not have storage.objects.get access")
        pairs = sorted(p for p in urlsplit(self.path).query.split("&") if not p.startswith("X-Goog-Signature="))
        names = given["X-Goog-SignedHeaders"].split(";")
        headers = "".join(f"{name}:{self.headers[name]}\n" for name in names)
        canonical = "\n".join(["GET", self.route, "&".join(pairs), headers, ";".join(names), "UNSIGNED-PAYLOAD"])
        email, _, scope = given["X-Goog-Credential"].partition("/")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join([given["X-Goog-Algorithm"], given["X-Goog-Date"], scope, digest])
        try:
            signature = bytes.fromhex(given["X-Goog-Signature"])
            key().public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            raise RefusalError(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch") from None
        if email != EMAIL:
            raise RefusalError(HTTPStatus.FORBIDDEN, "AccessDenied")
        signed = datetime.strptime(given["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if self.gcs.now() >= signed + int(given["X-Goog-Expires"]):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "ExpiredToken")

    def _made(self, bucket: str, held: Held) -> None:
        self._json(described(bucket, held))

    def _media(self, held: Held, more: dict[str, str] | None = None) -> None:
        headers = {
            "Content-Type": held.content_type,
            "ETag": f'"{held.generation}"',
            "Last-Modified": formatdate(held.made, usegmt=True),
            "X-Goog-Generation": str(held.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Hash": f"crc32c={held.crc32c},md5={held.md5}",
            "X-Goog-Stored-Content-Length": str(len(held.data)),
            **(more or {}),
        }
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found is None:
            self._answer(HTTPStatus.OK, held.data, headers)
            return
        first, last = int(found[1]), min(int(found[2] or len(held.data)), len(held.data) - 1)
        if first > last:
            raise RefusalError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "The requested range cannot be satisfied.")
        del headers["X-Goog-Hash"]
        headers["Content-Range"] = f"bytes {first}-{last}/{len(held.data)}"
        self._answer(HTTPStatus.PARTIAL_CONTENT, held.data[first : last + 1], headers)

    def _json(self, value: Any) -> None:
        self._answer(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json; charset=UTF-8"})

    def _refuse(self, refusal: RefusalError) -> None:
        if refusal.status == HTTPStatus.NOT_MODIFIED:
            self._answer(refusal.status, b"", {})
        elif self.query.get("alt") == "media":
            self._answer(refusal.status, refusal.message.encode(), {"Content-Type": "text/html; charset=UTF-8"})
        elif self.route.startswith(("/storage/", "/upload/", "/v1/")):
            status = "PERMISSION_DENIED" if refusal.status == HTTPStatus.FORBIDDEN else "UNKNOWN"
            body = {"error": {"code": refusal.status, "message": refusal.message, "errors": [], "status": status}}
            self._answer(refusal.status, json.dumps(body).encode(), {"Content-Type": "application/json"})
        else:
            body_xml = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refusal.message}</Code></Error>"
            self._answer(refusal.status, body_xml.encode(), {"Content-Type": "application/xml; charset=UTF-8"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        fault = self.fault
        if fault is not None and fault.after:
            raise ConnectionAbortedError
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault is not None and fault.flip and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if self.command != "HEAD":
            self.gcs.sent[self.kind] += len(body)
            self.wfile.write(body if fault is None or fault.cut is None else body[: fault.cut])
        self.wfile.flush()
        if fault is not None and fault.cut is not None:
            raise ConnectionAbortedError


def _sign(payload: str) -> str:
    import base64

    signature = key().sign(base64.b64decode(payload), padding.PKCS1v15(), hashes.SHA256())
    return base64.b64encode(signature).decode()


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a multipart body apart: the object's resource, and its content."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        raise RefusalError(HTTPStatus.BAD_REQUEST, "no boundary")
    boundary = b"--" + found[1].encode()
    _, first, rest = body.split(boundary, 2)
    content, _, _ = rest.rpartition(b"\r\n" + boundary + b"--")
    return json.loads(first.partition(b"\r\n\r\n")[2]), content.partition(b"\r\n\r\n")[2]
