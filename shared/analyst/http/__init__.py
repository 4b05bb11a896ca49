"""HTTP functions: a decorator declares method, path, access and responses; everything else is derived from that."""

from analyst.http.answers import Answer, Encoded, FileAnswer, Page, Redirect
from analyst.http.application import app
from analyst.http.function import HttpFunction, function
from analyst.http.request_input import blocks
from analyst.http.spec import Allow, FunctionSpec

__all__ = [
    "Allow",
    "Answer",
    "Encoded",
    "FileAnswer",
    "FunctionSpec",
    "HttpFunction",
    "Page",
    "Redirect",
    "app",
    "blocks",
    "function",
]
