"""Slices: cut at quantiles, a planted weakness is seen, and too few images get no number."""

import numpy as np
import pandas as pd
import pytest

from components.evaluate.slices import LEAST_SLICE_IMAGES, is_worse, slice_test_split


def measured(images: int, **changes: object) -> pd.DataFrame:
    columns: dict[str, object] = {
        "path": [f"{number}.jpg" for number in range(images)],
        "width_px": 400,
        "height_px": 300,
        "brightness": np.linspace(0, 250, images),
        "contrast": 30.0,
        "grayscale": [number % 2 == 0 for number in range(images)],
        "blur": 0.5,
    }
    return pd.DataFrame(columns | changes)


def test_a_weakness_in_the_dark_is_seen() -> None:
    table = measured(200)
    right = (table["brightness"] > 40).to_numpy()
    slices = slice_test_split(table["path"].tolist(), right, table)
    brightness = slices[slices["measure"].str.startswith("brightness")]
    assert brightness["images"].tolist() == [50, 50, 50, 50]
    assert brightness["correct"].tolist() == [18, 50, 50, 50]
    assert is_worse(brightness, right.mean()).tolist() == [True, False, False, False]
    assert brightness["slice"].iloc[0] == "lowest: 0 to 61.6"
    assert not is_worse(slices[slices["measure"] == "colour"], right.mean()).any()


def test_equal_values_stay_together() -> None:
    table = measured(90)
    slices = slice_test_split(table["path"].tolist(), np.ones(90, bool), table)
    contrast = slices[slices["measure"].str.startswith("contrast")]
    assert contrast["slice"].tolist() == ["all: 30"]
    assert contrast["images"].tolist() == [90]


def test_rows_are_matched_by_path_and_images_without_measurements_are_in_no_slice() -> None:
    table = measured(60, width_px=[0] * 10 + [400] * 50).sample(frac=1.0, random_state=0)
    paths = [f"{number}.jpg" for number in range(60)] + ["unknown.jpg"]
    right = np.array([number >= 30 for number in range(61)])
    slices = slice_test_split(paths, right, table)
    for _, parts in slices.groupby("measure"):
        assert parts["images"].sum() == 50
        assert parts["correct"].sum() == 30


@pytest.mark.parametrize(("images", "told"), [(2 * LEAST_SLICE_IMAGES - 1, False), (2 * LEAST_SLICE_IMAGES, True)])
def test_too_few_images_get_no_number(images: int, told: bool) -> None:
    table = measured(images)
    slices = slice_test_split(table["path"].tolist(), np.ones(images, bool), table)
    brightness = slices[slices["measure"].str.startswith("brightness")]
    assert len(brightness) == 2
    assert brightness["accuracy"].notna().all() == told
    assert not is_worse(slices, 1.0).any()


def test_nothing_was_measured() -> None:
    assert slice_test_split(["a.jpg"], np.array([True]), measured(3)).empty
