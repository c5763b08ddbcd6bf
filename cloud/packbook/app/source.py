"""Where a collector takes records from: a subscription at the broker, or a topic of the Kafka protocol."""

from __future__ import annotations

from packbook.ports.taking import Source
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings


def source_of(settings: Settings) -> Source | None:
    """None: the broker. Raises SettingsError when the library for the other is not installed."""
    if not settings.kafka_servers:
        return None
    try:
        from packbook.adapters.kafka import KafkaSource, KafkaTopic
    except ImportError as problem:
        raise SettingsError("kafka_servers: install the extra 'kafka': pip install 'packbook[kafka]'") from problem
    return KafkaSource(
        KafkaTopic(
            settings.kafka_servers,
            settings.kafka_topic,
            settings.kafka_group,
            settings.kafka_security,
            settings.kafka_ca_file,
            settings.kafka_cert_file,
            settings.kafka_key_file,
            settings.kafka_mechanism,
            settings.kafka_user,
            settings.kafka_password.get_secret_value() if settings.kafka_password else None,
        )
    )
