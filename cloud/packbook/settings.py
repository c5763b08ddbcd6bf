"""What an operator can set: one frozen value, read and checked at start.

In:  a TOML file, then `PACKBOOK_` environment variables over it, then secrets from the service manager's folder.
Out: `Settings`.
Refuses unknown keys, wrong types and half-given TLS, naming file (or variable), key and reason. Every setting is
explained in docs/book.md, and a test holds us to it.
"""

from __future__ import annotations

import os
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from packbook.adapters.store.database import database_url
from packbook.core.accounts import FIRST_TENANT, Role
from packbook.core.alerts import Kind, Severity
from packbook.core.sign_on import ISSUER_MAX, is_private_way
from packbook.ports.trouble import SettingsError, StoreError

DEFAULT_FILE: Final = Path("/etc/packbook/packbook.toml")
BOOK_KEY_FILE: Final = "book-key.pem"
ACCOUNTS_KEY_FILE: Final = "accounts.key"
PREFIX: Final = "PACKBOOK_"
ONLY_CREDENTIALS: Final = (  # from the service manager's folder
    "broker_password",
    "home_assistant_password",
    "ouranos_api_key",
    "ouranos_token",
    "smtp_password",
    "alert_webhook_secrets",
    "oidc_client_secret",
    "kafka_password",
)
CREDENTIALS: Final = (*ONLY_CREDENTIALS, "database_url")  # may come from there
SCHEMES: Final = {"mqtt": 1883, "mqtts": 8883}  # with their usual ports
SECRET_CHARS_MIN: Final = 16
SERVER: Final = r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"
MAIL: Final = r"^[^@\s<>,;\"]{1,64}@[A-Za-z0-9.-]{1,253}$"


class AlertReceiver(BaseModel):
    """One that hears of alerts: a program by webhook, people by mail, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    webhook: str | None = None
    email: tuple[Annotated[str, Field(pattern=MAIL)], ...] = ()
    severity: Severity = Severity.WARNING  # and what is worse
    kinds: tuple[Kind, ...] = ()  # none: all
    tenant: str | None = None  # of whose boxes and batteries; None: of the whole book
    language: Literal["en", "ja"] = "en"

    @model_validator(mode="after")
    def _hears_somehow(self) -> AlertReceiver:
        if self.webhook is None and not self.email:
            raise ValueError("expected webhook, email or both")
        parts = urlsplit(self.webhook or "https://none")
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.fragment:
            raise ValueError("webhook: expected https://HOST/...")
        _ = parts.port  # raises ValueError with the reason
        return self

    def wants(self, kind: Kind, severity: Severity) -> bool:
        return severity.rank >= self.severity.rank and (not self.kinds or kind in self.kinds)


class OidcRole(BaseModel):
    """Whom an identity provider's word makes what (`core.sign_on.RoleRule`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str = Field(min_length=1)
    value: str = Field(min_length=1)
    role: Literal[Role.OWNER, Role.VIEWER, Role.OPERATOR]  # an admin is made by people of this book
    tenant: str = FIRST_TENANT


class Settings(BaseSettings):
    """Everything an operator can set. Units end the names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    database_url: SecretStr = Field(
        SecretStr("sqlite:///packbook.db"), description="Where the ledger lives: sqlite:///FILE or postgresql://..."
    )
    broker: str = Field("mqtt://127.0.0.1:1883", description="Where records come from: mqtt://HOST:PORT or mqtts://...")
    broker_protocol: Literal["5", "3.1.1"] = Field("5", description="MQTT version; 3.1.1 for old brokers")
    broker_ca_file: Path | None = Field(None, description="Certificates the broker's must descend from; absent: system")
    broker_cert_file: Path | None = Field(
        None, description="Our certificate, for a broker that asks for one; {name} stands for collector_name"
    )
    broker_key_file: Path | None = Field(None, description="The certificate's private key; {name} as above")
    broker_user: str | None = Field(None, min_length=1, description="User name, for a broker that asks for one")
    broker_password: SecretStr | None = Field(None, description="Only from the credentials folder, never from here")
    collector_name: str = Field(
        "collector-0", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Fixed; the broker keeps its session"
    )
    share: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]{1,63}$", description="Group of collectors that share the work (PostgreSQL only)"
    )
    receive_max: int = Field(4000, ge=1, le=65535, description="Messages on their way to us before they are committed")
    session_expiry_s: int = Field(604_800, ge=60, description="How long the broker keeps messages while we are away")
    enrolled_only: bool = Field(default=False, description="Take records of enrolled boxes alone")
    batch_records_max: int = Field(500, ge=1, le=5000, description="Most messages in one transaction")
    batch_wait_max_s: float = Field(0.05, ge=0, le=10, description="Longest wait for a transaction to fill")
    verify_processes: int = Field(1, ge=0, le=64, description="Processes that check signatures; 0: the collector does")
    heartbeat_days: int = Field(90, ge=1, le=3650, description="How long the boxes' heartbeats are kept")
    book_key_file: Path | None = Field(
        None, description="Key that signs checkpoints and bundles, made at first use; absent: beside the database"
    )
    accounts: Literal["off", "on"] = Field("off", description="Who sees pages and API: whoever is here, or accounts")
    accounts_key_file: Path | None = Field(
        None, description="Key that seals second factors, made at first use; absent: beside the database"
    )
    oidc_issuer: str | None = Field(None, description="Identity provider that people may sign in through: https://...")
    oidc_client_id: str | None = Field(None, min_length=1, description="What this book is called there")
    oidc_client_secret: SecretStr | None = Field(None, description="Only from the credentials folder, never from here")
    oidc_name: str = Field("single sign-on", min_length=1, max_length=60, description="What the button calls it")
    oidc_scopes: str = Field("openid email profile", description="What it is asked to tell, with spaces between")
    oidc_ca_file: Path | None = Field(None, description="Certificates its own must descend from; absent: system")
    oidc_accounts: Literal["invited", "mapped"] = Field(
        "invited", description="Who comes in: who has an account here, or also whom oidc_roles gives one"
    )
    oidc_roles: tuple[OidcRole, ...] = Field((), description="Which claim gives which role in which tenant")
    oidc_only: bool = Field(default=False, description="Passwords open nothing of accounts bound to it")
    trusted_proxies: list[str] = Field(
        default_factory=list, description="Addresses of proxies whose word on the client's address and TLS counts"
    )
    web_host: str = Field("127.0.0.1", description="Address of pages and API; only loopback while accounts are off")
    web_port: int = Field(8080, ge=0, le=65535, description="Port of pages and API; 0 takes a free one")
    public_url: str | None = Field(None, description="Where others reach the pages for them: https://HOST[/FOLDER]")
    ca: Literal["own", "external"] = Field("own", description="Who gives boxes their certificates")
    ca_dir: Path | None = Field(None, description="Folder of our certificate authority, from 'packbook ca init'")
    certificate_days: int = Field(365, ge=7, le=1825, description="How long a box's certificate is valid")
    enrol_host: str = Field("0.0.0.0", description="Address where boxes enrol, over HTTPS")  # noqa: S104 - for boxes
    enrol_port: int | None = Field(None, ge=0, le=65535, description="Port where boxes enrol; absent: they cannot")
    enrol_cert_file: Path | None = Field(None, description="Certificate of that door, with its chain")
    enrol_key_file: Path | None = Field(None, description="Its private key")
    enrol_url: str | None = Field(None, description="That door as boxes see it; stands on labels")
    box_broker: str | None = Field(None, description="The broker as boxes see it: mqtts://HOST:PORT")
    box_operator_key: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Public half of the operator's key, told to boxes as they enrol"
    )
    vehicle_keys_dir: Path | None = Field(None, description="Folder of the keys that vehicle numbers are sealed with")
    operator_key_file: Path | None = Field(None, description="The operator's key: signs configurations and commands")
    rules: dict[str, str] = Field(default_factory=dict, description="Versions of rule sets, by family, over ours")
    rules_dir: Path | None = Field(None, description="Folder of rule files that go before ours")
    municipalities: dict[str, str] = Field(
        default_factory=dict, description="Which municipality a fleet belongs to, for totals: fleet = name"
    )
    home_assistant: str | None = Field(None, description="Broker of a Home Assistant: mqtt://HOST:PORT or mqtts://...")
    home_assistant_batteries: tuple[str, ...] = Field(
        (), description="Batteries shown there; none: what was is removed"
    )
    home_assistant_prefix: str = Field(
        "homeassistant", pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", description="Its discovery prefix"
    )
    home_assistant_language: Literal["en", "ja"] = Field("en", description="Names of the sensors there")
    home_assistant_ca_file: Path | None = Field(None, description="Certificates that broker's must descend from")
    home_assistant_user: str | None = Field(None, min_length=1, description="User name at that broker")
    home_assistant_password: SecretStr | None = Field(
        None, description="Only from the credentials folder, never from here"
    )
    ouranos_url: str | None = Field(None, description="The Ouranos platform that batteries are registered with")
    ouranos_operator_id: str | None = Field(None, description="Our operator's UUID there")
    ouranos_plant_id: str | None = Field(None, description="Our plant's UUID there")
    ouranos_api_key: SecretStr | None = Field(None, description="Only from the credentials folder, never from here")
    ouranos_token: SecretStr | None = Field(None, description="Only from the credentials folder, never from here")
    kafka_servers: tuple[Annotated[str, Field(pattern=SERVER)], ...] = Field(
        (), description="Take records from a Kafka-protocol topic at these HOST:PORT; acks still go to the broker"
    )
    kafka_topic: str = Field("packbook", pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Its name")
    kafka_group: str = Field("packbook", min_length=1, description="Group of collectors that share its partitions")
    kafka_security: Literal["plaintext", "ssl", "sasl_ssl"] = Field("ssl", description="How the way there is secured")
    kafka_ca_file: Path | None = Field(None, description="Certificates that theirs must descend from; absent: system")
    kafka_cert_file: Path | None = Field(None, description="Our certificate, for servers that ask for one")
    kafka_key_file: Path | None = Field(None, description="The certificate's private key")
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How user and password are shown, with sasl_ssl"
    )
    kafka_user: str | None = Field(None, min_length=1, description="User name, with sasl_ssl")
    kafka_password: SecretStr | None = Field(None, description="Only from the credentials folder, never from here")
    alert_receivers: tuple[AlertReceiver, ...] = Field((), description="Who hears of alerts, and how")
    alert_webhook_secrets: SecretStr | None = Field(
        None, description="Only from the credentials folder, never from here"
    )
    alert_private_hosts: bool = Field(
        default=False, description="Webhooks may lead into our own network, and be http://"
    )
    smtp_host: str | None = Field(None, description="Mail server that alerts are sent through")
    smtp_port: int | None = Field(None, ge=1, le=65535, description="Its port; absent: 587, with tls 465")
    smtp_tls: Literal["starttls", "tls", "none"] = Field("starttls", description="How the way there is kept private")
    smtp_ca_file: Path | None = Field(
        None, description="Certificates the mail server's must descend from; absent: system"
    )
    smtp_user: str | None = Field(None, min_length=1, description="User name, for a mail server that asks for one")
    smtp_password: SecretStr | None = Field(None, description="Only from the credentials folder, never from here")
    smtp_from: str | None = Field(None, pattern=MAIL, description="Whom alerts by mail come from")
    metrics_host: str = Field("127.0.0.1", description="Address of metrics and health, for programs in our own network")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="Their port; absent: they are not served")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or JSON objects")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged")

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: SecretStr) -> SecretStr:
        try:
            database_url(value.get_secret_value())
        except StoreError as problem:
            raise ValueError(str(problem).removeprefix("database_url: ")) from problem
        return value

    @field_validator("broker", "box_broker", "home_assistant")
    @classmethod
    def _is_a_broker(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in SCHEMES or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("expected mqtt://HOST:PORT or mqtts://HOST:PORT")
        if parts.username or parts.password:
            raise ValueError("user and password do not belong into the URL: see broker_user")
        _ = parts.port  # raises ValueError with the reason
        return value

    @field_validator("enrol_url", "ouranos_url")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
                raise ValueError("expected https://HOST:PORT")
            _ = parts.port  # raises ValueError with the reason
        return value

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not (parts.scheme == "https" or local) or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected https://HOST, perhaps with a folder")
        if parts.username:
            raise ValueError("user and password do not belong into the URL")
        _ = parts.port  # raises ValueError with the reason
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        for proxy in value:
            ip_network(proxy)  # raises ValueError with the reason
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> Settings:
        if (self.broker_cert_file is None) != (self.broker_key_file is None):
            raise ValueError("broker_cert_file and broker_key_file go together: give both or none")
        if not self.broker_tls and (self.broker_ca_file or self.broker_cert_file):
            raise ValueError("broker_ca_file, broker_cert_file and broker_key_file need an mqtts:// broker")
        if self.box_broker is not None and urlsplit(self.box_broker).scheme != "mqtts":
            raise ValueError("box_broker: boxes come over the internet: expected mqtts://HOST:PORT")
        if self.enrol_port is not None:
            if self.ca == "external":
                raise ValueError("enrol_port: with ca = external boxes enrol there, not here")
            if None in (self.ca_dir, self.enrol_cert_file, self.enrol_key_file):
                raise ValueError("enrol_port needs ca_dir, enrol_cert_file and enrol_key_file")
        if self.broker_password is not None and self.broker_user is None:
            raise ValueError("there is a password but no broker_user")
        if self.home_assistant is None and self.home_assistant_batteries:
            raise ValueError("home_assistant_batteries: to which broker? set home_assistant")
        if self.home_assistant_password is not None and self.home_assistant_user is None:
            raise ValueError("there is a password but no home_assistant_user")
        if self.accounts == "off" and not _is_loopback(self.web_host):
            raise ValueError("web_host: only a loopback address while accounts are off: anybody could read there")
        if self.share is not None and self.database_url.get_secret_value().startswith("sqlite"):
            raise ValueError("share: several collectors need PostgreSQL; a SQLite database has one writer")
        self._check_sign_on()
        self._check_alerts()
        self._check_kafka()
        return self

    def _check_sign_on(self) -> None:
        if (self.oidc_issuer is None) != (self.oidc_client_id is None):
            raise ValueError("oidc_issuer and oidc_client_id go together: give both or none")
        if self.oidc_issuer is None:
            if self.oidc_only or self.oidc_roles or self.oidc_client_secret is not None:
                raise ValueError("oidc_only, oidc_roles and oidc_client_secret need oidc_issuer")
            return
        parts = urlsplit(self.oidc_issuer)
        if parts.query or parts.fragment or parts.username or len(self.oidc_issuer) > ISSUER_MAX:
            raise ValueError("oidc_issuer: expected https://HOST, perhaps with a path")
        if not is_private_way(self.oidc_issuer, loopback=True):
            raise ValueError("oidc_issuer: expected https://; http:// is for a provider on this machine alone")
        if self.accounts == "off":
            raise ValueError('oidc_issuer: there is nobody to sign in: set accounts = "on"')
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("oidc_scopes: without openid nobody says who signed in")
        if (self.oidc_accounts == "mapped") != bool(self.oidc_roles):
            raise ValueError('oidc_roles and oidc_accounts = "mapped" go together: give both or none')

    def _check_kafka(self) -> None:
        if self.kafka_servers and self.share is not None:
            raise ValueError("share: with kafka_servers collectors share the topic's partitions, not a subscription")
        if (self.kafka_cert_file is None) != (self.kafka_key_file is None):
            raise ValueError("kafka_cert_file and kafka_key_file go together: give both or none")
        login = (self.kafka_user is not None, self.kafka_password is not None)
        if len({self.kafka_security == "sasl_ssl", *login}) > 1:
            raise ValueError("kafka_security: sasl_ssl goes with kafka_user and kafka_password")

    def _check_alerts(self) -> None:
        names = [receiver.name for receiver in self.alert_receivers]
        if len(set(names)) != len(names):
            raise ValueError("alert_receivers: each needs a name of its own")
        for receiver in self.alert_receivers:
            if receiver.email and (self.smtp_host is None or self.smtp_from is None):
                raise ValueError(f"alert_receivers: {receiver.name}: mail needs smtp_host and smtp_from")
            if receiver.webhook is None:
                continue
            if receiver.webhook.startswith("http:") and not self.alert_private_hosts:
                raise ValueError(f"alert_receivers: {receiver.name}: webhook: expected https://")
            if len(self.webhook_secrets.get(receiver.name, "")) < SECRET_CHARS_MIN:
                raise ValueError(
                    f"alert_receivers: {receiver.name}: its line in the credential alert_webhook_secrets is missing "
                    f"or shorter than {SECRET_CHARS_MIN} characters; expected: {receiver.name} SECRET"
                )
        if self.smtp_password is not None and self.smtp_user is None:
            raise ValueError("there is a password but no smtp_user")
        if self.smtp_user is not None and self.smtp_tls == "none":
            raise ValueError("smtp_user: a password does not go over the wire in the clear: set smtp_tls")

    @property
    def webhook_secrets(self) -> dict[str, str]:
        """What each receiver's messages are signed with, by its name."""
        told = self.alert_webhook_secrets.get_secret_value() if self.alert_webhook_secrets else ""
        pairs = (line.split(None, 1) for line in told.splitlines() if line.strip())
        return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}

    @property
    def book_key(self) -> Path:
        """Where the signing key lies: beside a SQLite file, else in the working folder, unless it is set."""
        if self.book_key_file is not None:
            return self.book_key_file
        return self._beside_database(BOOK_KEY_FILE)

    @property
    def accounts_key(self) -> Path:
        """Where the key of accounts' secrets lies, likewise."""
        return self.accounts_key_file or self._beside_database(ACCOUNTS_KEY_FILE)

    def _beside_database(self, name: str) -> Path:
        url = database_url(self.database_url.get_secret_value())
        beside = url.database if url.get_backend_name() == "sqlite" else None
        return Path(beside or name).with_name(name)

    @property
    def broker_tls(self) -> bool:
        return urlsplit(self.broker).scheme == "mqtts"

    @property
    def broker_host(self) -> str:
        return urlsplit(self.broker).hostname or ""

    @property
    def broker_port(self) -> int:
        parts = urlsplit(self.broker)
        return parts.port or SCHEMES[parts.scheme]


def load_settings(file: Path | None = None) -> Settings:
    """`file` None: the default file if there is one. Raises SettingsError with file or variable, key and reason."""
    where = file if file is not None else DEFAULT_FILE
    from_file = _read(where, must_exist=file is not None)
    _refuse_unknown_variables()
    for secret in ONLY_CREDENTIALS:
        if secret in from_file or _variable(secret) in os.environ:
            origin = where if secret in from_file else f"${_variable(secret)}"
            raise SettingsError(
                f"{origin}: {secret}: a secret does not belong here; "
                "put it into a file of that name in $CREDENTIALS_DIRECTORY"
            )
    below_environment = {key: value for key, value in from_file.items() if _variable(key) not in os.environ}
    try:
        return Settings(**(below_environment | _secrets()))
    except ValidationError as problem:
        raise SettingsError("; ".join(_said(where, error) for error in problem.errors(include_url=False))) from problem


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _read(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        if must_exist:
            raise SettingsError(f"{file}: there is no such file") from problem
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{file}: cannot be read: {problem}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError(f"{file}: not TOML: {problem}") from problem


def _secrets() -> dict[str, Any]:
    """systemd's LoadCredential= puts each secret into a file of a folder that only we can read."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    found: dict[str, Any] = {}
    for name in CREDENTIALS if folder else ():
        path = Path(folder or "") / name
        try:
            found[name] = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as problem:
            raise SettingsError(f"{path}: cannot be read: {problem}") from problem
    return found


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _refuse_unknown_variables() -> None:
    known = {_variable(name) for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"${unknown[0]}: there is no such setting")


def _said(file: Path, error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    origin = f"${_variable(key)}" if _variable(key) in os.environ else str(file)
    reason = "there is no such setting" if error["type"] == "extra_forbidden" else error["msg"]
    return ": ".join(filter(None, (origin, key, reason.removeprefix("Value error, "))))
