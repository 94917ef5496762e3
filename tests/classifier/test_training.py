"""The loop trains on every batch, keeps the best epoch, and stops with a sentence when training diverges."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.classifier.devices import Devices
from components.classifier.fit_settings import OPTIMIZERS, FitSettings
from components.classifier.input_pipeline import Batching, in_batches
from components.classifier.training import (
    Fit,
    Validation,
    balanced_class_weights,
    compile_classifier,
    fit_epochs,
    measure,
)
from components.failures import UserError
from tests.classifier.plain_settings import PLAIN

SETTINGS = PLAIN


def test_balanced_weights_let_each_class_count_the_same() -> None:
    weights = balanced_class_weights([2, 6, 4], "balanced")

    assert weights == pytest.approx({0: 2.0, 1: 12 / 18, 2: 1.0})
    assert balanced_class_weights([2, 6, 4], "none") is None


POINTS = np.random.default_rng(3).normal(size=(61, 4)).astype(np.float32)
LABELS = (POINTS[:, 0] + 0.5 * POINTS[:, 1] > 0).astype(np.int64)


def batches(points: np.ndarray = POINTS, labels: np.ndarray = LABELS) -> tf.data.Dataset:
    return in_batches(tf.data.Dataset.from_tensor_slices((points, labels)), len(labels), Batching(8, 1))


def small_model(learning_rate: float, settings: FitSettings = SETTINGS) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax", dtype="float32")])
    compile_classifier(model, dataclasses.replace(settings, learning_rate=learning_rate))
    return model


def run(settings: FitSettings, model: keras.Model, validation: Validation | None = None) -> Fit:
    held_back = validation or Validation(batches(), LABELS)
    return fit_epochs(model, "frozen", settings, lambda _: batches(), held_back, None, None)


def test_every_batch_of_every_epoch_is_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model(0.01)

    fit = run(SETTINGS, model)

    assert int(model.optimizer.iterations) == 4 * 8  # 61 images are 8 batches, the last of 5
    assert fit.history["epoch"].tolist() == [1, 2, 3, 4]
    assert fit.history["loss"].is_monotonic_decreasing
    assert fit.history["learning_rate"].tolist() == [0.01] * 4  # as it was set, not as float32 has it
    assert fit.best_epoch == 4
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("frozen epoch 1/4  loss ")
    assert lines[0].endswith(" s  best")


def test_the_best_epoch_is_kept_when_later_ones_are_worse() -> None:
    """Validation wants the opposite of training, so the first epoch is the best."""
    model = small_model(0.1)
    against = Validation(batches(), 1 - LABELS)

    fit = run(SETTINGS, model, against)

    assert fit.best_epoch == 1
    assert fit.best_val_loss < fit.history["val_loss"].iloc[1:].min()
    assert measure(model, against) == pytest.approx((fit.best_val_loss, fit.best_val_accuracy))


def test_the_log_compares_each_epoch_with_the_model_before_the_phase(capsys: pytest.CaptureFixture[str]) -> None:
    """What stops a phase, and which of its epochs is its best, is its own matter."""
    of_epochs = run(SETTINGS, small_model(0.01)).history["val_loss"]
    capsys.readouterr()

    fit = fit_epochs(
        small_model(0.01),
        "fine_tune",
        SETTINGS,
        lambda _: batches(),
        Validation(batches(), LABELS),
        None,
        None,
        loss_before=(of_epochs[1] + of_epochs[2]) / 2,
    )

    assert fit.history["val_loss"].equals(of_epochs)
    assert [line.rpartition(" s")[2] for line in capsys.readouterr().out.splitlines()] == [
        *["  best of the phase, no better than before it"] * 2,
        *["  best"] * 2,
    ]


def test_training_stops_early_and_lowers_its_rate_when_asked() -> None:
    settings = dataclasses.replace(SETTINGS, epochs=9, early_stopping_patience=3, plateau_patience=2)

    fit = run(settings, small_model(0.1), Validation(batches(), 1 - LABELS))

    assert len(fit.history) == 4
    assert fit.history["learning_rate"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.02])


def test_a_small_gain_counts_as_one() -> None:
    """Fine-tuning gains little with each epoch; the rate falls when nothing is gained, not when little is."""
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-7, plateau_patience=1)

    fit = run(settings, small_model(1e-7))

    gains = -fit.history["val_loss"].diff().dropna()
    assert ((gains > 0) & (gains < 1e-5)).all()
    assert fit.history["learning_rate"].nunique() == 1


@pytest.mark.parametrize(
    ("place", "precision", "message"),
    [
        pytest.param(
            30,
            "float32",
            "at batch 4 in epoch 1 of the fine_tune phase the loss is nan: training diverged, lower "
            "fine_tune_learning_rate, learning_rate of the step, which was 0.01",
            id="later",
        ),
        pytest.param(
            3,
            "float32",
            "the loss of the very first batch of the fine_tune phase is nan, before anything was learned: look at "
            "weights and at the training images",
            id="first",
        ),
        pytest.param(
            3,
            "mixed_float16",
            "the loss of the very first batch of the fine_tune phase is nan, before anything was learned: look at "
            "weights and at the training images, or set precision to float32: the network may give what float16 "
            "cannot hold",
            id="first in float16",
        ),
    ],
)
def test_a_loss_that_is_no_number_names_what_to_change(place: int, precision: str, message: str) -> None:
    points = POINTS.copy()
    points[place] = np.nan
    with Devices(tf.distribute.get_strategy(), ["CPU"], precision).building():
        model = small_model(0.01)

    with pytest.raises(UserError) as stopped:
        fit_epochs(model, "fine_tune", SETTINGS, lambda _: batches(points), Validation(batches(), LABELS), None, None)

    assert str(stopped.value) == message


def test_measure_counts_every_image_and_nothing_else() -> None:
    """The last batch of a model on several devices is filled up; what fills it does not count."""
    model = small_model(0.01)
    examples = tf.data.Dataset.from_tensor_slices((POINTS, LABELS))
    filled = Validation(in_batches(examples, len(LABELS), Batching(8, 4)), LABELS)
    probabilities = np.asarray(model(POINTS), np.float64)
    expected = -np.log(probabilities[np.arange(61), LABELS]).mean()

    loss, accuracy = measure(model, filled)

    assert loss == pytest.approx(expected, rel=1e-5)
    assert accuracy == (probabilities.argmax(axis=1) == LABELS).mean()
    assert measure(model, Validation(batches(), LABELS)) == pytest.approx((loss, accuracy))


def test_a_step_is_what_keras_makes_of_it() -> None:
    """Class weights and a last, smaller batch included; only the order of a sum may differ."""
    class_weight = {0: 0.5, 1: 2.0}
    keras_model, model = small_model(0.01), small_model(0.01)
    keras_model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(), jit_compile=False)
    expected = keras_model.fit(batches(), epochs=3, class_weight=class_weight, shuffle=False, verbose=0)

    fit = fit_epochs(
        model,
        "frozen",
        dataclasses.replace(SETTINGS, epochs=3),
        lambda _: batches(),
        Validation(batches(), LABELS),
        class_weight,
        None,
    )

    for weights, others in zip(model.get_weights(), keras_model.get_weights(), strict=True):
        np.testing.assert_allclose(weights, others, rtol=1e-5)
    np.testing.assert_allclose(fit.history["loss"], expected.history["loss"], rtol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_learns(optimizer: str) -> None:
    settings = dataclasses.replace(SETTINGS, optimizer=optimizer)
    model = small_model(0.01, settings)

    assert run(settings, model).history["loss"].is_monotonic_decreasing


def test_smoothed_labels_cost_a_sure_model_more_in_training_and_nothing_in_validation() -> None:
    """Validation compares epochs and phases, so it stays the plain cross-entropy."""
    settings = dataclasses.replace(SETTINGS, epochs=1, learning_rate=1e-7, label_smoothing=0.2)
    plain, smoothed = small_model(1e-7), small_model(1e-7)
    for model in (plain, smoothed):
        model.set_weights([np.array([[-9, 9], [-4.5, 4.5], [0, 0], [0, 0]], np.float32), np.zeros(2, np.float32)])

    of_plain = run(dataclasses.replace(settings, label_smoothing=0.0), plain)
    of_smoothed = run(settings, smoothed)

    assert of_smoothed.history["loss"][0] > of_plain.history["loss"][0] + 0.5
    assert of_smoothed.best_val_loss == pytest.approx(of_plain.best_val_loss, rel=1e-4)


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    settings = dataclasses.replace(SETTINGS, schedule="cosine", warmup_epochs=1.0, plateau_patience=1)

    rates = run(settings, small_model(0.01), Validation(batches(), 1 - LABELS)).history["learning_rate"]

    assert rates[0] == pytest.approx(0.01 * sum(range(1, 9)) / 9 / 8)
    assert rates[1] > rates[2] > rates[3] > 0.0
