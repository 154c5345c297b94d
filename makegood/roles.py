"""The processes of the bank: each role is one coroutine that runs until it is told to stop."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import start_http_server

from journal.opening import check_partitions
from journal.ownership import share
from journal.service import Service
from makegood.settings import Settings, SettingsError
from makegood.topology import DAY_MS, accounts, claims, connect, definitions, sagas
from makegood.turns import take_long_turns
from messages.participants import PAYOUTS, Participant
from saga_definitions.dsl import Definition

if TYPE_CHECKING:
    from participant.serving import Handlers

log_event = structlog.get_logger("makegood.roles")


async def run_orchestrator(settings: Settings, more: Sequence[Definition] = ()) -> None:
    """`more`: definitions besides those that ship; the API has to know them, too."""
    await _run_service(settings, sagas(settings, more=more), more)


async def run_account_service(settings: Settings) -> None:
    await _run_service(settings, accounts(settings))


async def run_claims(settings: Settings) -> None:
    await _run_service(settings, claims(settings))


async def _run_service(
    settings: Settings, service: Service[Any, Any], more: Sequence[Definition] = ()
) -> None:
    name = service.topics.name
    log = await connect(settings, name, more)
    try:
        await check_partitions(log, service)
        if settings.metrics_port:
            start_http_server(settings.metrics_port, settings.api_host)
        collect_rarely()
        take_long_turns()
        await share(log, settings.kafka(name), service, settings.instance)
    finally:
        await log.close()


def collect_rarely() -> None:
    """What is alive now stays alive, and what comes is mostly freed by its counters. At Python's
    own thresholds the collector walks all of it again and again: an eighth of the CPU time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# These import late: a service that comes back after a crash must not wait for what they need.


async def run_projector(settings: Settings) -> None:
    import migrations
    from read_model.projector import run_projector as project

    log = await connect(settings, "projector")
    try:
        await migrations.upgrade(settings.database_url, wait_s=settings.start_timeout_s)
        if settings.metrics_port:
            start_http_server(settings.metrics_port, settings.api_host)
        collect_rarely()
        take_long_turns()
        log_event.info("role_started", role="projector")
        await project(log, settings.database_url)
    finally:
        await log.close()


async def run_api(settings: Settings, more: Sequence[Definition] = ()) -> None:
    """`more`: definitions besides those that ship; the orchestrator has to know them, too."""
    import migrations
    from account_service.service import TOPICS as ACCOUNT
    from api.server import serve
    from orchestrator.service import TOPICS as ORCHESTRATOR

    log = await connect(settings, "api", more)
    try:
        for service in (accounts(settings), sagas(settings)):
            await check_partitions(log, service)
        await migrations.upgrade(settings.database_url, wait_s=settings.start_timeout_s)
        collect_rarely()
        await serve(
            log,
            settings.database_url,
            {ACCOUNT.name: settings.partitions, ORCHESTRATOR.name: settings.partitions},
            host=settings.api_host,
            port=settings.api_port,
            definitions=definitions(settings, more),
        )
    finally:
        await log.close()


async def run_payout_bridge(settings: Settings) -> None:
    from messages.payout import SendPayout
    from participant.http import Bridge, Endpoint, EndpointRefused

    try:
        endpoint = Endpoint(
            url=settings.payout_url,
            secret=settings.payout_secret.get_secret_value().encode(),
            timeout_s=settings.payout_timeout_s,
        )
    except EndpointRefused as error:
        told = f"MAKEGOOD_PAYOUT_URL, MAKEGOOD_PAYOUT_SECRET: {error}"
        raise SettingsError(told) from error
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.api_host)
    async with Bridge(endpoint) as bridge:
        await take_part(settings, PAYOUTS, {SendPayout: bridge.do}, {SendPayout: bridge.enquire})


async def take_part(
    settings: Settings,
    declared: Participant,
    handlers: "Handlers",
    enquiries: "Handlers | None" = None,
) -> None:
    """Be a participant of the bank of these settings: `participant.serve`, with its effects
    remembered for as long as the bank's own."""
    from participant.serving import Limits, serve

    await serve(
        settings.kafka(declared.name),
        declared,
        handlers,
        enquiries,
        instance=settings.instance,
        limits=Limits(effect_horizon_ms=round(settings.effect_horizon_days * DAY_MS)),
        start_timeout_s=settings.start_timeout_s,
    )


ROLES: Final[dict[str, Callable[[Settings], Coroutine[Any, Any, None]]]] = {
    "orchestrator": run_orchestrator,
    "account-service": run_account_service,
    "claims": run_claims,
    "projector": run_projector,
    "api": run_api,
    "payout-bridge": run_payout_bridge,
}
"""What `makegood run ROLE` starts."""


async def until_stopped(role: Coroutine[Any, Any, None]) -> None:
    """Run `role` until it ends, or SIGINT or SIGTERM arrives."""
    task = asyncio.ensure_future(role)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log_event.info("role_stopped")
