"""On the command line a policy is tried first, and followed only when asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.clean.command_line import main
from components.formats.decisions import read_changes, read_decisions, read_reasons
from tests.clean.tables import catalog_of, findings_of, write_both

NAN = float("nan")
CATALOG = catalog_of(
    {"cat/1.jpg": "x", "cat/2.jpg": "x", "cat/3.jpg": "y", "cat/4.jpg": "w", "dog/1.jpg": "z", "dog/2.jpg": "q"}
)
FOUND = findings_of(
    [
        ("cat/1.jpg", "exact_duplicate", "x"),
        ("cat/2.jpg", "exact_duplicate", "x"),
        ("cat/3.jpg", "dark"),
        ("cat/4.jpg", "truncated"),
        ("dog/1.jpg", "cmyk"),
        ("dog/2.jpg", "blurry"),
    ]
).assign(measured=[2, 2, 31.5, NAN, NAN, 2.5], threshold=[1, 1, 40, NAN, NAN, 3])

POLICY = "exact_duplicate: drop\ndark: drop\ncmyk: fix\n"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    archive, findings = write_both(tmp_path, CATALOG, FOUND)
    return [str(archive), str(findings), "--policy", str(tmp_path / "policy.yaml")]


def test_a_dry_run_shows_and_writes_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "3 of 6 images are kept, 1 to fix, and 3 are dropped, 0 into quarantine" in shown
    assert "    cat/2.jpg  2 (limit 1)  kept: cat/1.jpg" in shown
    assert "    cat/3.jpg  31.5 (limit 40)" in shown
    assert "    cat/4.jpg  truncated in words" in shown
    assert "    dog/1.jpg  converted to RGB" in shown
    assert "blurry                  warn* " in shown
    assert "Dry run: nothing is written" in shown
    assert sorted(tmp_path.rglob("*")) == before


def test_it_writes_what_it_showed(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decisions = tmp_path / "decisions"
    assert main([*words, "--write", str(decisions), "--summary", str(tmp_path / "summary.md")]) == 0
    assert "Dry run" not in capsys.readouterr().out
    assert list(read_decisions(decisions)["keep"]) == [True, False, False, False, True, True]
    assert len(read_reasons(decisions)) == 6
    assert (tmp_path / "summary.md").read_text().startswith("# Cleaning")
    # The record of a cleaning is a policy itself.
    assert main([*words[:2], "--policy", str(decisions / "policy.json")]) == 0
    assert "3 of 6 images are kept" in capsys.readouterr().out


def test_dropped_images_come_back(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decisions = tmp_path / "decisions"
    assert main([*words, "--write", str(decisions)]) == 0
    again = [
        *words,
        "--allow",
        f"@{decisions / 'dropped.txt'}",
        "--previous",
        str(decisions),
        "--write",
        str(decisions),
    ]
    assert main(again) == 0
    shown = capsys.readouterr().out
    assert "         2  dropped before, kept now" in shown
    assert "cat/3.jpg  on allow_list" in shown
    # Of two copies one is enough: cat/1.jpg goes where cat/2.jpg comes back.
    assert list(read_decisions(decisions)["keep"]) == [False, True, True, False, True, True]
    assert list(read_changes(decisions)["path"]) == ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg"]


def test_one_image_is_explained(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--why", "cat/2.jpg", "--why", "cat/4.jpg", "--why", "dog/1.jpg"]) == 0
    shown = capsys.readouterr().out
    assert (
        "cat/2.jpg: drop\n  exact_duplicate         policy: drop; effect: drop; 2 (limit 1); kept: cat/1.jpg" in shown
    )
    assert "To bring it back: --allow 'cat/2.jpg'" in shown
    assert "cannot be decoded ('truncated'): mend the file" in shown
    assert "dog/1.jpg: fix\n  cmyk                    policy: fix; effect: fix; converted to RGB" in shown


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--deny", "cat/33.jpg"], "deny_list names 'cat/33.jpg', not in the catalog: did you", id="list"),
        pytest.param(["--why", "Cat/1.jpg"], "did you mean 'cat/1.jpg'", id="why"),
        pytest.param(["--deny", "dog/*"], "all 2 images of class 'dog', because of deny_list", id="class lost"),
        pytest.param(["--previous", "/nowhere"], "has no /nowhere/catalog.parquet", id="no earlier decisions"),
        pytest.param(["--policy", "/nowhere.yaml"], "cannot read the policy /nowhere.yaml", id="no policy"),
        pytest.param(["--write", "{archive}"], "is not empty and holds no reasons.parquet", id="over the archive"),
        pytest.param(["--write", "{archive}/catalog.parquet"], "is a file", id="over a file"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *(word.replace("{archive}", words[0]) for word in more)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("clean: error: ")
    assert message in error


def test_folders_that_are_no_archive_or_findings_are_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), words[1]]) == 2
    assert "has no catalog.parquet: give the folder of an archive" in capsys.readouterr().err
    assert main([words[0], words[0]]) == 2
    assert "has no findings.parquet: give the folder of findings" in capsys.readouterr().err


def test_it_is_a_module_to_run(words: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "components.clean", *words], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("3 of 6 images are kept")
