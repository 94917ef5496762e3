"""What a person sees and moves on the command line."""

import json
import shutil
from pathlib import Path

import pytest

from components.register.command_line import main
from components.register.promotion_gate import Gate
from components.register.registration import Registration
from tests.register.conftest import EvaluatedProject, Register
from tests.register.test_registration import bytes_below, retrained


@pytest.fixture
def two(register: Register, evaluated: EvaluatedProject, tmp_path: Path) -> tuple[Registration, Registration]:
    """A champion, and a better one after it."""
    return register(), register(retrained(evaluated, tmp_path / "better", 16))


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list(two: tuple[Registration, Registration], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, models, _ = told(capsys, "list", tmp_path / "registry")
    assert models.splitlines()[1].split() == ["trees", "2", two[1].version]
    code, versions, _ = told(capsys, "list", tmp_path / "registry", "trees")
    assert code == 0
    first, second = versions.splitlines()[1:]
    assert first.startswith(two[0].version)
    assert first.endswith("0.8824  accepted  previous")
    assert second.endswith("0.9412  accepted  candidate, champion")


def test_show(two: tuple[Registration, Registration], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = told(capsys, "show", tmp_path / "registry", "trees", two[0].version[:6])
    assert f"trees {two[0].version}" in shown
    assert "gs://photos/trees.zip" in shown
    assert "model.keras" in shown
    _, card, _ = told(capsys, "show", tmp_path / "registry", "trees", "previous", "--card")
    assert card.startswith(f"# trees {two[0].version}")
    _, text, _ = told(capsys, "show", tmp_path / "registry", "trees", "--json")
    assert json.loads(text)["version"] == two[1].version
    assert json.loads(text)["lineage"]["pipeline_run"] == "run-1"


def test_promote_and_rollback(
    two: tuple[Registration, Registration], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "registry"
    first, second = (registration.version for registration in two)
    assert told(capsys, "rollback", registry, "trees")[1].splitlines() == [
        f"champion {second} -> {first}; another rollback would bring {second} back",
        f"candidate {second}, champion {first}, previous {second}",
    ]
    assert told(capsys, "promote", registry, "trees", "candidate")[1] == (
        f"candidate {second}, champion {second}, previous {first}\n"
    )


def test_a_rejected_version(register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = register(gate=Gate(0.99)).version
    code, _, error = told(capsys, "promote", tmp_path / "registry", "trees", version)
    assert code == 2
    assert "was rejected: test accuracy 0.8824 is below the required 0.9900" in error
    code, aliases, _ = told(capsys, "promote", tmp_path / "registry", "trees", version, "--even-rejected")
    assert (code, aliases) == (0, f"champion {version}\n")
    _, shown, _ = told(capsys, "show", tmp_path / "registry", "trees")
    assert "state     promoted, though the gate said no\ngate      rejected: test accuracy" in shown
    assert "0.8824  promoted  champion" in told(capsys, "list", tmp_path / "registry", "trees")[1]


def test_fetch(two: tuple[Registration, Registration], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "fetch", tmp_path / "registry", "trees", "champion", tmp_path / "here")
    assert code == 0
    assert "every byte as registered" in out
    assert bytes_below(tmp_path / "here") == bytes_below(Path(two[1].uri))
    assert told(capsys, "fetch", tmp_path / "registry", "trees", "champion", tmp_path / "here")[0] == 2


def test_one_flipped_byte_of_any_file_is_named_and_refused(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(register().uri)
    registry = tmp_path / "registry"
    assert told(capsys, "verify", registry, "trees")[0] == 0
    files = sorted(bytes_below(bundle).items())
    for number, (name, data) in enumerate(files):
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 1
        (bundle / name).write_bytes(damaged)
        code, out, _ = told(capsys, "verify", registry, "trees")
        assert code == 2, name
        assert name in out
        assert told(capsys, "promote", registry, "trees", "candidate")[0] == 2
        folder = tmp_path / f"fetched-{number}"
        code, _, error = told(capsys, "fetch", registry, "trees", "champion", folder)
        assert code == 2
        assert name in error
        assert not folder.exists()
        (bundle / name).write_bytes(data)
    assert told(capsys, "verify", registry, "trees")[0] == 0


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("lineage.json", ()),
        ("lineage.json", ("--json",)),
        ("README.md", ("--card",)),
        ("manifest.json", ()),
        ("manifest.json", ("--json",)),
        ("manifest.json", ("--card",)),
    ],
)
def test_show_trusts_no_damaged_bundle(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, options: tuple[str, ...]
) -> None:
    path = Path(register().uri) / file
    data = path.read_bytes()
    size = b'"size_bytes": '
    changes = [b"\x80" + data[1:], data.replace(size, size + b"1", 1) if file == "manifest.json" else data + b" ", b""]
    for changed in changes:
        path.write_bytes(changed)
        code, out, error = told(capsys, "show", tmp_path / "registry", "trees", *options)
        assert (code, out) == (2, "")
        assert "damaged" in error
        assert file in error


def test_list_goes_on_after_a_damaged_index(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ash", "birch", "cedar"):
        register(model_name=name)
    (tmp_path / "registry" / "birch" / "index.json").write_text("{")
    code, out, error = told(capsys, "list", tmp_path / "registry")
    assert code == 2
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["ash", "1"], ["birch", "-"], ["cedar", "1"]]
    assert "index.json is damaged" in out
    assert "1 of 3 models cannot be read: birch" in error


def test_a_candidate_is_shown_with_the_command_that_promotes_it(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(retrained(evaluated, tmp_path / "better", 17))
    candidate = register()
    assert not candidate.champion
    _, out, _ = told(capsys, "show", tmp_path / "registry", "trees", "candidate")
    command = f"python -m components.register promote {tmp_path / 'registry'} trees {candidate.version}"
    assert f"promote   {command}" in out.splitlines()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_fetch_names_the_disk_that_is_full(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register()

    def copy(source: Path, _: Path) -> None:
        with Path(source).open("rb") as data, Path("/dev/full").open("wb") as full:
            shutil.copyfileobj(data, full)

    monkeypatch.setattr(shutil, "copyfile", copy)
    code, _, error = told(capsys, "fetch", tmp_path / "registry", "trees", "champion", tmp_path / "here")
    assert code == 75
    assert f"the disk of {tmp_path / 'here'} is full: the bundle takes 0." in error
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list",), "holds no model"),
        (("list", "oaks"), "holds no model 'oaks'"),
        (("verify", "../trees"), "model_name is '../trees'"),
    ],
)
def test_what_is_not_there(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *model = arguments
    code, _, error = told(capsys, command, tmp_path, *model)
    assert code == 2
    assert message in error
