"""Whether the API lives, whether it can do its work, and its metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.schemas import Health
from api.views import no_store
from journal.log import LogError
from read_model.database import cause_of, passes

CHECK_S: Final = 2.0
# Litestar adds the charset to every text.
_TEXT: Final = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")

Check = Callable[[], Awaitable[str]]
"""Gives "ok" or what is wrong; may raise what a log or a database raises."""


@get("/health/live")
async def live() -> Response[Health]:
    """The event loop runs."""
    return Response(Health("ok", {}), headers=no_store)


@get("/health/ready")
async def ready(state: State) -> Response[Health]:
    """Whether Kafka and PostgreSQL answer and the answers are followed; 503 if not."""
    checks: Mapping[str, Check] = state.checks
    said = await asyncio.gather(*(_say(check) for check in checks.values()))
    parts = dict(zip(checks, said, strict=True))
    good = all(what == "ok" for what in said)
    return Response(
        Health("ok" if good else "not ready", parts),
        status_code=200 if good else 503,
        headers=no_store,
    )


async def _say(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_S:.0f} s"
    except LogError:
        # Its text names addresses: those are the operator's, and in the log.
        return "Kafka does not answer"
    except Exception as error:
        if not passes(error):
            raise
        return cause_of(error).partition(":")[0]


@get("/metrics", include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Prometheus' text format."""
    return Response(generate_latest(), media_type=_TEXT, headers=no_store)
