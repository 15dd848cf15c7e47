"""A variable that looks like a setting and is none is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import medmirror
from medmirror.cli import cli
from medmirror.errors import UsageError
from medmirror.settings import ScheduleSettings, ServiceSettings, Settings, read
from medmirror.settings.registry import VARIABLES

MISSPELT = [
    ("MEDMIRROR_WORKRES", "MEDMIRROR_WORKERS"),
    ("MEDMIRROR_WORKER", "MEDMIRROR_WORKERS"),
    ("medmirror_workers", "MEDMIRROR_WORKERS"),
    ("Medmirror_Workers", "MEDMIRROR_WORKERS"),
    ("MEDMIRROR_CHUNKBYTES", "MEDMIRROR_CHUNK_BYTES"),
    ("MEDMIRROR_SYNC_INTERVAL_MINUTES_", "docs/settings.md"),
    ("MEDMIRROR_PAYLOAD_KEYFILE", "MEDMIRROR_PAYLOAD_KEY_FILE"),
    ("MEDMIRROR_DSN_", "MEDMIRROR_DSN"),
    ("MEDMIRROR_", "docs/settings.md"),
    ("MEDMIRROR_COLOUR", "docs/settings.md"),
    ("MEDMIROR_DSN", "MEDMIRROR_DSN"),
    ("MED_MIRROR_WORKERS", "MEDMIRROR_WORKERS"),
]


@pytest.mark.parametrize(("name", "nearest"), MISSPELT)
def test_a_misspelt_name_is_refused_with_the_nearest_right_one(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is no setting of medmirror; .*{re.escape(nearest)}\b"):
        Settings.from_environment({name: "2"})


def test_every_group_refuses_it_and_an_empty_value_does_not_save_it() -> None:
    with pytest.raises(UsageError, match="did you mean MEDMIRROR_AUDIT_DAYS"):
        read(ServiceSettings, {"MEDMIRROR_AUDIT_DAY": ""})


@pytest.mark.parametrize("name", ["SYNC_INTERVALL_MINUTES", "ENABLE_SYNC_SCHEDULAR", "sync_full_at"])
def test_a_misspelt_name_without_our_prefix_is_refused_by_the_scheduler_alone(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is no setting of medmirror; did you mean"):
        read(ScheduleSettings, {name: "true"})
    assert Settings.from_environment({name: "true"}) == Settings()


def test_the_variables_of_other_programs_are_none_of_ours() -> None:
    others = {"PATH": "/bin", "PGHOST": "h", "SYNC_DIRECTORY": "/srv", "CLINIKO_KEY": "k", "HOME": "/root", "DSN": "x"}
    assert Settings.from_environment(others) == Settings()
    assert read(ScheduleSettings, others) == ScheduleSettings()


def test_every_variable_may_be_set_to_its_example() -> None:
    environ = {each.name: each.kind.example for each in VARIABLES}
    assert Settings.from_environment(environ).log_level == "INFO"
    assert read(ScheduleSettings, environ).enabled


def test_a_service_of_kubernetes_or_docker_named_medmirror_is_no_misspelling() -> None:
    environ = {
        "MEDMIRROR_SERVICE_HOST": "10.0.0.1",
        "MEDMIRROR_SERVICE_PORT": "8080",
        "MEDMIRROR_SERVICE_PORT_HTTP": "8080",
        "MEDMIRROR_PORT": "tcp://10.0.0.1:8080",
        "MEDMIRROR_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "MEDMIRROR_PORT_8080_TCP_PROTO": "tcp",
        "MEDMIRROR_PORT_8080_TCP_PORT": "8080",
        "MEDMIRROR_PORT_8080_TCP_ADDR": "10.0.0.1",
        "MEDMIRROR_DB_SERVICE_HOST": "10.0.0.2",
        "MEDMIRROR_DB_PORT": "tcp://10.0.0.2:5432",
        "MEDMIRROR_DB_PORT_5432_TCP_ADDR": "10.0.0.2",
    }
    assert Settings.from_environment(environ) == Settings()
    with pytest.raises(UsageError, match=r"^MEDMIRROR_PORT is no setting"):
        Settings.from_environment({"MEDMIRROR_PORT": "8080"})  # somebody's word for `serve --port`


def test_no_message_quotes_the_value_of_a_secret() -> None:
    for name in ("MEDMIRROR_SOURCE_PASSWROD", "MEDMIRROR_DSN_2", "MEDMIRROR_DSN"):
        with pytest.raises(UsageError) as caught:
            Settings.from_environment({name: "tiger"})
        assert "tiger" not in str(caught.value)


def test_a_wrong_value_of_another_group_is_refused_by_every_command() -> None:
    with pytest.raises(UsageError, match=r"^MEDMIRROR_AUDIT_DAYS: the value '0' is not a whole number from 1 to 36500"):
        Settings.from_environment({"MEDMIRROR_AUDIT_DAYS": "0"})
    with pytest.raises(UsageError, match=r"^MEDMIRROR_NATIVE: the value 'perhaps' is not true or false"):
        Settings.from_environment({"MEDMIRROR_NATIVE": "perhaps"})
    assert Settings.from_environment({"SYNC_FULL_AT": "noon"}) == Settings()  # it may be another program's


@pytest.mark.parametrize("words", [("load", "a.xml"), ("db", "url"), ("scheduler", "--once"), ("nightly", "x")])
def test_a_command_ends_with_exit_code_2(words: tuple[str, ...]) -> None:
    result = CliRunner(env={"MEDMIRROR_WORKRES": "2"}).invoke(cli, [*words, "--dsn", "postgresql://127.0.0.1:1/x"])
    assert result.exit_code == 2
    message = "MEDMIRROR_WORKRES is no setting of medmirror; did you mean MEDMIRROR_WORKERS?"
    assert message in " ".join(result.stderr.split())


def test_load_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMIRROR_WORKRES", "2")
    with pytest.raises(UsageError, match="did you mean MEDMIRROR_WORKERS"):
        medmirror.load("pubmed", [tmp_path], dsn="postgresql://127.0.0.1:1/x")
