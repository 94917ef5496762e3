"""Every parameter of the training steps has its place in the report."""

import inspect

from components.classifier.settings_table import OTHERS, grouped_settings
from components.classifier.training_mode import Mode, ModeSettings
from components.fine_tune.fine_tune_settings import FineTuneSettings
from components.train_frozen.frozen_settings import FrozenSettings
from tests.classifier.plain_settings import PLAIN

MODE = ModeSettings("auto", 5, "float16", 20.0, "")
CACHED = Mode(True, "a test")


def recorded() -> dict[str, dict[str, object]]:
    shared = {"mode": MODE, "fit": PLAIN, "augmentation": 0.5, "gpu_count": 0}
    frozen = {"backbone": "inception_v3", "weights": "imagenet", "head_units": 8, "dropout": 0.5, "unfrozen_layers": 30}
    tuned = {"unfrozen_layers": 30, "train_batch_normalization": True, "export_h5": False}
    assert set(inspect.signature(FrozenSettings).parameters) == {*shared, *frozen}
    assert set(inspect.signature(FineTuneSettings).parameters) == {*shared, *tuned}
    return {
        "frozen": FrozenSettings(**shared, **frozen).as_record(CACHED, "float32"),  # type: ignore[arg-type]
        "fine_tune": FineTuneSettings(**shared, **tuned).as_record(CACHED, "float32"),  # type: ignore[arg-type]
    }


def test_every_parameter_of_both_phases_is_in_a_group_once() -> None:
    settings = recorded()

    groups = grouped_settings(settings)

    names = [setting.name for group in groups.values() for setting in group]
    assert sorted(names) == sorted({*settings["frozen"], *settings["fine_tune"]})
    assert OTHERS not in groups
    assert next(iter(groups)) == "model"


def test_values_are_as_a_run_file_has_them_and_empty_where_a_phase_has_none() -> None:
    values = {setting.name: setting.values for group in grouped_settings(recorded()).values() for setting in group}

    assert values["dropout"] == ["0.5", ""]
    assert values["train_batch_normalization"] == ["", "true"]


def test_a_parameter_that_nobody_foresaw_is_shown_all_the_same() -> None:
    groups = grouped_settings({"frozen": {"epochs": 3, "colour": "blue"}})

    assert [setting.name for setting in groups[OTHERS]] == ["colour"]
    assert list(groups) == ["optimization", OTHERS]
