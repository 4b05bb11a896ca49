"""`python -m analyst.gateway`: runs an instance until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 failed, 2 not configured."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analyst.context import Process
from analyst.errors import AnalystError, SettingsError
from analyst.logs import to_stdout
from analyst.settings.configuration import DEFAULT_FILE

_NO_LIBRARY: Final = (
    "the gateway can't start because the package 'websockets' is not installed; install the extra 'gateway': "
    "pip install 'ai-data-analyst[gateway]'"
)


class GatewaySettings(BaseModel):
    """The variables that only the gateway reads."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ws_gateway_host: str = "127.0.0.1"
    ws_gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8765
    ws_gateway_connections: Annotated[int, Field(ge=1, le=100_000)] = 2000
    heartbeat_interval_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    heartbeat_timeout_missed: Annotated[int, Field(ge=1, le=100)] = 3
    ws_dispatch_socket: Path | None = None
    max_connections_per_user: Annotated[int, Field(ge=1, le=1000)] = 5

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "GatewaySettings":
        """Read them; an empty variable counts as missing.

        Raises:
            SettingsError: they are invalid.
        """
        given = {name: value for name in cls.model_fields if (value := environ.get(name.upper(), "").strip())}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            wrong = [f"{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()]
            raise SettingsError(f"the gateway can't start because settings are invalid: {'; '.join(wrong)}") from error


def main() -> int:
    """Run the gateway."""
    if find_spec("websockets") is None:
        print(_NO_LIBRARY, file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    try:
        asyncio.run(_run(GatewaySettings.read(os.environ)))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    except (AnalystError, OSError) as error:
        print(f"the gateway can't run: {error}", file=sys.stderr)  # noqa: T201 - the same
        return 1
    return 0


async def _run(settings: GatewaySettings) -> None:
    from analyst.gateway.connection import Limits
    from analyst.gateway.server import Gateway

    to_stdout()
    _raise_file_limit(settings.ws_gateway_connections)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    limits = Limits(
        per_person=settings.max_connections_per_user,
        connections=settings.ws_gateway_connections,
        heartbeat=settings.heartbeat_interval_seconds,
        missed=settings.heartbeat_timeout_missed,
    )
    process = Process(os.environ, default_file=DEFAULT_FILE)
    try:
        await Gateway(process, limits, settings.ws_dispatch_socket).run(
            settings.ws_gateway_host, settings.ws_gateway_port, stopping
        )
    finally:
        process.close()


_SPARE_FILES: Final = 256


def _raise_file_limit(connections: int) -> None:
    """Let the process hold that many connections, as far as the host permits: each takes a file descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # continue with the present limit
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
            )


if __name__ == "__main__":
    sys.exit(main())
