"""A collector with all that is done beside collecting: alone, or the first of several."""

from __future__ import annotations

from packbook.adapters.store import open_writer
from packbook.app.acts import ACTS
from packbook.app.alert_watch import alert_rules, watch_alerts
from packbook.app.command import DONE
from packbook.app.fleet import keep_judged
from packbook.app.forget import forget_daily
from packbook.app.meanwhile import meanwhile
from packbook.app.only_collect import collect_until_retired
from packbook.app.operate import Office, operators_door
from packbook.settings import Settings


async def keep_book(settings: Settings) -> int:
    rules = alert_rules(settings)
    async with (
        open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database,
        operators_door(Office(database, settings), ACTS),
        meanwhile(keep_judged(database), "judge"),
        meanwhile(forget_daily(database, settings.heartbeat_days), "forget"),
        meanwhile(watch_alerts(settings, database, rules), "alerts"),
    ):
        await collect_until_retired(settings, database)
    return DONE
