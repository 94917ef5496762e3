"""A run on this machine refuses paths that lead nowhere, with a sentence, and makes nothing by their name."""

import os
from pathlib import Path

import pytest

from components.launch.command_line import main
from pipeline import image_classification

TOO_LONG = "n" * 256


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_photos: Path) -> Path:
    """The folder that the command line is used in, with odd links, photographs and weights in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone" / "state")
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "photos").symlink_to(sample_photos)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("checkpoint_uri", "~/x", "checkpoint_uri is ~/x: write out the folder that ~ stands for"),
        ("checkpoint_uri", '" "', "checkpoint_uri is blank: give it a path or a gs:// URI"),
        ("checkpoint_uri", TOO_LONG, "longer than file systems allow"),
        ("checkpoint_uri", "loop", "loop is a link that leads back to itself; remove it"),
        ("cache_directory", "loop/x", "loop is a link that leads back to itself; remove it"),
        (
            "checkpoint_uri",
            "dangling",
            "checkpoint_uri is dangling: {here}/dangling is a link to {here}/gone/state, where",
        ),
        ("checkpoint_uri", "dangling/x/y", "checkpoint_uri is dangling/x/y: {here}/dangling is a link to {here}/gone/"),
        ("cache_directory", "./dangling", "make that folder, or remove the link"),
        ("checkpoint_uri", "gs:/bucket/x", "if a bucket is meant, write gs://bucket/x; if a folder, ./gs:/bucket/x"),
        ("checkpoint_uri", "s3://bucket/x", "s3://bucket/x is neither a gs:// URI nor a local path"),
        ("checkpoint_uri", "file:///tmp/x", "file:///tmp/x is no local path: write it as /tmp/x"),
        ("checkpoint_uri", "out/steps", "out/steps lies in {here}/out/steps, an output that is replaced when its step"),
        ("checkpoint_uri", "out/steps/x", "out/steps/x lies in {here}/out/steps, an output that is replaced when its"),
        ("checkpoint_uri", "file", "file is a file; give a folder"),
        ("weights", TOO_LONG, "longer than file systems allow"),
        ("weights", "loop", "loop is not a file"),
        ("weights", '"a\\0b"', "no path can hold a NUL character"),
        ("previous_decisions", "~root", "previous_decisions is ~root: write out"),
        ("--source", "~/photos", "source is ~/photos: write out"),
        ("--registry", TOO_LONG, "File name too long"),
        ("--registry", "loop", "leads back to itself"),
        ("--registry", "dangling", "registry_uri is dangling: {here}/dangling is a link to {here}/gone/state, where"),
        ("--output", TOO_LONG, "File name too long"),
        ("--output", "loop", "leads back to itself"),
        ("--output", "dangling/out", "--output is dangling/out: {here}/dangling is a link to {here}/gone/state, where"),
        ("--output", os.fsdecode(b"\xff"), "which is not UTF-8"),
        ("--output", "~/x", "--output is ~/x: write out"),
        ("--config", TOO_LONG, "file name too long"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    here: Path, name: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.iterdir())
    given = {"--source": "photos", "--output": "out", **({name: value} if name.startswith("--") else {})}
    words = [word for pair in given.items() for word in pair]
    settings = {"weights": "random", **({} if name.startswith("--") else {name: value})}
    sets = [word for key, setting in settings.items() for word in ("--set", f"{key}={setting}")]
    with pytest.raises(SystemExit) as ended:
        main(image_classification, ["--run", "local", *words, *sets])
    said = capsys.readouterr()
    assert message.format(here=here) in said.err
    assert ended.value.code == 2
    assert said.out == ""
    assert sorted(here.iterdir()) == before
