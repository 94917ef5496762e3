from pathlib import Path

import pytest

from components.failures import UserError
from components.launch.parameters import Parameter, read_assignments, read_run_file, require_values

PARAMETERS = {
    "source": Parameter("source", str, None, "where the photos are"),
    "registry_uri": Parameter("registry_uri", str, None, "where models go"),
    "batch_size": Parameter("batch_size", int, 32, ""),
    "learning_rate": Parameter("learning_rate", float, 1e-3, ""),
    "export_h5": Parameter("export_h5", bool, False, ""),
    "cleaning_policy": Parameter("cleaning_policy", dict, {}, ""),
    "deny_list": Parameter("deny_list", list, [], ""),
}


def run_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_are_read_with_their_types(tmp_path: Path) -> None:
    text = "batch_size: 8\nlearning_rate: 1e-5\nexport_h5: true\ncleaning_policy: {dark: keep}\ndeny_list: [a/b.jpg]\n"
    assert read_run_file(run_file(tmp_path, text), PARAMETERS) == {
        "batch_size": 8,
        "learning_rate": 1e-5,
        "export_h5": True,
        "cleaning_policy": {"dark": "keep"},
        "deny_list": ["a/b.jpg"],
    }


def test_a_whole_number_serves_as_a_float() -> None:
    value = read_assignments(["learning_rate=1"], PARAMETERS)["learning_rate"]
    assert value == 1.0
    assert isinstance(value, float)


def test_an_empty_run_file_changes_nothing(tmp_path: Path) -> None:
    assert read_run_file(run_file(tmp_path, "# nothing yet\n"), PARAMETERS) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_sise: 8", "unknown parameter 'batch_sise' in .*did you mean 'batch_size'"),
        ("zzz: 8", "unknown parameter 'zzz'.*--parameters lists them"),
        ("batch_size: many", "'batch_size' in .* is 'many'; it must be a whole number"),
        ("batch_size: true", "'batch_size' in .* is True; it must be a whole number"),
        ("batch_size: 1.5", "it must be a whole number"),
        ("learning_rate: fast", "it must be a number"),
        ("learning_rate: .nan", "'learning_rate' in .* is nan; it must be a number"),
        ("learning_rate: .inf", "it must be a number"),
        ("batch_size:", "'batch_size' in .* is empty; it must be a whole number"),
        ("export_h5: 1", "it must be true or false"),
        ("- batch_size", "holds a list; write one 'name: value' per line"),
        ("batch_size: [1", "is not valid YAML"),
    ],
)
def test_a_wrong_run_file_is_refused_with_the_fix(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_run_file(run_file(tmp_path, text), PARAMETERS)


def test_a_run_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the run file"):
        read_run_file(tmp_path / "missing.yaml", PARAMETERS)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the run file"):
        read_run_file(binary, PARAMETERS)


@pytest.mark.parametrize("word", ["batch_size", "batch_size=[1"])
def test_a_wrong_assignment_is_refused(word: str) -> None:
    with pytest.raises(UserError):
        read_assignments([word], PARAMETERS)


def test_missing_values_are_named_with_their_options() -> None:
    with pytest.raises(UserError, match="no value for source and registry_uri; give --source and --registry"):
        require_values({}, PARAMETERS)
    require_values({"source": "a", "registry_uri": "b"}, PARAMETERS)
