"""A rig on a bench, without one: `ssh` and `sudo` on the PATH are scripts that run here what should run there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from rig import bench
from rig.bench import BenchRig, LocalShell, RemoteShell, RigMissing, hold_command
from rig.machine import Ability, Late, RigError, ScriptFailed
from rig.settings import BoxSettings, GpioSettings, SettingsTrouble, read_settings

# Options end at the host; what comes behind `--` is for the shell over there. No answer while the box has no power.
SSH = """\
#!/bin/bash
echo "$*" >> "{log}"
[ -e "{power}" ] || {{ echo "ssh: connect to host pi port 22: No route to host" >&2; exit 255; }}
while [ "$1" != -- ]; do [ "$1" = -O ] && exit 0; shift; done
shift
exec bash -c "$*"
"""
SUDO = '#!/bin/bash\n[ "$1" = -n ] && shift\nexec "$@"\n'
MACHINE = {  # what the tests ask these for
    "ip": '#!/bin/bash\necho "2: ${*: -1}: <NOARP,UP,LOWER_UP>"\n',
    "systemctl": "#!/bin/bash\nexit 0\n",
    "systemd-tmpfiles": "#!/bin/bash\nexit 0\n",
    "journalctl": "#!/bin/bash\n",
    **dict.fromkeys(bench.CAR_TOOLS, "#!/bin/bash\n"),
}
SETTINGS = """\
name = "made of paper"
[box]
host = "pi"
user = "packer"
key_file = "key"
known_hosts_file = "known"
[power]
off = "rm '{power}'"
on = "touch '{power}'; echo second > '{boot}'"
off_for_s = 0
"""


@pytest.fixture
def power(tmp_path: Path) -> Path:
    """There while the box has power."""
    made = tmp_path / "power"
    made.touch()
    return made


@pytest.fixture
def tools(tmp_path: Path, power: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {"ssh": SSH.format(log=tmp_path / "ssh.log", power=power), "sudo": SUDO, **MACHINE}
    for name, script in scripts.items():
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(bench, "SBIN", "")
    return folder


@pytest.fixture
def file(tmp_path: Path, power: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    boot = tmp_path / "boot"
    boot.write_text("first\n")
    monkeypatch.setattr(bench, "BOOT_ID", f"cat '{boot}'")
    monkeypatch.setattr(bench, "KEPT", f"{tmp_path}/etc {tmp_path}/lib")  # never this computer's own
    monkeypatch.setattr(bench, "SCRATCH", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # one of these rigs is killed, and clears nothing away
    (tmp_path / "key").touch()
    (tmp_path / "known").touch()
    made = tmp_path / "rig.toml"
    made.write_text(SETTINGS.format(power=power, boot=boot))
    return made


@pytest.fixture
def shell(tmp_path: Path, tools: Path) -> RemoteShell:
    (tmp_path / "key").touch()
    settings = BoxSettings(host="pi", user="packer", key_file=tmp_path / "key", known_hosts_file=tmp_path / "key")
    return RemoteShell(settings, 1.0, tmp_path)


def test_a_script_runs_there_with_its_words_and_status(shell: RemoteShell) -> None:
    """Tests are written for a shell, whatever lies between."""
    ran = shell.run('echo "it\'s $((6 * 7))"; echo oh >&2; cat; exit 3', check=False)
    assert (ran.status, ran.out, ran.err.strip()) == (3, "it's 42\n", "oh")
    with pytest.raises(ScriptFailed, match="oh"):
        shell.run("echo oh >&2; false")


def test_the_host_must_be_known_and_nobody_is_asked(shell: RemoteShell, tmp_path: Path) -> None:
    """Somebody else's machine in the Pi's place would run our scripts as root; a question would hang the run."""
    shell.run("true")
    said = (tmp_path / "ssh.log").read_text()
    assert "-o StrictHostKeyChecking=yes" in said
    assert "-o BatchMode=yes" in said
    assert f"-o UserKnownHostsFile={tmp_path / 'key'}" in said


def test_bytes_arrive_as_they_are(shell: RemoteShell, tmp_path: Path) -> None:
    """Logs, packages and databases go over this."""
    data = bytes(range(256)) * 3 + b"\nrig-status=0\n"
    place = str(tmp_path / "a folder's" / "file")
    shell.put(place, data)
    assert shell.get(place) == data
    with pytest.raises(ScriptFailed, match="No such file"):
        shell.get("/none/such")


def test_late_is_not_failed_and_no_connection_is_neither(shell: RemoteShell, power: Path) -> None:
    """Who reads the report goes to another place for each."""
    with pytest.raises(Late, match="on pi"):
        shell.run("sleep 30", within_s=0.2)
    power.unlink()
    with pytest.raises(RigError, match="No route to host") as caught:
        shell.run("true", check=False)
    assert not isinstance(caught.value, (Late, ScriptFailed))


def test_the_slow_factor_stretches_limits(tools: Path) -> None:
    """One setting for all limits of time."""
    with pytest.raises(Late):
        LocalShell(0.01).run("sleep 5", within_s=10)
    assert LocalShell(100.0).run("sleep 0.05", within_s=0.01).status == 0


def test_power_is_cut_and_comes_back_when_the_shell_answers(file: Path, power: Path) -> None:
    """A test goes on only on a box that has really started anew."""
    rig = BenchRig(read_settings(file))
    try:
        assert rig.abilities == {Ability.POWER_CUT}
        rig.cut_power()
        with pytest.raises(RigError, match="No route"):
            rig.box.run("true")
        rig.power_on()
        assert rig.box.run("echo here").out == "here\n"
    finally:
        rig.close()


def test_a_relay_that_switches_nothing_is_noticed(file: Path) -> None:
    """Every power cut would be survived."""
    file.write_text(file.read_text().replace("rm ", "true ").replace("echo second >", "true"))
    rig = BenchRig(read_settings(file))
    try:
        rig.cut_power()
        with pytest.raises(RigError, match="never lost its power"):
            rig.power_on()
    finally:
        rig.close()


def test_what_the_box_held_is_set_aside_and_put_back(file: Path, tmp_path: Path) -> None:
    """Somebody's box with somebody's history stands on that bench, also after a run that was killed."""
    history = tmp_path / "lib" / "journal.sqlite"
    history.parent.mkdir()
    history.write_text("years")
    killed = BenchRig(read_settings(file))
    killed.renew()
    assert not history.exists()
    history.parent.mkdir()
    history.write_text("of a test")
    rig = BenchRig(read_settings(file))
    rig.renew()
    rig.renew()
    rig.close()
    assert history.read_text() == "years"
    assert sorted(path.name for path in tmp_path.glob("*hil*")) == []
    assert not (tmp_path / "etc").exists()


def test_all_that_is_missing_is_said_at_once(file: Path, tools: Path, power: Path) -> None:
    """Who has to walk to the bench walks once."""
    (tools / "ip").write_text("#!/bin/bash\nexit 1\n")
    (tools / "canplayer").unlink()
    power.unlink()
    with pytest.raises(RigMissing) as caught:
        BenchRig(read_settings(file))
    text = str(caught.value)
    for part in ("this computer: can0 (car.can) is not there", "No route to host"):
        assert part in text
    if shutil.which("canplayer") is None:
        assert "canplayer is not installed" in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('host = "pi"\n', "", "box.host: is missing"),
        ('host = "pi"', 'host = "-oProxyCommand=x"', "box.host: "),
        ('user = "packer"', "prot = 22", "box.prot: there is no such setting"),
        ('key_file = "key"', 'key_file = "none"', "none: there is no such file"),
        ('user = "packer"', "port = 70000", "box.port: "),
        ('user = "packer"', 'can = "a name that is far too long"', "box.can: "),
        ("off_for_s = 0", "off_for_s = -1", "power.off_for_s: "),
        ("off_for_s = 0", 'gpio = {chip = "gpiochip0", line = 1}', "power: either off and on, or gpio"),
        ('on = "', 'onn = "', "power.onn: there is no such setting"),
        ("[power]", "[power", "no TOML"),
        ('name = "made of paper"', "slow_factor = 0", "slow_factor: "),
    ],
)
def test_a_wrong_file_is_refused_with_field_and_reason(file: Path, old: str, new: str, said: str) -> None:
    """Read once, corrected once."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsTrouble) as caught:
        read_settings(file)
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_the_example_is_right_but_for_the_files_it_names(root: Path, tmp_path: Path) -> None:
    """What people copy must work."""
    text = (root / "hil" / "rig.example.toml").read_text()
    for name in ("~/.ssh/pi-bench", "pi-bench.known_hosts"):
        assert name in text
        (tmp_path / "there").touch()
        text = text.replace(f'"{name}"', '"there"')
    file = tmp_path / "rig.toml"
    file.write_text(text)
    settings = read_settings(file)
    assert settings.power is not None
    assert settings.box.key_file == tmp_path / "there"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, ["gpioset", "--active-low", "--mode=signal", "gpiochip0", "17=1"]),
        (2, ["gpioset", "--active-low", "--chip", "gpiochip0", "17=1"]),
    ],
)
def test_a_gpio_line_is_held_with_either_generation_of_gpioset(version: int, words: list[str]) -> None:
    """Debian 12 has the first, Debian 13 the second, and they share no option for it."""
    assert hold_command(GpioSettings(chip="gpiochip0", line=17, active_low=True), version) == words
