"""What a later step would refuse is refused before the first one, in the step's own words."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import pytest

from components import storage
from components.failures import UserError
from components.launch.command_line import main
from components.launch.parameters import pipeline_parameters, with_defaults
from components.launch.placement import Placement
from components.launch.preflight import check_floor_classes, check_places, check_values
from pipeline import image_classification

ROOT = Path(__file__).resolve().parents[2]
HERE = Placement(
    "vertex", None, 0, spot=False, evaluate_on_gpu=False, node_selector={}, image_registry="", image_tag=""
)


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    parameters = pipeline_parameters(image_classification(HERE))
    return with_defaults({"source": "photos.zip", "registry_uri": "gs://bucket/models"}, parameters)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("outlier_deviation", 0.0, "outlier_deviation is 0: set it above 0"),
        ("label_error_confidence", 2.0, "label_error_confidence is 2.0: set it between 0 and 1"),
        ("semantic_duplicate_distance", -1.0, "semantic_duplicate_distance is -1.0"),
    ],
)
def test_settings_of_the_embedding_audit_are_checked_where_there_is_one(name: str, value: float, message: str) -> None:
    parameters = pipeline_parameters(image_classification(dataclasses.replace(HERE, embedding_audit="cpu")))
    values = with_defaults({"source": "photos.zip", "registry_uri": "gs://bucket/models"}, parameters)
    check_values(values)
    with pytest.raises(UserError, match=message):
        check_values({**values, name: value})


def test_a_setting_of_the_embedding_audit_is_refused_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run", "local", "--source", "samples/animals.zip", "--set", "semantic_duplicate_distance=0.4"]
    with pytest.raises(SystemExit) as stopped:
        main(image_classification, words)
    assert stopped.value.code == 2
    assert "is of the embedding audit, which is off; give --embedding-audit" in capsys.readouterr().err


def test_the_defaults_pass(defaults: dict[str, Any]) -> None:
    check_values(defaults)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_files", 0, "max_files is 0; it must be at least 1"),
        ("part_size_mib", 0, "part_size_mib is 0; it must be at least 1"),
        ("workers", -1, "workers is -1"),
        ("label_check_images", -1, "label_check_images is -1: give a number of images, 0 for none"),
        ("dark_brightness", 250.0, "dark_brightness must be"),
        ("seed", -1, "seed must be from 0 to 2147483647; it is -1"),
        ("cleaning_policy", {"darkk": "drop"}, "did you mean 'dark'"),
        ("train_fraction", 0.9, "add up to 1.1, not 1"),
        ("resize_policy", "squash", "use one of stretch, crop, pad"),
        ("minimum_accuracy", 80.0, "minimum_accuracy is 80.0: give a number from 0 to 1"),
        ("maximum_calibration_error", -1.0, "maximum_calibration_error is -1.0: give a number from 0 to 1"),
        ("class_recall_floors", {"bird": 2}, r"class_recall_floors\['bird'\] is 2: give a number from 0 to 1"),
        ("exports", ["torch"], "exports names 'torch'"),
        ("other_registries", ["http://mlflow"], "other_registries names 'http://mlflow'"),
        ("model_name", "a/b", "model_name is 'a/b': use letters"),
        ("registry_uri", "s3://bucket/models", "give a gs:// URI or a local folder"),
        ("backbone", "vgg", "backbone 'vgg' is unknown; choose one of efficientnet_lite0, inception_v3"),
        ("image_size_px", 74, "images are 74 px wide and inception_v3 needs at least 75 px: split with an image_size"),
        ("backbone", "efficientnet_lite0", "Keras has no ImageNet weights for efficientnet_lite0: set weights to a"),
        ("frozen_epochs", 0, "^frozen_epochs is 0: set it between 1 and 100000$"),
        ("fine_tune_epochs", 0, "^fine_tune_epochs is 0: set it between 1 and 100000$"),
        ("frozen_learning_rate", 0.0, "^frozen_learning_rate is 0.0: set it above 0 and at most 1$"),
        ("fine_tune_learning_rate", 2.0, "^fine_tune_learning_rate is 2.0: set it above 0 and at most 1$"),
        ("frozen_schedule", "step", "^frozen_schedule is 'step': choose one of cosine, plateau$"),
        ("fine_tune_schedule", "", "^fine_tune_schedule is '': choose one of cosine, plateau$"),
        ("frozen_warmup_epochs", -1.0, "^frozen_warmup_epochs is -1.0: set it to at least 0 and less than the number"),
        (
            "fine_tune_warmup_epochs",
            10.0,
            "^fine_tune_warmup_epochs is 10.0: .* less than the number of epochs, 10$",
        ),
        ("optimizer", "lamb", "^optimizer is 'lamb': choose one of adam, adamw, rmsprop, sgd$"),
        ("label_smoothing", 1.0, "^label_smoothing is 1.0: set it between 0 and less than 1$"),
        ("precision", "half", "^precision is 'half': choose one of auto, float32, mixed_bfloat16, mixed_float16$"),
        ("gpu_prefetch_batches", -1, "^gpu_prefetch_batches is -1: set it between 0 and 1000$"),
        ("checkpoint_seconds", -1.0, "^checkpoint_seconds is -1.0: set it to 0, for each epoch alone, or more$"),
        ("batch_size", 0, "^batch_size is 0: set it between 1 and 65536$"),
        ("fine_tune_batch_size", -1, "^fine_tune_batch_size is -1: set it between 0 and 65536$"),
        ("head_units", 0, "^head_units is 0: set it between 1 and 16384$"),
        ("head_units", 10**9, "^head_units is 1000000000: set it between 1 and 16384$"),
        ("weights", "", "^weights is empty: set it to imagenet, to the path or gs:// URI of a weights file"),
        ("dropout", 1.0, "^dropout is 1.0: set it between 0 and less than 1$"),
        ("augmentation", 1.5, "^augmentation is 1.5: set it between 0 and 1$"),
        ("fine_tune_batch_size", 2**31, "^fine_tune_batch_size is 2147483648: set it between 0 and 65536$"),
        ("augmented_views", 10**12, "^augmented_views is 1000000000000: set it between 1 and 10000$"),
        ("augmented_views", 0, "^augmented_views is 0: set it between 1 and 10000$"),
        ("training_mode", "cache", "^training_mode is 'cache': choose one of auto, cached, streaming$"),
        ("cache_precision", "float8", "^cache_precision is 'float8': choose one of float16, float32$"),
        ("cache_limit_gb", 0.0, "^cache_limit_gb is 0.0: set it above 0$"),
        ("cache_directory", "gs://bucket/cache", "give a local folder, or leave it empty$"),
        ("class_weights", "auto", "^class_weights is 'auto': choose one of none, balanced$"),
        ("early_stopping_patience", -1, "^early_stopping_patience is -1: set it to at least 0$"),
        ("plateau_patience", -1, "^plateau_patience is -1: set it to at least 0$"),
        ("unfrozen_layers", 0, "^unfrozen_layers is 0 and inception_v3 has 311 layers: set it between 12 and 311$"),
        ("unfrozen_layers", -3, "^unfrozen_layers is -3 and inception_v3 has 311 layers: set it between 12 and 311$"),
        ("unfrozen_layers", 11, "the last 11 layers of inception_v3 hold no weights that can learn"),
        ("unfrozen_layers", 312, "inception_v3 has 311 layers: set it between 12 and 311$"),
        ("checkpoint_uri", "s3://bucket/state", "neither a gs:// URI nor a local path"),
        ("previous_decisions", "s3://bucket/run", "neither a gs:// URI nor a local path"),
        ("earlier_findings", "s3://bucket/run", "neither a gs:// URI nor a local path"),
    ],
)
def test_what_a_step_would_refuse_is_refused_early(
    defaults: dict[str, Any], name: str, value: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_values({**defaults, name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exports": ["h5"]}, "Vertex AI serves SavedModels: add saved_model to exports"),
        ({"registry_uri": "models"}, "takes no version that lies in the local folder models"),
    ],
)
def test_a_registry_that_cannot_take_the_model_is_refused_early(
    defaults: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    vertex = {"other_registries": ["vertex:project/europe-west4/registry.example/serving:1"]}
    check_values({**defaults, **vertex})
    with pytest.raises(UserError, match=message):
        check_values({**defaults, **vertex, **changes})


def test_floors_of_classes_that_the_source_lacks_are_refused_early(defaults: dict[str, Any]) -> None:
    values = {**defaults, "source": str(ROOT / "samples" / "animals.zip"), "labels_file": "labels.csv"}
    check_floor_classes({**values, "class_recall_floors": {"*": 0.5, "bird": 0.5}})
    with pytest.raises(
        UserError, match=r"names 'lynx', which is no class of .*animals\.zip: choose among bird, fish, mammal$"
    ):
        check_floor_classes({**values, "class_recall_floors": {"lynx": 0.5}})


def test_a_source_is_looked_at_only_for_floors_of_named_classes(defaults: dict[str, Any]) -> None:
    check_floor_classes({**defaults, "source": "nowhere.zip", "class_recall_floors": {"*": 0.5}})


def test_no_run_begins_with_a_floor_for_an_unknown_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = str(ROOT / "samples" / "animals.zip"), tmp_path / "run"
    floors = 'class_recall_floors={"lynx": 0.5}'
    with pytest.raises(SystemExit) as stopped:
        main(
            image_classification,
            ["--run", "local", "--source", source, "--output", str(output), "--set", "weights=random", "--set", floors],
        )
    assert stopped.value.code == 2
    assert "class_recall_floors names 'lynx'" in capsys.readouterr().err
    assert not output.exists()


def test_a_batch_too_small_for_the_gpus_is_refused_early(defaults: dict[str, Any]) -> None:
    check_values({**defaults, "batch_size": 4}, training_gpus=4)
    with pytest.raises(UserError, match="batch_size is 3 and is shared among 4 GPUs: set it to at least 4"):
        check_values({**defaults, "batch_size": 3}, training_gpus=4)


def test_no_rule_of_training_needs_tensorflow(defaults: dict[str, Any]) -> None:
    """In a fresh interpreter, as a launcher is."""
    program = (
        "import json, sys\n"
        "from components.failures import UserError\n"
        "from components.launch.preflight import check_values\n"
        "values = json.load(sys.stdin)\n"
        "check_values(values)\n"
        "for name, value in {'backbone': 'vgg', 'unfrozen_layers': 500, 'dropout': 2.0}.items():\n"
        "    try:\n"
        "        check_values({**values, name: value})\n"
        "        sys.exit(f'{name} passed')\n"
        "    except UserError:\n"
        "        pass\n"
        "import components.classifier.backbones, components.classifier.fit_settings\n"
        "import components.classifier.weights_source\n"
        "import components.fine_tune.fine_tune_settings, components.train_frozen.frozen_settings\n"
        "print(sorted({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(defaults), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n", "")


STEPS = Path("/somewhere/steps")
IN_BOTH = pytest.mark.parametrize("in_containers", [False, True], ids=["processes", "containers"])


@IN_BOTH
def test_a_registry_below_a_file_is_refused(defaults: dict[str, Any], tmp_path: Path, in_containers: bool) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="file/models"):
        check_places(
            {**defaults, "registry_uri": str(tmp_path / "file" / "models")}, STEPS, in_containers=in_containers
        )


def test_missing_weights_are_refused_where_no_image_may_hold_them(defaults: dict[str, Any], tmp_path: Path) -> None:
    here = {**defaults, "registry_uri": str(tmp_path / "models")}
    check_places(here, STEPS, in_containers=False)
    with pytest.raises(UserError, match=r"imagenett is not a file: give .* imagenet or random"):
        check_places({**here, "weights": "imagenett"}, STEPS, in_containers=False)
    check_places({**here, "weights": "/opt/keras/models/mine.h5"}, STEPS, in_containers=True)
    check_places({**here, "weights": "gs://no-such-bucket-zz/mine.h5"}, STEPS, in_containers=True)
    assert not (tmp_path / "models").exists(), "looking leaves nothing behind"


@IN_BOTH
def test_a_file_that_holds_no_weights_is_refused(defaults: dict[str, Any], tmp_path: Path, in_containers: bool) -> None:
    """By its first bytes: whether what follows fits is for training to see."""
    here = {**defaults, "registry_uri": str(tmp_path / "models")}
    files = {"short": b"\x89HDF", "passwd": b"root:x:0:0:root:/root:/bin/bash\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"^weights {tmp_path / name} is neither HDF5 nor a NumPy archive: for "):
            check_places({**here, "weights": str(tmp_path / name)}, STEPS, in_containers=in_containers)
    with pytest.raises(UserError, match="is not a file: give "):
        check_places({**here, "weights": str(tmp_path)}, STEPS, in_containers=in_containers)
    lite0 = ROOT / "samples" / "efficientnet_lite0" / "imagenet_float16.npz"
    check_places({**here, "weights": str(lite0)}, STEPS, in_containers=in_containers)
    h5py.File(tmp_path / "any name", "w").close()
    check_places({**here, "weights": str(tmp_path / "any name")}, STEPS, in_containers=in_containers)


def test_a_file_in_a_bucket_that_holds_no_weights_is_refused(
    defaults: dict[str, Any], tmp_path: Path, new_bucket: Callable[[], str]
) -> None:
    here = {**defaults, "registry_uri": str(tmp_path / "models"), "weights": f"{new_bucket()}/weights.h5"}
    with pytest.raises(UserError, match=r"weights\.h5 does not exist; see what does: gcloud storage ls gs://"):
        check_places(here, STEPS, in_containers=False)
    storage.write_if_absent(here["weights"], b"<html>not found</html>")
    with pytest.raises(UserError, match=r"weights\.h5 is neither HDF5 nor a NumPy archive"):
        check_places(here, STEPS, in_containers=False)
    storage.delete_file(here["weights"])
    h5py.File(tmp_path / "weights.h5", "w").close()
    storage.write_if_absent(here["weights"], tmp_path / "weights.h5")
    check_places(here, STEPS, in_containers=False)


@IN_BOTH
@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("checkpoint_uri", "{file}", "^checkpoint_uri: cannot write .*/file: .*/file is a file; give a folder$"),
        ("checkpoint_uri", "{file}/x", "^checkpoint_uri: cannot write .*/file/x: .*/file is a file; give a folder$"),
        ("checkpoint_uri", "/proc/x", "^checkpoint_uri: cannot write /proc/x: no file can be made in /proc; give"),
        ("cache_directory", "{file}", "^cache_directory: cannot write .*/file: .*/file is a file; give a folder$"),
        ("cache_directory", "/proc/x", "^cache_directory: cannot write /proc/x: no file can be made in /proc; give"),
    ],
)
def test_places_that_training_could_not_write_are_refused(
    name: str, place: str, message: str, defaults: dict[str, Any], tmp_path: Path, in_containers: bool
) -> None:
    (tmp_path / "file").write_text("not a folder")
    here = {**defaults, "registry_uri": str(tmp_path / "models")}
    with pytest.raises(UserError, match=message):
        check_places({**here, name: place.format(file=tmp_path / "file")}, STEPS, in_containers=in_containers)
    check_places({**here, name: str(tmp_path / "to" / "be" / "made")}, STEPS, in_containers=in_containers)
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "looking leaves nothing behind"


@IN_BOTH
@pytest.mark.parametrize("name", ["checkpoint_uri", "cache_directory"])
def test_places_among_the_outputs_of_steps_are_refused(
    name: str, defaults: dict[str, Any], tmp_path: Path, in_containers: bool
) -> None:
    steps, elsewhere = tmp_path / "steps", tmp_path / "steps-not"
    here = {**defaults, "registry_uri": str(tmp_path / "models")}
    for place in (steps, steps / "x", elsewhere / ".." / "steps"):
        with pytest.raises(UserError, match=f"^{name}: {place} lies in {steps}, an output that is replaced when"):
            check_places({**here, name: str(place)}, steps, in_containers=in_containers)
    check_places({**here, name: str(elsewhere)}, steps, in_containers=in_containers)
    check_places({**here, name: str(tmp_path)}, steps, in_containers=in_containers)


@pytest.mark.parametrize("name", ["registry_uri", "checkpoint_uri", "earlier_findings"])
def test_buckets_are_tried_for_processes_alone(name: str, defaults: dict[str, Any], tmp_path: Path, gcs: str) -> None:
    """A container has a network and an identity of its own, so that what this process may do says nothing of it."""
    given = {**defaults, "registry_uri": str(tmp_path / "models"), name: "gs://no-such-bucket-zz/x"}
    check_places(given, STEPS, in_containers=True)
    with pytest.raises(UserError, match="gs://no-such-bucket-zz"):
        check_places(given, STEPS, in_containers=False)


@IN_BOTH
def test_an_earlier_run_that_left_no_findings_is_refused(
    defaults: dict[str, Any], tmp_path: Path, in_containers: bool
) -> None:
    here = {**defaults, "registry_uri": str(tmp_path / "models"), "earlier_findings": str(tmp_path)}
    with pytest.raises(UserError, match=r"earlier_findings has no suspected_labels\.parquet in "):
        check_places(here, STEPS, in_containers=in_containers)
    (tmp_path / "suspected").mkdir()
    (tmp_path / "suspected" / "suspected_labels.parquet").touch()
    check_places(here, STEPS, in_containers=in_containers)


@pytest.mark.parametrize("runner", ["local", "docker"])
def test_a_place_that_cannot_be_written_leaves_no_run_behind(
    runner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    words = ["--run", runner, "--source", "photos.zip", "--set", "weights=random", "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match="2"):
        main(image_classification, [*words, "--set", f"checkpoint_uri={tmp_path / 'file'}"])
    assert f"error: checkpoint_uri: cannot write {tmp_path / 'file'}: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


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
