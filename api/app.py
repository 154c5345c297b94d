"""The HTTP application, put together; it owns nothing that runs."""

from collections.abc import Mapping

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from sqlalchemy.ext.asyncio import AsyncEngine

from api import accounts, dashboard, following, health, sagas, transfers
from api.asking import MAX_BODY_BYTES, strict_query
from api.description import description, explain_problem, openapi_json
from api.following import News
from api.gateway import Gateway
from api.health import Check
from api.kept import Kept
from api.problems import Problem, on_bug, on_http_exception, on_problem
from api.schemas import ActivityView, SagaCounts
from api.streams import Streams
from api.troubles import TROUBLES
from journal.clock import Clock
from saga_definitions.registry import Registry, shipped


def create_app(
    gateway: Gateway,
    engine: AsyncEngine,
    clock: Clock,
    checks: Mapping[str, Check] | None = None,
    definitions: Registry | None = None,
) -> Litestar:
    """`checks`: what `/health/ready` asks, by the name of the part. `definitions`: what may be
    started; those that ship unless others are given."""
    return Litestar(
        route_handlers=[
            transfers.start_transfer,
            transfers.get_transfer,
            sagas.list_sagas,
            sagas.count_sagas,
            sagas.saga_activity,
            sagas.get_saga,
            sagas.get_timeline,
            sagas.get_legs,
            following.follow_saga,
            sagas.retry_saga,
            sagas.compensate_saga,
            sagas.cancel_saga,
            sagas.signal_saga,
            accounts.open_account,
            accounts.deposit,
            accounts.withdraw,
            accounts.change_limits,
            accounts.freeze,
            accounts.unfreeze,
            accounts.close,
            accounts.list_accounts,
            accounts.get_account,
            accounts.get_world,
            health.live,
            health.ready,
            health.metrics,
            explain_problem,
            openapi_json,
            dashboard.home,
            dashboard.page,
            dashboard.part,
        ],
        state=State(
            {
                "gateway": gateway,
                "engine": engine,
                "clock": clock,
                "checks": dict(checks or {}),
                "definitions": definitions or shipped(),
                "journals": gateway.journals,
                "streams": Streams(),
                "news": News(engine),
                "kept_counts": Kept[SagaCounts](),
                "kept_activity": Kept[ActivityView](),
            }
        ),
        exception_handlers={
            Problem: on_problem,
            **TROUBLES,
            HTTPException: on_http_exception,
            Exception: on_bug,
        },
        before_request=strict_query,
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=description(),
        logging_config=None,
        debug=False,
    )
