"""The SavedModel is sent files as they were in the source; one that is shown other pictures is refused."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from components.failures import UserError
from components.formats.evaluation import PREDICTIONS_FILE, read_predictions
from components.formats.original_images import OriginalImage, read_originals, write_originals
from components.formats.splits import read_splits
from components.formats.tfrecords import parse_example
from components.register.model_exports import Exports, read_exports, write_exports
from components.register.original_files import OriginalsCheck, check_originals, rows_of_originals
from components.register.promotion_gate import Gate
from tests.register.conftest import EvaluatedProject, Register

Change = Callable[[Image.Image], Image.Image]


def exchanged(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.split()[::-1])


def with_originals(evaluated: EvaluatedProject, directory: Path, change: Change, images: int = 6) -> EvaluatedProject:
    """Return a copy of a project with originals, four times as large as what the shards hold of them."""
    project = evaluated.copy_to(directory)
    splits, originals = read_splits(project.splits), []
    predictions = pd.read_parquet(project.evaluation / PREDICTIONS_FILE)
    for record in tf.data.TFRecordDataset([str(path) for path in splits.shard_paths(project.splits, "test")]):
        example = parse_example(record)
        stored = Image.open(io.BytesIO(example["image"].numpy()))
        buffer = io.BytesIO()
        change(stored.resize((160, 120), Image.Resampling.BICUBIC)).save(buffer, "JPEG", quality=92)
        path = example["path"].numpy().decode()
        originals.append(OriginalImage(path, buffer.getvalue()))
        md5 = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
        predictions.loc[predictions["path"] == path, "md5"] = md5
    predictions.to_parquet(project.evaluation / PREDICTIONS_FILE, index=False)
    write_originals(originals[:images], project.splits)
    return project


def export(project: EvaluatedProject, temperature: float = 1.0) -> Exports:
    """Export into the project's folder."""
    folders = (project.model, project.evaluation, project.splits)
    return write_exports(*folders, formats=("saved_model",), temperature=temperature, directory=project.exports)


def test_files_as_they_were_get_the_evaluated_answers(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = dataclasses.replace(
        with_originals(evaluated, tmp_path / "copy", lambda image: image), exports=tmp_path / "exports"
    )
    check = export(project, temperature=1.5).originals
    assert check is not None
    assert (check.images, check.unread, check.same_answers, check.faults) == (6, 0, 6, ())
    assert check.from_model < 1e-6
    assert 0 < check.median_difference <= check.largest_difference < 0.2
    assert 0 < check.pixel_difference < 6
    assert read_exports(project.exports).originals == check
    assert "original files: 6 of 6 test images get the evaluated answer" in capsys.readouterr().out
    bundle = Path(register(project).uri)
    for card in ("README.md", "model_card.html"):
        text = (bundle / card).read_text()
        assert "was also sent 6 test images as they were in the source, of any size: 6 of 6 got the answer" in text
        assert "as the split step stored them, 32 x 32 pixels" in text
    assert json.loads((bundle / "exports.json").read_text())["originals"]["images"] == 6


def test_a_model_that_is_shown_other_pictures_is_refused(
    register: Register, evaluated: EvaluatedProject, tmp_path: Path
) -> None:
    """Stands for a server that decodes or resizes otherwise: the files differ from what was evaluated just so."""
    project = with_originals(evaluated, tmp_path / "copy", exchanged)
    originals = read_originals(project.splits)
    unread = OriginalImage(originals[0].path, b"\xff\xd8\xff no image")
    write_originals([unread, *originals[1:]], project.splits)
    predictions = read_predictions(project.evaluation)
    predictions.loc[predictions["path"] == unread.path, "md5"] = hashlib.md5(unread.image).hexdigest()
    predictions.to_parquet(project.evaluation / PREDICTIONS_FILE, index=False)
    project = dataclasses.replace(project, exports=tmp_path / "exports")

    check = export(project).originals
    registration = register(project, gate=Gate(0.0))

    assert check is not None
    assert (check.images, check.unread) == (6, 1)
    assert check.from_model < 1e-6
    assert "makes other pictures of original test images than were evaluated" in registration.rejected[0]
    assert not registration.champion


def test_splits_without_originals_are_said_to_have_none(register: Register) -> None:
    assert "the splits bring none along" in (Path(register().uri) / "README.md").read_text()


SURE, TORN = [0.9, 0.1], [0.52, 0.48]


def answer(saved: list[float], own: list[float] | None = None, pixels: float = 1.0) -> dict[str, Any]:
    return {"saved_model": saved, "model": own or saved, "pixel_difference": pixels}


@pytest.mark.parametrize(
    ("answers", "expected", "faults"),
    [
        ([answer([0.85, 0.15])] * 4, SURE, []),
        ([answer([0.85, 0.15], own=[0.851, 0.149])] * 4, SURE, ["differs by 1.00e-03 from the model itself"]),
        ([answer(SURE, pixels=20.0)] * 4, SURE, ["by 20.0 gray levels, 6 are allowed"]),
        ([answer(SURE, pixels=20.0), *[answer(SURE)] * 3], SURE, []),
        ([*[answer([0.49, 0.51])] * 3, answer(TORN)], TORN, ["answers 3 of 4 original test images otherwise"]),
        ([*[answer([0.49, 0.51])] * 2, *[answer(TORN)] * 2], TORN, []),
        ([answer([0.49, 0.51])] * 3, TORN, []),
        ([answer([float("nan")] * 2)] * 2, SURE, ["differs by 1.00e+00 from the model itself"]),
        ([None, None, answer(SURE)], SURE, ["cannot read 2 of 3"]),
    ],
    ids=[
        "a little off",
        "broken export",
        "other pictures",
        "one other picture",
        "most answers differ",
        "half differ",
        "too few to judge",
        "not finite",
        "unread",
    ],
)
def test_what_is_refused(answers: list[Any], expected: list[float], faults: list[str]) -> None:
    said = check_originals(answers, np.array([expected] * len(answers))).faults
    assert len(said) == len(faults)
    assert all(part in sentence for part, sentence in zip(faults, said, strict=True))


def test_differences_are_of_any_probability() -> None:
    answers = [answer([0.8, 0.2]), answer([0.9, 0.1]), answer([0.6, 0.4], pixels=3.0)]
    check = check_originals(answers, np.array([SURE] * 3))
    expected = OriginalsCheck(3, 0, 3, check.largest_difference, check.median_difference, 0.0, 1.0)
    assert check == expected
    assert check.largest_difference == pytest.approx(0.3)
    assert check.median_difference == pytest.approx(0.1)


def test_originals_of_other_data_are_refused() -> None:
    predictions = pd.DataFrame({"path": ["a.jpg"], "md5": [hashlib.md5(b"a").hexdigest()], "probability": [0.5]})
    assert len(rows_of_originals([OriginalImage("a.jpg", b"a")], predictions)) == 1
    assert len(rows_of_originals([OriginalImage("a.jpg", b"b")], predictions.drop(columns="md5"))) == 1
    with pytest.raises(UserError, match=r"holds 'b\.jpg', which was not evaluated"):
        rows_of_originals([OriginalImage("b.jpg", b"b")], predictions)
    with pytest.raises(UserError, match=r"holds other bytes of 'a\.jpg' than were evaluated"):
        rows_of_originals([OriginalImage("a.jpg", b"b")], predictions)
