"""The files of Iceberg tables: `GET` and `HEAD` of S3, signed with the credentials of a loaded table.

Source: the S3 API, 'GetObject', 'HeadObject' and 'Error Responses'.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from analyst.access import Caller
from analyst.context import Context
from analyst.http import Allow, ErrorShape, FileAnswer, Streamed, function
from analyst.iceberg.file_endpoint import FileEndpoint
from analyst.iceberg.metadata import BUCKET
from analyst.iceberg.signatures import Sent

_CODES: Final = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "SlowDown",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


def _xml(document: Mapping[str, Any], request_id: str) -> str:
    code = document.get("s3") or _CODES.get(document["status"], "InvalidRequest")
    members = {"Code": code, "Message": document["detail"], "RequestId": request_id}
    inner = "".join(f"<{name}>{escape(str(text))}</{name}>" for name, text in members.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'


_ERRORS: Final = ErrorShape(f"/{BUCKET}", _xml, "application/xml")


@function(
    "GET", f"/{BUCKET}/{{path:path}}", allow=Allow.ANYBODY, foreign=True, errors=_ERRORS,
    answers={403: "The request is not signed, or the file is not one that the caller may read.", 404: "No such file."},
)  # fmt: skip
def iceberg_file(path: str, ctx: Context) -> FileAnswer | Streamed:
    """Return a file of an Iceberg table, or a range of it, to a reader of S3.

    The signature (AWS Signature Version 4) is the only credential. It is made with the credentials of a loaded
    table, and the current access list decides.
    """
    request, iceberg = ctx.request, ctx.process.iceberg
    base = urlsplit(ctx.settings.base_url or "")

    def admit(caller: Caller) -> None:
        ctx.is_by(caller.user_id, caller.email)
        iceberg.pace.take(caller.user_id or "", ctx.process.monotonic())

    endpoint = FileEndpoint(
        keys=ctx.keys,
        access=ctx.access.current(),
        snapshots=ctx.snapshots,
        earlier=iceberg.earlier,
        keep_hours=ctx.settings.keep_hours,
        hosts=[host for host in (request.host, base.netloc) if host],
        base_path=base.path.rstrip("/"),
        admit=admit,
        now=ctx.now,
    )
    query = request.query_string.decode("ascii", "replace")
    headers = {name.lower(): value for name, value in request.headers.items()}
    opened = endpoint.open(path, Sent(request.method, request.path, query, headers))
    content = opened.content(ctx.store, iceberg.streams)
    if isinstance(content, Path):
        return FileAnswer(content, opened.name)
    return Streamed(content.size, opened.name, content.read)
