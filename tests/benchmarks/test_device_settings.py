"""What the benchmark of device settings makes of its measurements, on numbers made by hand."""

import dataclasses

import pytest

from benchmarks.device_settings import (
    CACHED,
    STREAMING,
    Begun,
    DeviceSettings,
    Measured,
    Peaks,
    Variant,
    chunks,
    in_a_hurry,
    not_measured,
    pipeline_defaults,
    supported,
    table,
    take_round,
    variants_of,
)

DEFAULT = DeviceSettings("auto", False, True, 2, 32)


def measured(value: str, cached: list[float], streaming: list[float]) -> Measured:
    """Return rounds of a variant beside defaults of 100 images a second."""
    return Measured(
        Variant("xla", value, dataclasses.replace(DEFAULT, xla=True)),
        Begun("float32", 32, {CACHED: 1.5, STREAMING: 12.25}),
        {CACHED: cached, STREAMING: streaming},
        {CACHED: [100.0] * len(cached), STREAMING: [100.0] * len(streaming)},
        Peaks(1234.5, None),
    )


@pytest.mark.parametrize(
    ("cached", "streaming", "expected"),
    [
        pytest.param([120, 130, 110], [100, 99, 101], "true is faster than the default false", id="faster in one"),
        pytest.param([120, 130, 104], [100, 99, 101], "the default false stays", id="not in each round"),
        pytest.param([120, 130, 110], [90, 91, 120], "the default false stays", id="slower in the other"),
        pytest.param([103, 104, 104], [104, 103, 104], "the default false stays", id="hardly faster"),
    ],
)
def test_a_value_is_better_only_where_it_is_faster_in_each_round(
    cached: list[float], streaming: list[float], expected: str
) -> None:
    assert expected in supported([measured("true", cached, streaming)], "false")


def test_the_fastest_of_the_better_ones_is_named_with_its_ratios() -> None:
    values = [measured("2", [120], [120]), measured("4", [130], [125]), measured("8", [140], [50])]

    assert supported(values, "1") == "xla: 4 is faster than the default 1 (cached 1.30, streaming 1.25)"


def test_what_does_not_work_here_is_said_and_judged_no_further() -> None:
    refused = Measured(Variant("precision", "mixed_bfloat16", DEFAULT), "not possible here: too old")

    assert supported([refused], "float32") == "precision: no other value than float32 works here"
    assert "| precision | mixed_bfloat16 | not possible here: too old |" in table(refused, [], [CACHED])


def test_the_table_has_medians_and_the_spread_of_ratios() -> None:
    lines = table(measured("false", [100], [100]), [measured("true", [90, 120, 150], [50])], [CACHED, STREAMING])

    assert lines.splitlines()[-1] == (
        "| xla | true | 120.0 | 1.20 (0.90 to 1.50) | 1.5 | 50.0 | 0.50 (0.50 to 0.50) | 12.2 | 1,234 | - |"
    )


def test_a_cpu_measures_what_has_a_meaning_there_and_says_what_it_did_not() -> None:
    on_cpu = {variant.setting for variant in variants_of(DEFAULT, "float32", 0, on_gpu=False)}
    on_gpus = {variant.setting for variant in variants_of(DEFAULT, "mixed_bfloat16", 2, on_gpu=True)}

    assert on_cpu == {"precision", "xla", "batch size", "devices"}
    assert on_gpus == on_cpu | {"prefetch", "memory growth"}
    assert (
        "prefetch, memory growth, several GPUs and GPU memory were not measured"
        in not_measured(on_gpu=False, gpus=0)[0]
    )
    assert not_measured(on_gpu=True, gpus=2) == []


def test_two_virtual_cpus_are_sent_batches_ahead() -> None:
    default = dataclasses.replace(DEFAULT, devices=2)
    variants = variants_of(default, "float32", 0, on_gpu=False)

    assert {variant.setting for variant in variants} == {"precision", "xla", "batch size", "prefetch"}
    assert all(variant.settings.devices == 2 for variant in variants)
    assert "measured: memory growth, several GPUs" not in not_measured(on_gpu=False, gpus=0)[0]
    assert ": memory growth, several GPUs and GPU memory" in not_measured(on_gpu=False, gpus=0, ahead=True)[0]


def test_a_hurry_leaves_out_what_lies_between_and_no_setting() -> None:
    variants = variants_of(DEFAULT, "mixed_bfloat16", 2, on_gpu=True)
    fewer = in_a_hurry(variants, on_gpu=True)

    assert {variant.setting for variant in fewer} == {variant.setting for variant in variants}
    assert [variant.value for variant in fewer if variant.setting == "prefetch"] == ["0", "4"]


class Told:
    """Stands for a process: says what it is told to."""

    def __init__(self, *answers: float | str) -> None:
        self._answers = iter(answers)

    def measure(self, way: str) -> float | str:
        """Say the next."""
        return next(self._answers)


def test_a_process_that_runs_out_of_memory_in_a_round_ends_no_other() -> None:
    begun = Begun("float32", 32, {CACHED: 1.5, STREAMING: 12.25})
    defaults, stays, ends = (Measured(Variant(name, "true", DEFAULT), begun) for name in ("", "xla", "batch size"))
    defaults.defaults = defaults.speeds
    processes = [(defaults, Told(100.0, 50.0)), (stays, Told(120.0, 60.0)), (ends, Told("not possible here: OOM"))]

    take_round(processes, [CACHED, STREAMING], backwards=False)

    assert ends.begun == "not possible here: OOM"
    assert (stays.ratios(CACHED), stays.ratios(STREAMING)) == ([1.2], [1.2])
    assert "| batch size | true | not possible here: OOM |" in table(defaults, [stays, ends], [CACHED, STREAMING])


def test_no_variant_is_what_the_defaults_are() -> None:
    for variant in variants_of(DEFAULT, "mixed_bfloat16", 2, on_gpu=True):
        assert variant.settings != DEFAULT
        assert variant.settings.precision != "mixed_bfloat16"


def test_who_wants_all_memory_is_measured_without_others() -> None:
    variants = variants_of(DEFAULT, "mixed_bfloat16", 2, on_gpu=True)
    together = list(chunks(variants, 4))

    assert sorted(one.value for chunk in together for one in chunk) == sorted(one.value for one in variants)
    assert all(len(chunk) == 1 or all(one.beside_others for one in chunk) for chunk in together)
    assert max(len(chunk) for chunk in together) == 4


def test_the_defaults_are_those_of_the_pipeline() -> None:
    defaults = pipeline_defaults()

    assert isinstance(defaults["gpu_prefetch_batches"], int)
    assert defaults["precision"] == "auto"
