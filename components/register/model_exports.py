"""The files that are served, made for the bundle and tried on a golden batch before anybody relies on them.

TensorFlow works in processes of their own, ``components.classifier.export_process``: one writes the exports, a fresh
one loads them as a stranger would and answers for some test images, sent as a client would send them. What it says is
compared here with what the evaluation recorded of the same images, maybe on a GPU, and with what the evaluated model
itself answers in that process: both must agree, and where they do not it shows whether the export or the machine is at
fault. Both compute in float32 without the shortcuts of newer GPUs, which leaves some 0.00001 between machines.

The golden batch is of the JPEGs that the split step stored, of the model's size. The SavedModel is asked about some of
the same photographs as they were in the source, too, see ``components.register.original_files``.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.failures import TransientError, UserError
from components.formats.evaluation import (
    METRICS_FILE,
    PREDICTIONS_FILE,
    read_evaluation,
    read_predictions,
    with_temperature,
)
from components.formats.model_bundle import EXPORTS_FILE, GOLDEN_FILE, describe_files
from components.formats.original_images import read_originals
from components.formats.splits import read_splits
from components.formats.trained_model import KERAS_FILE, TFLITE_FILE, read_training_record
from components.publishing import published_directory, write_json
from components.register.original_files import OriginalsCheck, check_originals, rows_of_originals

EXPORTS = ("saved_model", "h5", "tflite", "onnx")
"""What can be asked for besides ``model.keras``, which a bundle always has."""

GOLDEN_IMAGES = 16
GOLDEN_TOLERANCE = 1e-4
"""How far a probability of an export may be from the evaluated one."""

HALF_PRECISION_TOLERANCE = 2e-2
"""Likewise of TFLite, whose weights have 11 bits."""

_PROCESS = "components.classifier"
_TEST_SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class ExportCheck:
    """What an export answered to the golden batch.

    Attributes:
        path: Of the export inside the bundle.
        largest_difference: Of any probability from the evaluated, calibrated one, [0, 1].
        from_model: Likewise from what the evaluated model answers in the very process that tried the export.
        model_difference: Likewise of that model's answer from the evaluated one.
        tolerance: What is allowed of the first two.
        input_name: How its input is called, where it is asked by name; else, and of earlier versions, empty.
        output_name: Likewise its output.
    """

    path: str
    largest_difference: float
    from_model: float
    model_difference: float
    tolerance: float
    input_name: str = ""
    output_name: str = ""

    @property
    def passed(self) -> bool:
        """Whether it answers as the evaluated model does, where it was evaluated and where it was tried."""
        return max(self.largest_difference, self.from_model) <= self.tolerance

    def __str__(self) -> str:
        said = (
            f"{self.path} differs by {self.largest_difference:.2e} from the evaluated probabilities on the golden "
            f"batch, {self.tolerance:.0e} is allowed"
        )
        if self.passed:
            return said
        if self.from_model > self.tolerance:
            return (
                f"{said}; from the model that it was made of it differs by {self.from_model:.2e}: the export is wrong"
            )
        return (
            f"{said}; it answers as the model that it was made of ({self.from_model:.2e}), which itself differs by "
            f"{self.model_difference:.2e} from what was evaluated: evaluate again, on a CPU if it was not"
        )


@dataclasses.dataclass(frozen=True)
class Exports:
    """What ``exports.json`` says.

    Attributes:
        model_sha256: Of the evaluated ``model.keras`` that they were made from.
        temperature: What the model's logits were divided by for calibrated probabilities; 1 left them as they were.
        golden_images: How many images each export was tried on.
        checks: Of each export.
        originals: Of the SavedModel on files as they were in the source; None where there were none to ask about.
    """

    model_sha256: str
    temperature: float
    golden_images: int
    checks: tuple[ExportCheck, ...]
    originals: OriginalsCheck | None = None

    @property
    def broken(self) -> tuple[str, ...]:
        """What is wrong with them, a sentence each."""
        faults = () if self.originals is None else self.originals.faults
        return (*(str(check) for check in self.checks if not check.passed), *faults)


def check_formats(formats: Sequence[str]) -> None:
    """Raise ``UserError`` unless every format can be exported."""
    for name in formats:
        if name not in EXPORTS:
            raise UserError(f"exports names {name!r}: choose among {', '.join(EXPORTS)}; model.keras is always there")


def temperature_of(evaluation: Path, *, apply_temperature: bool) -> float:
    """Return the temperature to export with: the evaluation's, or 1 when it has none or it should not be applied.

    Raises:
        UserError: When the evaluation is missing or damaged.
    """
    if not apply_temperature:
        return 1.0
    try:
        return read_evaluation(evaluation).calibration.temperature
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: give the outputs of the steps before this one") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{METRICS_FILE} is damaged ({error}): run the evaluation again") from error


def write_exports(
    model: Path, evaluation: Path, splits: Path, *, formats: Sequence[str], temperature: float, directory: Path
) -> Exports:
    """Export an evaluated model into a folder and try every export on the golden batch.

    Args:
        model: Folder of the trained model.
        evaluation: Folder of its evaluation.
        splits: Folder of the splits of both.
        formats: Among ``EXPORTS``; h5 too when the training step was asked for it.
        temperature: Of the probabilities, above 0.
        directory: To publish: the exports by their paths in the bundle, the golden batch, and ``exports.json``.

    Raises:
        UserError: When the inputs are damaged or do not belong together.
        TransientError: When the disk is full.
        RuntimeError: When TensorFlow fails at it.
    """
    check_formats(formats)
    try:
        training, contents, predictions, files = (
            read_training_record(model),
            read_splits(splits),
            read_predictions(evaluation),
            read_originals(splits) if "saved_model" in formats else [],
        )
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: give the outputs of the steps before this one") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"model, evaluation or splits are damaged ({error}): run the steps before this one") from error
    golden = golden_rows(predictions)
    expected = with_temperature(_probabilities(golden, training.class_names), temperature)
    originals = rows_of_originals(files, predictions)
    expected_of_originals = with_temperature(_probabilities(originals, training.class_names), temperature)
    request = {
        "model": str((model / KERAS_FILE).resolve()),
        "formats": sorted({*formats, *(["h5"] if any(model.glob("*.h5")) else [])}),
        "temperature": temperature,
        "backbone": training.backbone,
        "class_names": training.class_names,
        "resize_policy": training.resize_policy,
        "shards": [str(path.resolve()) for path in contents.shard_paths(splits, _TEST_SPLIT)],
        "golden_paths": golden["path"].tolist(),
        "original_paths": originals["path"].tolist(),
        "splits": str(splits.resolve()),
    }
    with published_directory(directory) as aside, tempfile.TemporaryDirectory(prefix="exports-") as notes:
        asked, told = Path(notes) / "request.json", Path(notes) / "answers.json"
        write_json(asked, request | {"stored_originals": str(Path(notes) / "stored.json")})
        _run("write", asked, aside)
        _run("answer", asked, aside, told)
        answers = json.loads(told.read_text(encoding="utf-8"))
        own = with_temperature(np.asarray(answers["model"], np.float64), temperature)
        exports = Exports(
            describe_files({KERAS_FILE: model / KERAS_FILE})[0].sha256,
            temperature,
            len(golden),
            _checks(answers["exports"], own, expected),
            check_originals(answers["originals"], expected_of_originals) if len(originals) else None,
        )
        exports = _with_names(exports, answers["names"])
        _complete_golden_batch(aside, golden, expected)
        write_json(aside / EXPORTS_FILE, dataclasses.asdict(exports))
    for check in exports.checks:
        print(f"register: {'' if check.passed else 'BROKEN: '}{check}", flush=True)
    if exports.originals is not None:
        print(f"register: {'BROKEN: ' if exports.originals.faults else ''}{exports.originals}", flush=True)
    return exports


def read_exports(directory: Path) -> Exports:
    """Read ``exports.json``.

    Raises:
        UserError: When the folder holds no exports.
    """
    try:
        value = json.loads((directory / EXPORTS_FILE).read_text(encoding="utf-8"))
        checks = tuple(ExportCheck(**check) for check in value["checks"])
        told = value.get("originals")  # exports of earlier versions were not asked about any
        originals = None if told is None else OriginalsCheck(**told)
        return Exports(value["model_sha256"], value["temperature"], value["golden_images"], checks, originals)
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{directory} holds no exports ({error}): export the model again") from error


def golden_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Choose test images of every class in turn, always the same, sorted by name.

    Args:
        predictions: ``PREDICTION_COLUMNS``.
    """
    ordered = predictions.sort_values("path").reset_index(drop=True)
    turn = ordered.groupby("true_class").cumcount()
    chosen = ordered.assign(turn=turn).sort_values(["turn", "true_class", "path"]).head(GOLDEN_IMAGES)
    return chosen.drop(columns="turn").sort_values("path").reset_index(drop=True)


def _probabilities(rows: pd.DataFrame, class_names: Sequence[str]) -> npt.NDArray[np.float64]:
    columns = [f"probability_{name}" for name in class_names]
    if missing := [column for column in columns if column not in rows.columns]:
        raise UserError(f"{PREDICTIONS_FILE} has no column {missing[0]!r}: give the evaluation of this model")
    return rows[columns].to_numpy(np.float64)


def _checks(
    answers: Mapping[str, list[list[float]]], own: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]
) -> tuple[ExportCheck, ...]:
    checks = []
    for path, given in sorted(answers.items()):
        probabilities = np.asarray(given, np.float64)
        tolerance = HALF_PRECISION_TOLERANCE if path == TFLITE_FILE else GOLDEN_TOLERANCE
        checks.append(
            ExportCheck(
                path,
                _largest_difference(probabilities, expected),
                _largest_difference(probabilities, own),
                _largest_difference(own, expected),
                tolerance,
            )
        )
    if not checks:
        raise RuntimeError("no export answered")
    return tuple(checks)


def _with_names(exports: Exports, names: Mapping[str, Mapping[str, str]]) -> Exports:
    """Return exports that say how their inputs and outputs are called, where somebody knows."""
    checks = [
        dataclasses.replace(check, input_name=known["input_name"], output_name=known["output_name"])
        if (known := names.get(check.path))
        else check
        for check in exports.checks
    ]
    return dataclasses.replace(exports, checks=tuple(checks))


def _largest_difference(given: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    """Return how far any probability is off; one that is not finite, or of another shape, is as wrong as can be."""
    same = given.shape == expected.shape and bool(np.isfinite(given).all() and np.isfinite(expected).all())
    return float(np.abs(given - expected).max()) if same else 1.0


def _complete_golden_batch(directory: Path, golden: pd.DataFrame, expected: npt.NDArray[np.float64]) -> None:
    """Add what the answer should be to the request, for whoever serves the model to try it again."""
    path = directory / GOLDEN_FILE
    request = json.loads(path.read_text(encoding="utf-8"))
    names = {"paths": golden["path"].tolist(), "true_classes": golden["true_class"].tolist()}
    write_json(path, {"request": request, "probabilities": expected.round(9).tolist(), **names})


def _run(command: str, *paths: Path) -> None:
    # Never a GPU: the bundle is served by machines without one too, and someone else may be training on it.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "0"}
    result = subprocess.run(
        [sys.executable, "-m", _PROCESS, command, *map(str, paths)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    for kind in (UserError, TransientError):
        if result.returncode == kind.exit_code:
            raise kind(result.stderr.strip().splitlines()[-1])
    if result.returncode:
        raise RuntimeError(f"exporting failed at '{command}', exit code {result.returncode}:\n{result.stderr[-4000:]}")


def exported_files(directory: Path) -> dict[str, Path]:
    """Return the files of the exports by their paths in the bundle."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in files}
