"""The command line `da`: its wheel, and how to install it."""

from analyst.cli_wheel import NO_ADDRESS, Cli, describe_cli, find_wheel
from analyst.context import Context
from analyst.errors import NotFoundError
from analyst.http import Allow, FileAnswer, Page, function
from analyst.http.pages import page


@function("GET", "/cli", allow=Allow.ANYBODY)
def cli_page(ctx: Context) -> Page:
    """Show how to install `da`. Its link to the wheel makes the page an index for `pip --find-links`."""
    address = ctx.settings.base_url or NO_ADDRESS
    return page(
        ctx, "cli.html", title="Install da", current="/cli", cli=describe_cli(ctx.settings.base_url), address=address
    )


@function("GET", "/api/cli", allow=Allow.ANYBODY, answers={404: "This installation does not provide `da`."})
def describe_wheel(ctx: Context) -> Cli:
    """Return the version, path and SHA-256 of the wheel of `da`, and the commands that install it."""
    return describe_cli(ctx.settings.base_url)


@function("GET", "/cli/{filename}", allow=Allow.ANYBODY, answers={404: "There is no wheel with this name."})
def cli_wheel(filename: str, _ctx: Context) -> FileAnswer:
    """Download the wheel of `da`."""
    wheel = find_wheel()
    if filename != wheel.path.name:
        raise NotFoundError(f"there is no wheel {filename[:200]!r}; the current one is {wheel.path.name!r}")
    return FileAnswer(wheel.path, wheel.path.name)
