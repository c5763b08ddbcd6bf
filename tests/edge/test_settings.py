"""A bad setting fails in the first second, with its name."""

from __future__ import annotations

import re
import tomllib
from operator import attrgetter
from pathlib import Path

import pytest

from packbox import settings as module
from packbox.clock import ClockTrust
from packbox.ports import SettingsError
from packbox.settings import every_setting, load_settings


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEFAULT_FILE", tmp_path / "default.toml")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "packbox.toml"


def test_without_a_file_the_defaults_hold() -> None:
    """A box in a drawer listens and keeps; it sends nothing anywhere."""
    settings = load_settings()
    assert settings.broker.host is None
    assert settings.polling == "never"
    assert settings.commit_every_s == 10.0
    assert settings.key_file == Path("/var/lib/packbox/key/box.pem")


def test_command_line_beats_environment_beats_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearer to the person, the stronger; and a table is laid over key by key."""
    file.write_text('profile = "leaf"\nvehicle = "van 1"\nclock_trusted = "always"\n[broker]\nhost = "a"\nport = 1\n')
    monkeypatch.setenv("PACKBOX_BROKER__HOST", "b")
    monkeypatch.setenv("PACKBOX_PROFILE", "imiev")
    settings = load_settings(file, {"profile": "zoe", "vehicle": None})
    assert (settings.profile, settings.vehicle, settings.clock_trusted) == ("zoe", "van 1", ClockTrust.ALWAYS)
    assert (settings.broker.host, settings.broker.port) == ("b", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('profil = "leaf"', "profil: there is no such setting"),
        ('[broker]\nhosts = "a"', "broker.hosts: there is no such setting"),
        ("commit_every_s = 0", "commit_every_s: Expected `float` >= 0.1"),
        ('commit_every_s = "often"', "commit_every_s: Expected `float`, got `str`"),
        ('clock_trusted = "maybe"', "clock_trusted: Expected one of 'auto', 'always'"),
        ('polling = "always"', "polling: Expected one of 'never', 'standing', 'agreed'"),
        ('battery = "no spaces, please"', "battery: Expected `str` matching"),
        ("[broker]\nport = 70000", "broker.port: Expected `int` <= 65535"),
        ('[broker]\ncert_file = "a"', "broker: cert_file and key_file go together"),
        ('[broker]\ntls = false\nca_file = "a"', "broker: ca_file, cert_file and key_file need tls = true"),
        ('broker = "here"', "broker: "),
        ('log_level = "loud"', "log_level: Expected one of 'debug', 'info', 'warning', 'error'"),
        ("data_dir = 5", "data_dir: Expected `str`, got `int`"),
        ("profile = leaf", "not TOML"),
        ("profile = \udcff", "cannot be read"),
    ],
)
def test_an_error_names_file_key_and_reason(file: Path, text: str, said: str) -> None:
    """The person at the box has nothing but this line."""
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(SettingsError) as problem:
        load_settings(file)
    assert str(problem.value).startswith(f"{file}: {said}")


def test_a_wrong_variable_is_named_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking into the file would not help."""
    monkeypatch.setenv("PACKBOX_BROKER__PORT", "many")
    with pytest.raises(
        SettingsError, match=r"^\$PACKBOX_BROKER__PORT: broker\.port: Expected `int \| null`, got `str`"
    ):
        load_settings()


@pytest.mark.parametrize("name", ["PACKBOX_PROFIL", "PACKBOX_BROKER__HOSTS"])
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A mistyped one would silently do nothing."""
    monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError, match=rf"^\${name}: there is no such setting"):
        load_settings()


def test_a_variable_that_should_be_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker as one variable is possible, if it is JSON."""
    monkeypatch.setenv("PACKBOX_BROKER", "here")
    with pytest.raises(SettingsError, match=r"^\$PACKBOX_BROKER: not JSON"):
        load_settings()


def test_secrets_come_from_the_credentials_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file is copied, mailed and checked in; a credential is not. It does not show when printed either."""
    file.write_text('[broker]\nhost = "a"\nuser = "u"\n')
    (tmp_path / "broker_password").write_text("hidden\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings(file)
    assert settings.broker.password is not None
    assert settings.broker.password.text == "hidden"
    assert "hidden" not in repr(settings)


def test_a_secret_in_the_wrong_place_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused without showing it."""
    file.write_text('[broker]\nuser = "u"\npassword = "hidden"\n')
    with pytest.raises(SettingsError, match="does not belong here") as problem:
        load_settings(file)
    assert "hidden" not in str(problem.value)
    file.write_text("")
    monkeypatch.setenv("PACKBOX_BROKER__PASSWORD", "hidden")
    with pytest.raises(SettingsError, match=r"^\$PACKBOX_BROKER__PASSWORD: .*does not belong here"):
        load_settings(file)


def test_a_file_that_was_asked_for_must_be_there(file: Path) -> None:
    """A mistyped --settings must not start a box with defaults."""
    with pytest.raises(SettingsError, match=f"{file}: there is no such file"):
        load_settings(file)


def test_settings_do_not_change() -> None:
    """Whoever holds them may rely on them."""
    with pytest.raises(AttributeError):
        load_settings().profile = "other"  # type: ignore[misc]  # that is what is tried


@pytest.mark.parametrize(
    ("text", "tls", "port"),
    [
        ('host = "book.example"', True, 8883),
        ('host = "127.0.0.1"', False, 1883),
        ('host = "localhost"\nport = 1234', False, 1234),
        ('host = "::1"\ntls = true', True, 8883),
        ('host = "10.0.0.1"\ntls = false', False, 1883),
        ('host = "book.example"\nport = 1883', True, 1883),
    ],
)
def test_a_link_that_leaves_the_machine_is_encrypted_unless_said_otherwise(
    file: Path, text: str, tls: bool, port: int
) -> None:
    """A port says nothing about what listens there, so it never turns encryption off."""
    file.write_text(f"[broker]\n{text}\n")
    broker = load_settings(file).broker
    assert (broker.tls, broker.port) == (tls, port)


def test_every_setting_is_explained(root: Path) -> None:
    """docs/box.md says what is true today: each setting with its default."""
    text = (root / "docs/box.md").read_text(encoding="utf-8")
    missing = [name for name in every_setting() if f"`{name}`" not in text]
    assert missing == []


@pytest.fixture
def example(root: Path) -> str:
    return (root / "systemd/packbox.toml").read_text(encoding="utf-8")


def in_force(example: str, *but: str) -> str:
    """The example with every setting in force, but for these."""
    return "\n".join(
        line if line[1:].startswith(but) else re.sub(r"^#(?=\w+ = )", "", line) for line in example.split("\n")
    )


def test_the_shipped_example_is_the_defaults(file: Path, example: str) -> None:
    """Whoever copies it and changes nothing changes nothing."""
    file.write_text(example)
    as_it_is = load_settings(file)
    file.write_text("")
    assert as_it_is == load_settings(file)


def test_the_shipped_example_names_every_setting_with_its_default(file: Path, example: str) -> None:
    """It is read in a car park, where nobody looks into the manual."""
    said = tomllib.loads(in_force(example))
    names = {f"{name}.{key}" for name, table in said.items() if isinstance(table, dict) for key in table}
    names |= {name for name, value in said.items() if not isinstance(value, dict)}
    assert names == set(every_setting()) - {"broker.password"}
    file.write_text("")
    defaults = load_settings(file)
    for one in ("ignition_file", "ignition_command"):  # only one of them may be given
        file.write_text(in_force(example, one))
        uncommented = load_settings(file)
        for name in names - {"profile"}:  # none and `auto` mean the same
            default = attrgetter(name)(defaults)
            assert default is None or attrgetter(name)(uncommented) == default, name


def test_the_shipped_example_says_why(example: str) -> None:
    """Above each setting, or above the group that it belongs to, stands a sentence."""
    for block in example.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("[")]
        assert lines[0].startswith("# "), block
