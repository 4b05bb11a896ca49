"""HTTP functions: a decorator declares method, path, access and responses; everything else is derived from that."""

from analyst.http.answers import (
    Accepted,
    Answer,
    Encoded,
    FileAnswer,
    Page,
    Picture,
    Redirect,
    Spooled,
    Streamed,
    Text,
    View,
)
from analyst.http.application import app
from analyst.http.function import HttpFunction, function
from analyst.http.problems import ErrorShape
from analyst.http.request_input import blocks
from analyst.http.spec import Allow, FunctionSpec, Options

__all__ = [
    "Accepted",
    "Allow",
    "Answer",
    "Encoded",
    "ErrorShape",
    "FileAnswer",
    "FunctionSpec",
    "HttpFunction",
    "Options",
    "Page",
    "Picture",
    "Redirect",
    "Spooled",
    "Streamed",
    "Text",
    "View",
    "app",
    "blocks",
    "function",
]
