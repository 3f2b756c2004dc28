"""Where settings come from, which one wins, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from hubreg.config import Config, load
from hubreg.errors import Unusable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hubreg.toml"


def test_what_is_set_nowhere_has_its_default() -> None:
    """No file, no variable, no flag: the server listens to its own machine only."""
    config = load(environ={})
    assert config == Config()
    assert config.host == "127.0.0.1"


def test_the_command_line_wins_over_the_environment_over_the_file(file: Path) -> None:
    """Each source overrides the one before, setting by setting."""
    file.write_text('host = "file"\npublic_url = "http://file"\nworkers = 2\nport = 1\n')
    environ = {"HUBREG_HOST": "environ", "HUBREG_PUBLIC_URL": "http://environ", "HUBREG_WORKERS": "3"}
    config = load(file, {"host": "flag", "workers": None}, environ)
    assert (config.host, config.public_url, config.workers, config.port) == ("flag", "http://environ", 3, 1)


def test_every_setting_can_come_from_every_source(file: Path) -> None:
    """The same value by file, variable and flag is the same configuration."""
    sample = {bool: True, int: 7, str: "", Path: Path("somewhere")}
    for setting in dataclasses.fields(Config):
        value = sample[type(setting.default) if not isinstance(setting.default, Path) else Path]
        quoted = f"'{value}'" if isinstance(value, str | Path) else str(value).lower()
        file.write_text(f"{setting.name} = {quoted}")
        wanted = dataclasses.replace(Config(), **{setting.name: value})
        assert load(file, environ={}) == wanted
        assert load(environ={f"HUBREG_{setting.name.upper()}": str(value)}) == wanted
        assert load(flags={setting.name: value}, environ={}) == wanted


def test_every_setting_is_explained() -> None:
    """The line that the documentation prints is a sentence."""
    for setting in dataclasses.fields(Config):
        assert re.fullmatch(r"[A-Z].*\.", setting.metadata["help"]), setting.name


def test_other_variables_are_somebody_elses() -> None:
    """A shell has many more; and Kubernetes tells of a service that is called hubreg."""
    environ = {"HOST": "elsewhere", "hubreg_host": "lower", "HUBREG": "x", "MY_HUBREG_PORT": "1"}
    kubernetes = {"HUBREG_SERVICE_HOST": "10.0.0.1", "HUBREG_PORT_8080_TCP_ADDR": "10.0.0.1"}
    assert load(environ={**environ, **kubernetes}) == Config()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HUBREG_WORKER", "Is it HUBREG_WORKERS?"),
        ("HUBREG_DATA_DIR", "Is it HUBREG_DATA?"),
        ("HUBREG_TRUSTED_PROXY", "Is it HUBREG_TRUSTED_PROXIES?"),
        ("HUBREG_XYZZY", "There are: HUBREG_DATA, HUBREG_HOST, "),
    ],
)
def test_a_variable_that_only_looks_like_a_setting_is_refused(name: str, hint: str) -> None:
    """A typo would pass in silence, and the server would serve something else."""
    with pytest.raises(Unusable, match=f"environment: there is no setting {name}") as refused:
        load(environ={name: "1"})
    assert refused.value.hint.startswith(hint)


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "yes"])
def test_switched_on(text: str) -> None:
    """The words that mean yes, in any case."""
    assert load(environ={"HUBREG_ANONYMOUS": text}).anonymous is True


@pytest.mark.parametrize("text", ["0", "false", "False", "no"])
def test_switched_off(text: str) -> None:
    """The words that mean no."""
    assert load(environ={"HUBREG_ANONYMOUS": text}).anonymous is False


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ANONYMOUS", "maybe"),
        ("ANONYMOUS", ""),
        ("PORT", "http"),
        ("PORT", ""),
        ("PORT", "--5"),
        ("PORT", "²"),
        ("PORT", "8080.0"),
        ("PORT", "9" * 5000),
    ],
)
def test_a_variable_that_is_not_of_its_kind(name: str, text: str) -> None:
    """It is refused with its name and where it came from."""
    with pytest.raises(Unusable, match=f"environment: {name.lower()} must be"):
        load(environ={f"HUBREG_{name}": text})


@pytest.mark.parametrize(
    "line", ['port = "8080x"', "port = 80.5", "port = true", "host = 5", "anonymous = 1", "data = 5"]
)
def test_a_line_that_is_not_of_its_kind(file: Path, line: str) -> None:
    """The same for a line of the file, which is named."""
    file.write_text(line)
    with pytest.raises(Unusable, match=rf"hubreg\.toml: {line.split()[0]} must be"):
        load(file, environ={})


def test_a_setting_that_does_not_exist(file: Path) -> None:
    """A typo in the file is refused, and the hint lists what there is."""
    file.write_text("prot = 8080")
    with pytest.raises(Unusable, match="there is no setting 'prot'") as refusal:
        load(file, environ={})
    assert "public_url" in refusal.value.hint


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"port = 1\nport = 2"])
def test_a_file_that_is_not_toml(file: Path, content: bytes) -> None:
    """It is named."""
    file.write_bytes(content)
    with pytest.raises(Unusable, match=r"hubreg\.toml is not TOML"):
        load(file, environ={})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """One that is missing, and a directory."""
    for path, reason in ((tmp_path / "none.toml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(Unusable, match=reason):
            load(path, environ={})


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65536},
        {"workers": 0},
        {"graceful_seconds": -1},
        {"ssl_certfile": "cert.pem"},
        {"ssl_keyfile": "key.pem"},
        {"regular_max": 0},
        {"lfs_max": -5},
        {"mirror_budget": -1},
        {"part_size": 0},
        {"multipart_from": 0},
        {"link_seconds": 0},
        {"trusted_proxies": "10.0.0.0/33"},
        {"trusted_proxies": "proxy.example"},
        {"public_url": "hub.example"},
        {"public_url": "ftp://hub.example"},
        {"public_url": "https://"},
        {"public_url": "https://:443"},
        {"public_url": "https://hub.example:port"},
        {"public_url": "https://[::1"},
        {"public_url": "https://hub.example/?a=b"},
        {"public_url": "https://hub.example/#a"},
        {"public_url": "https://ann:secret@hub.example"},
    ],
    ids=str,
)
def test_values_that_make_no_sense(wrong: dict[str, object]) -> None:
    """They are refused by name, however the configuration is made."""
    with pytest.raises(Unusable, match=next(iter(wrong))):
        Config(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    ["http://hub.example", "https://hub.example:8443/prefix/", "http://127.0.0.1:80", "http://[::1]:8080"],
)
def test_public_urls(url: str) -> None:
    """With a port, a path, an address of either kind."""
    assert Config(public_url=url).public_url == url


def test_trusted_proxies() -> None:
    """Addresses and networks of both kinds, with blanks where people put them."""
    config = Config(trusted_proxies=" 10.0.0.1, 192.168.0.7/16 ,, ::1 ")
    assert config.proxies() == (
        ip_network("10.0.0.1/32"),
        ip_network("192.168.0.0/16"),
        ip_network("::1/128"),
    )
    assert Config().proxies() == ()


def test_a_configuration_does_not_change() -> None:
    """Whoever holds it holds it as it was read."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().port = 1  # type: ignore[misc]
