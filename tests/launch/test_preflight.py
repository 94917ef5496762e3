"""What a later step would refuse is refused before the first one, in the step's own words."""

from pathlib import Path
from typing import Any

import pytest

from components.failures import UserError
from components.launch.command_line import main
from components.launch.parameters import pipeline_parameters, with_defaults
from components.launch.placement import Placement
from components.launch.preflight import check_places, check_values
from pipeline import image_classification

HERE = Placement(
    "vertex", None, 0, spot=False, evaluate_on_gpu=False, node_selector=None, image_registry="", image_tag=""
)


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    parameters = pipeline_parameters(image_classification(HERE))
    return with_defaults({"source": "photos.zip", "registry_uri": "gs://bucket/models"}, parameters)


def test_the_defaults_pass(defaults: dict[str, Any]) -> None:
    check_values(defaults)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_files", 0, "max_files is 0; it must be at least 1"),
        ("part_size_mib", 0, "part_size_mib is 0; it must be at least 1"),
        ("workers", -1, "workers is -1"),
        ("dark_brightness", 250.0, "dark_brightness must be"),
        ("seed", -1, "seed must be from 0 to 2147483647; it is -1"),
        ("cleaning_policy", {"darkk": "drop"}, "did you mean 'dark'"),
        ("train_fraction", 0.9, "add up to 1.1, not 1"),
        ("resize_policy", "squash", "use one of stretch, crop, pad"),
        ("minimum_accuracy", 80.0, "minimum_accuracy is 80.0: give a number from 0 to 1"),
        ("model_name", "a/b", "model_name is 'a/b': use letters"),
        ("registry_uri", "s3://bucket/models", "give a gs:// URI or a local folder"),
    ],
)
def test_what_a_step_would_refuse_is_refused_early(
    defaults: dict[str, Any], name: str, value: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_values({**defaults, name: value})


def test_a_registry_below_a_file_is_refused(defaults: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="file/models"):
        check_places({**defaults, "registry_uri": str(tmp_path / "file" / "models")})


def test_missing_weights_are_refused(defaults: dict[str, Any], tmp_path: Path) -> None:
    here = {**defaults, "registry_uri": str(tmp_path / "models")}
    check_places(here)
    with pytest.raises(UserError, match=r"imagenett is not a file: give .* imagenet or random"):
        check_places({**here, "weights": "imagenett"})
    assert not (tmp_path / "models").exists(), "looking leaves nothing behind"


@pytest.mark.parametrize("output", ["file", "file/run"])
def test_an_output_folder_that_cannot_be_one_is_refused(
    tmp_path: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit) as ended:
        main(image_classification, ["--run", "local", "--source", "photos.zip", "--output", str(tmp_path / output)])
    assert ended.value.code == 2
    assert "file is a file; give --output a new folder" in capsys.readouterr().err


def test_a_wrong_setting_leaves_no_run_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run", "local", "--source", "photos.zip", "--set", "model_name=a/b", "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(image_classification, words)
    assert ended.value.code == 2
    assert "model_name is 'a/b'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
