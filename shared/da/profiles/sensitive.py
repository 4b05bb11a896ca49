"""Sensitive columns and values: e-mail addresses, telephone numbers, payment cards, access tokens and the like.

A column is sensitive by a tag, by its name, or by what its values look like. None of its values is shown to anybody.
Single values of other columns that look sensitive are withheld as well: a note may contain the number of a card once in a
million rows. The rules err on the side of withholding.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from da.profiles.sketches import Counted, Kind, Sketch

Reason = Literal["tag", "name", "email", "phone", "card", "token"]

WITHHELD: Final = "…"
"""Shown instead of a value."""

TAGS: Final = frozenset({"pii", "sensitive", "personal", "secret", "confidential", "gdpr", "private"})
"""The words that make a column sensitive, as a whole tag or as a part of one: `PII.Sensitive`."""

_PERSONAL: Final = re.compile(
    r"(^|_)(e_?mails?|emailaddress|email_?addr(ess)?|mails?|phones?|phone_?(no|nr|number)|telephones?|telefon|tel|mobile|msisdn|cell(phone)?"
    r"|fax|card_?(no|nr|num|number)|credit_?cards?|debit_?cards?|cc_?(no|nr|num|number)|pan|cvv|cvc|iban|ssn|social_security(_number)?"
    r"|national_id|passport(_no|_number)?|tax_id|birth_?(day|date)|date_of_birth|dob)($|_)"
)
_SECRET: Final = re.compile(
    r"(^|_)(passwords?|passwd|pwd|passphrase|secrets?|client_secret|tokens?|access_?tokens?|refresh_?tokens?|api_?keys?|access_?keys?"
    r"|private_?keys?|credentials?|auth|authorization|session_?(id|key|token)|cookies?|otp|pin)($|_)"
)
_NUMBERED: Final = re.compile(
    r"(^|_)(phones?|phone_?(no|nr|number)|telephones?|telefon|tel|mobile|msisdn|cell(phone)?|fax|card_?(no|nr|num|number)"
    r"|credit_?cards?|debit_?cards?|cc_?(no|nr|num|number)|pan|cvv|cvc|ssn|social_security(_number)?|national_id|tax_id|passport(_no|_number)?"
    r"|pin|otp)($|_)"
)
_MEASURE: Final = re.compile(
    r"(^|_)(counts?|totals?|sum|amount|avg|average|rate|ratio|pct|percent|share|opens?|clicks?|sent|opened|clicked|calls?|sales|"
    r"revenue|cost|duration|seconds|minutes|used|limit|type|kind|status|provider|brand|domain|model|verified|opt_?(in|out))($|_)"
)
_BIRTH: Final = re.compile(r"(^|_)(birth_?(day|date)|date_of_birth|dob)($|_)")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")

_EMAIL: Final = re.compile(r"[^\s@]\s?(?:@|\uff20|%40|&#64;)\s?[^\s@]|[\w.]\s?[\[({]\s?at\s?[\])}]\s?\w", re.IGNORECASE)
_PHONE: Final = re.compile(
    r"(?<![\w+])(?:\+|00)[1-9](?:[\s()./-]{0,2}\d){7,14}(?!\w)|(?<![\w.])(?:\(\d{2,5}\)\s?|\d{3}[-.\s])\d{3}[-.\s]\d{4}(?![\w.])"
    r"|(?<![\w.-])0\d{1,4}[\s/-]\d{2,4}[\s-]?\d{2,4}(?:[\s-]?\d{2,4})?(?![\w.-])"
)
_CARD: Final = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])")
_TOKEN: Final = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|xox[abeprs]-[\w-]{10,}|(?:sk|pk|rk)[-_][\w-]{16,}|A(?:KIA|SIA)[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{20,}|npm_\w{20,}|pypi-[\w-]{20,}|hf_\w{20,}|da_[\w-]{20,}|dop_v1_\w{20,}|shpat_\w{20,}|SG\.[\w-]{16,}"
    r"|eyJ[\w-]{8,}\.[\w-]+)|-----BEGIN [A-Z ]*PRIVATE KEY|\$(?:2[aby]|argon2\w*|pbkdf2[\w-]*|scrypt|6|5|1)\$|\bBearer\s+\S{12,}"
    r"|\bBasic\s+[A-Za-z0-9+/]{16,}={0,2}|://[^/\s:@]+:[^/\s:@]+@|(?:password|passwd|pwd|secret|token|api_?key)\s*[=:]\s*\S{4,}",
    re.IGNORECASE,
)
_EMAIL_SIGN: Final = re.compile(r"[@\uff20%&\[({]")
_TOKEN_SIGN: Final = re.compile(r"[$:=]|[\w+/.-]{13}|bearer|basic|begin", re.IGNORECASE)
_PHONE_SIGN: Final = re.compile(r"\d(?:\D{0,2}\d){5}")
"""What every match of the expensive expressions has; most values have none of it."""

_LONG_WORD: Final = re.compile(r"[A-Za-z0-9_]{32,}|[A-Za-z0-9_+/=-]{40,}")
_DATE: Final = re.compile(r"(?<!\d)\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?!\d)")
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_IBAN: Final = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){3,7}(?:[ ]?[A-Z0-9]{1,3})?(?!\w)")

MASK: Final = "\x00"
"""What a masked value starts with; its hash follows, by which it is counted."""

_LEAST_CARD: Final = Decimal(10) ** 12
_GREATEST_CARD: Final = Decimal(10) ** 19
_LONG: Final = 32
_SHORTEST_CARD: Final = 13
_OFTEN: Final = 0.2
"""The share of examined texts above which content of a kind makes the column sensitive."""


def by_name(name: str, kind: Kind) -> bool:
    """Return whether a name says that the values are sensitive; flags and measures are not."""
    return _is_telling(_words(name), kind)


def by_name_in_type(type_: str) -> bool:
    """Return whether a member of a nested type has a name that says so."""
    members = (
        re.findall(r'[(,] ?"?(\w+)"? (VARCHAR|[A-Z]\w*)', type_) if type_.startswith(("STRUCT", "MAP", "UNION")) else ()
    )
    return any(by_name(name, "text" if of in {"VARCHAR", "JSON"} else "number") for name, of in members)


def _words(name: str) -> str:
    return "_".join(part for part in _CAMEL.split(name) if part).lower()


def _is_telling(words: str, kind: Kind) -> bool:
    if kind == "boolean":
        return False
    if kind in {"date", "timestamp"}:
        return _BIRTH.search(words) is not None
    if kind == "number":
        return _NUMBERED.search(words) is not None and _MEASURE.search(words) is None
    is_named = _PERSONAL.search(words) is not None or _SECRET.search(words) is not None
    return is_named and _MEASURE.search(words) is None


def by_tag(tags: Iterable[str]) -> bool:
    """Return whether a tag says that the values are sensitive."""
    return any(
        TAGS & set(re.split(r"[^a-z]+", tag.lower())) and not tag.lower().endswith("nonsensitive") for tag in tags
    )


def hides_extremes(name: str, kind: Kind, extremes: Iterable[str | float]) -> bool:
    """Return whether the minimum and maximum of a column must be hidden, judging by its name and by the two values."""
    return by_name(name, kind) or any(
        content_of(each) is not None if isinstance(each, str) else is_card_number(each) for each in extremes
    )


def content_of(value: str) -> Reason | None:
    """Return the kind of sensitive content that a text contains."""
    if _EMAIL_SIGN.search(value) and _EMAIL.search(value):
        return "email"
    length = len(value)
    if _TOKEN_SIGN.search(value) and (_TOKEN.search(value) or (length >= _LONG and _has_random_word(value))):
        return "token"
    if length >= _SHORTEST_CARD and (any(map(_is_card, _CARD.findall(value))) or _IBAN.search(value)):
        return "card"
    if _PHONE_SIGN.search(value) and _PHONE.search(_DATE.sub(" ", value)):
        return "phone"
    return None


def _has_random_word(value: str) -> bool:
    return any(map(_is_random, _LONG_WORD.findall(_UUID.sub(" ", value))))


def by_content(sketch: Sketch) -> Reason | None:
    """Return the kind of sensitive content of a column: it has it often, or any value has an `@`."""
    if sketch.kind not in {"text", "nested", "number"}:
        return None
    if sketch.emails:
        return "email"
    for kind in ("card", "token", "phone"):
        if sketch.examined and sketch.content.get(kind, 0) > _OFTEN * sketch.examined:
            return kind
    return None


def reason_of(name: str, sketch: Sketch) -> str | None:
    """Return why the values of a column are sensitive; `None` if they are not."""
    if sketch.withheld:
        return sketch.withheld
    if by_name(name, sketch.kind) or by_name_in_type(sketch.type):
        return "name"
    return by_content(sketch)


def masked(sketch: Sketch) -> Sketch:
    """Return the sketch of a column that is not sensitive, without single values that look so."""
    if sketch.kind == "number":
        return _masked_number(sketch)
    if sketch.kind not in {"text", "nested"}:
        return sketch
    is_searched = bool(sketch.content) or not sketch.is_whole
    if is_searched and any(each is not None and content_of(each) for each in (sketch.least, sketch.greatest)):
        sketch = replace(sketch, least=None, greatest=None, is_masked=True)
    if not is_searched:
        return sketch
    counted = (
        Counted(f"{MASK}{each.hash:x}", each.count, each.hash) if content_of(each.value) else each
        for each in sketch.counted
    )
    return replace(sketch, counted=tuple(counted))


def is_card_number(value: str | float) -> bool:
    """Return whether a number of any type has the form of the number of a payment card."""
    try:
        exact = Decimal(value)
    except InvalidOperation:
        return False
    if not exact.is_finite() or not _LEAST_CARD <= abs(exact) < _GREATEST_CARD or exact != exact.to_integral_value():
        return False
    return _is_card(str(abs(int(exact))))


def _masked_number(sketch: Sketch) -> Sketch:
    """Leave out the numbers of cards, and what they could be computed from.

    If an extreme is one, so is most of a sum or a mean.
    """
    is_masked = any(each is not None and is_card_number(each) for each in (sketch.least, sketch.greatest))
    if is_masked:
        sketch = replace(sketch, least=None, greatest=None, total=None, mean=0.0, squares=None, bins=(), is_masked=True)
    if any(map(is_card_number, sketch.quantiles)):
        sketch = replace(sketch, quantiles=(), bins=())
    if any(is_card_number(value) for value, _ in sketch.points):
        sketch = replace(sketch, points=tuple(point for point in sketch.points if not is_card_number(point[0])))
    if any(is_card_number(each.value) for each in sketch.counted):
        known = sketch.listed()
        counted = tuple(each for each in sketch.counted if not is_card_number(each.value))
        points = tuple(point for point in known.points if not is_card_number(point[0]))
        sketch = replace(known, counted=counted, points=points, is_whole=False, is_partial=True)
    return sketch


def _is_random(word: str) -> bool:
    """Return whether a long word is made of letters and digits as keys are; words, paths and plain numbers are not."""
    digits, upper, lower = (sum(map(of, word)) for of in (str.isdigit, str.isupper, str.islower))
    if re.search(r"[+/=-]", word) is not None:
        return min(digits, upper, lower) >= 4  # noqa: PLR2004 - a heuristic
    return digits >= 4 and upper + lower >= 4 and not re.search(r"[A-Za-z]{12,}", word)  # noqa: PLR2004 - a heuristic


def _is_card(digits: str) -> bool:
    """Return whether a number has the form and the check digit (Luhn, ISO/IEC 7812) of a payment card."""
    numbers = [int(each) for each in digits if each.isdigit()]
    if numbers[0] not in range(2, 7) or len(set(numbers)) == 1:
        return False
    doubled = [2 * each - 9 * (each > 4) for each in numbers[-2::-2]]  # noqa: PLR2004 - the sum of the digits
    return (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0
