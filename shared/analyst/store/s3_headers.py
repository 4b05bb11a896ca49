"""What a store and S3 call the same things: versions and ETags, ages and dates, names to save as."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from analyst.store.port import ABSENT, ANY, Condition


def version_of(etag: str) -> str:
    """Tell the version that an ETag says."""
    return etag.strip('"')


def etag_of(version: str) -> str:
    """Tell the ETag of a version; whatever the text is, it is no `*`, which would be any version."""
    return f'"{version}"'


def condition_of(if_version: str | Condition) -> dict[str, str]:
    """Tell the parameters of a write on this condition."""
    if if_version is ANY:
        return {}
    return {"IfNoneMatch": "*"} if if_version is ABSENT else {"IfMatch": etag_of(str(if_version))}


def headers_of(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Tell the headers of an answer, their names in small letters."""
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers


def age_of(headers: Mapping[str, str], modified: datetime) -> float:
    """Tell how many seconds ago something was modified, by the clock of the one who answered."""
    return max(0.0, (parsedate_to_datetime(headers["date"]) - modified).total_seconds())
