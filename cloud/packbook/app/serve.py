"""`packbook serve`: collector, pages, API and the boxes' enrolment in one process over one database."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from packbook.adapters.metrics import Metrics
from packbook.adapters.store import open_beside, open_writer
from packbook.adapters.store.histories import SqlHistories
from packbook.app.acts import ACTS
from packbook.app.alert_watch import alert_rules, watch_alerts
from packbook.app.collecting import make_collector, reading
from packbook.app.command import DONE, add_settings, run
from packbook.app.condition import ProcessCondition, ops_door, serve_ops
from packbook.app.enrolment import make_desk
from packbook.app.evidence import book_evidence, sign_daily
from packbook.app.fleet import keep_judged
from packbook.app.forget import forget_daily
from packbook.app.home_assistant import home_assistant
from packbook.app.learn import learn_daily
from packbook.app.operate import Office, operators_door
from packbook.app.pages import pages_over
from packbook.app.serve_est import est_door, serve_est
from packbook.app.web import listening, say_where, serve_pages
from packbook.settings import Settings
from packwire import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, _serve)


async def _serve(settings: Settings) -> int:
    await serve(settings, on_ready=say_where)
    return DONE


async def serve(settings: Settings, *, on_ready: Callable[[str], None], looks: Mapping[str, str] | None = None) -> None:
    """Until cancelled. `on_ready` hears the pages' address once they answer; a broker that is away is waited for.

    `looks`: of a demo alone (`create_app`).

    Raises StoreError, SettingsError or PortTaken before anything was begun.
    """
    with ExitStack() as doors:
        door = doors.enter_context(listening(settings))
        ops = doors.enter_context(ops_door(settings))
        est = doors.enter_context(est_door(settings)) if settings.enrol_port is not None else None
        read_all = doors.enter_context(reading(settings))
        async with (
            open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database,
            open_beside(settings.database_url.get_secret_value(), database) as beside,
            operators_door(Office(database, settings), ACTS),
        ):
            metrics = Metrics(__version__)
            collector = make_collector(settings, database, read_all, metrics)
            condition = ProcessCondition(database, metrics, lambda: collector.up)
            evidence = book_evidence(settings, database)
            rules = alert_rules(settings)
            desk = make_desk(settings, database, evidence.book_key) if est is not None else None
            if desk is not None:
                await desk.write_revoked()
            house = home_assistant(settings, SqlHistories(database), evidence.book_key)
            async with asyncio.TaskGroup() as book:
                if desk is not None and est is not None:
                    book.create_task(serve_est(settings, desk, est), name="enrol")
                if ops is not None:
                    book.create_task(serve_ops(condition, ops), name="metrics")
                book.create_task(collector.run(), name="collect")
                book.create_task(keep_judged(database), name="judge")
                book.create_task(forget_daily(database, settings.heartbeat_days), name="forget")
                book.create_task(watch_alerts(settings, database, rules), name="alerts")
                book.create_task(learn_daily(database), name="learn")
                book.create_task(sign_daily(evidence), name="sign")
                if house is not None:
                    book.create_task(house.run(), name="home assistant")
                app = pages_over(
                    settings, database, evidence, own=True, reading=beside, looks=looks, condition=condition
                )
                pages = serve_pages(app, door, on_ready, settings.trusted_proxies)
                book.create_task(pages, name="web")
