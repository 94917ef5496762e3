"""How fast a training step is with each device setting, beside the defaults, on whatever this machine has.

    python -m benchmarks.device_settings                       InceptionV3 with random weights, on GPUs if there are any
    python -m benchmarks.device_settings --quick               fewer and shorter rounds
    python -m benchmarks.device_settings --only precision xla  these settings alone
    python -m benchmarks.device_settings --quick --size 128    small enough for two CPU cores
    python -m benchmarks.device_settings --cpu                 the CPU, although there is a GPU
    python -m benchmarks.device_settings --two-cpus --only prefetch
                                                               the CPU as if it were two, and batches sent ahead to each

Two kinds of step are measured, those of fine-tuning: ``cached``, the last layers on what crosses the cut, and
``streaming``, those before them too, from pixels, whose forward pass is also what computes a cache. Batches are ready
before they are asked for, so that devices are compared and not decoding (``python -m benchmarks.training --input`` is
about that).

Each setting trains in a process of its own, beside one with the defaults of ``pipeline.py``, and they take turns, round
by round, the order reversed in every other one. A ratio is to the defaults in the same round: the median, and from the
lowest to the highest; what is less than a quarter as fast has one round alone. What passes until the first step is done
is told apart. Memory is the most that the process had: resident on the host, in tensors on a GPU, the fullest one.
Several GPUs get the batch of one each; two virtual CPUs, which are what tests of the code for several GPUs run on and
nothing to choose, share that of one.

Processes that are kept ready hold memory of the GPU: what is about memory, and what takes more of it, is measured with
no other beside the defaults'. ``--quick`` on a GPU leaves out what lies between other values, and begins nothing new
after five minutes; what there was no time for is said.

A value is said to be better than the default when it is faster by more than 5 % in each round of one kind of step, and
not slower by as much in the other. That is speed alone: a larger batch is another training, of fewer steps an epoch. On
a CPU the batch size that is found is the default itself, and shows how far apart equal settings come out.
"""

import argparse
import dataclasses
import itertools
import math
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.peak_memory import peak_bytes
from benchmarks.plain_fit import PLAIN_FIT
from components.classifier.fit_settings import FitSettings
from components.failures import UserError
from components.ordered_work import processors

if TYPE_CHECKING:
    import keras

    from components.classifier.frozen_layers import FrozenLayers

CACHED, STREAMING = "cached", "streaming"
WAYS = (CACHED, STREAMING)
SETTINGS = ("precision", "xla", "batch", "prefetch", "memory", "devices")
"""Of which the names of what is varied begin."""
CLASSES, HEAD_UNITS, DROPOUT, SEED = 10, 512, 0.5, 1
NOTABLE = 0.05
"""A ratio this far from 1 is more than chance, where it is so in each round."""
HOPELESS = 0.25
"""What is less than this many times as fast is measured no further."""
_WARM_STEPS = 1  # of each round: batches are copied ahead of it while nothing else is done
_FEWEST_STEPS = 2
_FIRST_STEPS = 3


@dataclasses.dataclass(frozen=True)
class DeviceSettings:
    """How devices are used.

    Attributes:
        precision: ``auto`` or Keras' dtype policy.
        xla: Whether steps are compiled with XLA.
        memory_growth: See ``FitSettings``.
        prefetch_batches: See ``FitSettings``.
        batch_size: For each device; 0 for as many as are found to fit.
        devices: GPUs, or CPUs that this machine is made to look like.
    """

    precision: str
    xla: bool
    memory_growth: bool
    prefetch_batches: int
    batch_size: int
    devices: int = 1


@dataclasses.dataclass(frozen=True)
class Variant:
    """The defaults but for one setting.

    Attributes:
        setting: Its name.
        value: For people.
        settings: All of them.
        beside_others: Whether it may be measured while other processes than the defaults' have memory of the GPU.
    """

    setting: str
    value: str
    settings: DeviceSettings
    beside_others: bool = True


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        backbone: Its name.
        size_px: Height and width of images.
        unfrozen_layers: How many learn.
        ways: Of ``WAYS``.
        seconds: How long a round of one process lasts, at least.
        gpus: How many this machine has to be measured on, 0 for the CPU.
    """

    backbone: str
    size_px: int
    unfrozen_layers: int
    ways: tuple[str, ...]
    seconds: float
    gpus: int


@dataclasses.dataclass(frozen=True)
class Begun:
    """A process that is ready to train.

    Attributes:
        precision: That it computes in.
        batch_size: Over all devices.
        compile_seconds: Until the first step was done, without that step, by way.
    """

    precision: str
    batch_size: int
    compile_seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Peaks:
    """The most memory that a process had; of GPUs the fullest one."""

    host_mb: float
    gpu_mb: float | None


NO_PEAKS = Peaks(0.0, None)


@dataclasses.dataclass
class Measured:
    """What came of one variant.

    Attributes:
        variant: What was measured.
        begun: The process that trained, or why there was none.
        speeds: Images a second by way, one of each round.
        defaults: Those of the defaults in the same rounds.
        peaks: Of memory.
    """

    variant: Variant
    begun: Begun | str
    speeds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    defaults: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    peaks: Peaks = NO_PEAKS

    @property
    def value(self) -> str:
        """For people, with what was found."""
        if self.variant.settings.batch_size == 0 and isinstance(self.begun, Begun):
            return f"{self.variant.value}: {self.begun.batch_size}"
        return self.variant.value

    def ratios(self, way: str) -> list[float]:
        """Return how many times as fast as the defaults it was in each round."""
        return [mine / theirs for mine, theirs in zip(self.speeds[way], self.defaults[way], strict=True)]

    @property
    def hopeless(self) -> bool:
        """Whether more rounds would change nothing."""
        return all(max(self.ratios(way)) < HOPELESS for way in self.speeds)


def variants_of(default: DeviceSettings, precision: str, gpus: int, *, on_gpu: bool) -> list[Variant]:
    """Return what is worth measuring beside the defaults.

    Args:
        default: The defaults.
        precision: What they come to on these devices.
        gpus: How many GPUs there are.
        on_gpu: Whether they are trained on.
    """

    def changed(setting: str, value: str, **changes: Any) -> Variant:
        alone = {"memory_growth", "batch_size", "devices"} & changes.keys()
        return Variant(setting, value, dataclasses.replace(default, **changes), not (alone and on_gpu))

    precisions = ("float32", "mixed_bfloat16", "mixed_float16")
    variants = [changed("precision", value, precision=value) for value in precisions if value != precision]
    variants.append(changed("xla", _word(not default.xla), xla=not default.xla))
    sizes = [size for size in (32, 64, 128, 256) if size != default.batch_size]
    variants += [changed("batch size", str(size), batch_size=size) for size in sizes]
    variants.append(changed("batch size", "found", batch_size=0))
    if not on_gpu and default.devices == 1:
        return [*variants, changed("devices", "two virtual CPUs", devices=2)]
    ahead = [count for count in (0, 1, 2, 4) if count != default.prefetch_batches]
    variants += [changed("prefetch", str(count), prefetch_batches=count) for count in ahead]
    if not on_gpu:
        return variants
    growth = not default.memory_growth
    variants.append(changed("memory growth", _word(growth), memory_growth=growth))
    if gpus > 1:
        variants.append(changed("devices", f"{gpus} GPUs", devices=gpus))
    return variants


def _word(value: bool) -> str:
    return str(value).lower()


def in_a_hurry(variants: Sequence[Variant], *, on_gpu: bool) -> list[Variant]:
    """Return those that say most in little time: ends and not what lies between, and no batch of 256 on a CPU."""
    left_out = {("batch size", "64"), ("batch size", "256"), ("prefetch", "1")} if on_gpu else {("batch size", "256")}
    return [one for one in variants if (one.setting, one.value) not in left_out]


def not_measured(*, on_gpu: bool, gpus: int, ahead: bool = False) -> list[str]:
    """Return sentences about what this machine cannot say.

    Args:
        on_gpu: Whether GPUs were trained on.
        gpus: How many there are.
        ahead: Whether batches were sent ahead all the same, to virtual CPUs.
    """
    if not on_gpu:
        left = "memory growth" if ahead else "prefetch, memory growth"
        return [
            f"There is no GPU here, or it was not asked for: {left}, several GPUs and GPU memory were not measured, "
            "and what is measured of all else is true of this CPU alone."
        ]
    return [] if gpus > 1 else ["There is one GPU here: several were not measured."]


def supported(measured: Sequence[Measured], default_value: str) -> str:
    """Return which value of one setting the measurements support, in a sentence.

    Args:
        measured: All other values of it.
        default_value: The default.
    """
    setting = measured[0].variant.setting
    ran = [one for one in measured if not isinstance(one.begun, str)]
    if not ran:
        return f"{setting}: no other value than {default_value} works here"
    better = [one for one in ran if _is_better(one)]
    best = max(better or ran, key=lambda one: max(statistics.median(one.ratios(way)) for way in one.speeds))
    found = ", ".join(f"{way} {statistics.median(best.ratios(way)):.2f}" for way in best.speeds)
    if better:
        return f"{setting}: {best.value} is faster than the default {default_value} ({found})"
    return f"{setting}: the default {default_value} stays; the best other value is {best.value} ({found})"


def _is_better(one: Measured) -> bool:
    ratios = [one.ratios(way) for way in one.speeds]
    faster = any(min(of_way) > 1.0 + NOTABLE for of_way in ratios)
    return faster and all(statistics.median(of_way) > 1.0 - NOTABLE for of_way in ratios)


def table(defaults: Measured, measured: Sequence[Measured], ways: Sequence[str]) -> str:
    """Return a Markdown table, the defaults in its first line."""
    columns = ["setting", "value"]
    for way in ways:
        columns += [f"{way} images/s", "ratio", "compile s"]
    columns += ["host MB", "GPU MB"]
    lines = [columns, ["---"] * len(columns)]
    lines += [_row(one, ways) for one in (defaults, *measured)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(one: Measured, ways: Sequence[str]) -> list[str]:
    cells = [one.variant.setting, one.value]
    if isinstance(one.begun, str):
        return [*cells, one.begun.replace("|", "/"), *[""] * (3 * len(ways) + 1)]
    for way in ways:
        ratios = one.ratios(way)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        seconds = one.begun.compile_seconds[way]
        cells += [
            f"{statistics.median(one.speeds[way]):,.1f}",
            spread if one.variant.setting else "1",
            f"{seconds:.1f}",
        ]
    return [*cells, *("-" if peak is None else f"{peak:,.0f}" for peak in (one.peaks.host_mb, one.peaks.gpu_mb))]


class Worker:
    """A process that trains when it is told to."""

    def __init__(self, settings: DeviceSettings, workload: Workload) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, settings, workload), daemon=True)
        self._process.start()
        self._able = False
        theirs.close()

    def begun(self) -> Begun | str:
        """Wait until it can train; return why it cannot when it cannot."""
        answer: Begun | str = self._answer()
        self._able = isinstance(answer, Begun)
        return answer

    def measure(self, way: str) -> float | str:
        """Return images a second of a round; why there is none when there is none, after which it has ended."""
        self._connection.send(way)
        speed: float | str = self._answer()
        self._able = isinstance(speed, float)
        return speed

    def end(self) -> Peaks:
        """End it and return what it took, nothing when it had never begun."""
        peaks = NO_PEAKS
        if self._able:
            self._connection.send(None)
            peaks = self._answer()
        self._process.join()
        return peaks

    def _answer(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a process that trains died with {self._process.exitcode}") from None


def _serve(connection: Connection, settings: DeviceSettings, workload: Workload) -> None:
    """Be a ``Worker``: build and compile, then train for as long as a way of training is sent."""
    import tensorflow as tf  # noqa: PLC0415

    sys.stdout = sys.stderr
    try:
        begun, trainers = _begin(settings, workload)
        connection.send(begun)
        while (way := connection.recv()) is not None:
            connection.send(trainers[way].images_per_second(workload.seconds))
    except (UserError, tf.errors.OpError) as error:
        connection.send(f"not possible here: {_in_a_line(error)}")
        return
    gpus = tf.config.list_logical_devices("GPU")
    peaks = [tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus]
    connection.send(Peaks(peak_bytes() / 1e6, max(peaks) / 1e6 if peaks else None))


def _in_a_line(error: Exception) -> str:
    """Return what an error says; a graph's begins with where in the code it was, and says the rest last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = ("OOM", "out of memory", "OUT_OF_MEMORY", "determinis")
    return next((line for line in lines if any(word in line for word in telling)), lines[-1])[:200]


def _begin(settings: DeviceSettings, workload: Workload) -> "tuple[Begun, dict[str, _Trainer]]":
    import tensorflow as tf  # noqa: PLC0415

    from components.classifier.backbones import find_backbone  # noqa: PLC0415
    from components.classifier.batch_size import found_batch_size  # noqa: PLC0415
    from components.classifier.boundary import cut_before_last_layers, layers_before, tail_model  # noqa: PLC0415
    from components.classifier.devices import prepare_training, sharing_among  # noqa: PLC0415
    from components.classifier.frozen_layers import FrozenLayers  # noqa: PLC0415
    from components.classifier.head import head_layers  # noqa: PLC0415
    from components.classifier.training import compile_classifier  # noqa: PLC0415
    from components.fine_tune.unfreezing import unfreeze_last_layers  # noqa: PLC0415

    virtual = settings.devices if not workload.gpus else 1
    if virtual > 1:
        [cpu] = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * virtual)
    gpu_count = settings.devices if workload.gpus else 0
    devices = prepare_training(gpu_count, SEED, settings.precision, memory_growth=settings.memory_growth)
    if virtual > 1:
        several = sharing_among(tuple(f"CPU:{number}" for number in range(virtual)))
        devices = dataclasses.replace(devices, strategy=several)
    fit = fit_settings(settings)
    with devices.building():
        backbone = find_backbone(workload.backbone, workload.size_px)
        network = backbone.build(workload.size_px)
        unfreeze_last_layers(network, workload.unfrozen_layers, False)
        cut = cut_before_last_layers(network, workload.unfrozen_layers)
        models = {way: tail_model(network, cut, head_layers(CLASSES, HEAD_UNITS, DROPOUT)) for way in WAYS}
        frozen = FrozenLayers(layers_before(backbone, network, cut), fit.xla)
        for model in models.values():
            compile_classifier(model, fit)
        batch_size = settings.batch_size * max(gpu_count, 1)
        if batch_size == 0:
            images = 10**6  # as many as need not be thought of
            batch_size = found_batch_size(models[STREAMING], images, fit.xla, fit.gpu_prefetch_batches, frozen)
            compile_classifier(models[STREAMING], fit)
    shapes = {CACHED: cut.shapes, STREAMING: ((workload.size_px, workload.size_px, 3),)}
    batching = devices.batching(batch_size)
    before = {CACHED: None, STREAMING: frozen}
    trainers = {way: _Trainer(models[way], fit, shapes[way], batching.size, before[way]) for way in workload.ways}
    seconds = {way: trainer.begin() for way, trainer in trainers.items()}
    return Begun(devices.precision, batching.size, seconds), trainers


class _Trainer:
    """Takes steps, and says how fast.

    Args:
        model: Compiled.
        fit: How it is trained.
        shapes: Of what it takes, without the batch.
        batch_size: Over all devices.
        frozen: What batches go through before the model, or None.
    """

    def __init__(
        self,
        model: "keras.Model",
        fit: FitSettings,
        shapes: Sequence[tuple[int, ...]],
        batch_size: int,
        frozen: "FrozenLayers | None",
    ) -> None:
        from components.classifier.epoch_steps import TrainingSteps  # noqa: PLC0415

        self._steps = TrainingSteps(model, fit.label_smoothing, None, fit.xla, fit.gpu_prefetch_batches, frozen)
        self._shapes = shapes
        self._batch_size = batch_size
        self._step_seconds = 0.0

    def begin(self) -> float:
        """Take the first steps; return the seconds until the first was done, without its own."""
        started = time.monotonic()
        times = self._times(_FIRST_STEPS)
        self._step_seconds = min(after - before for before, after in itertools.pairwise(times))
        return max(times[0] - started - self._step_seconds, 0.0)

    def images_per_second(self, seconds: float) -> float:
        """Train for so long, or a few steps, and say how fast that was without the first."""
        steps = max(_FEWEST_STEPS, round(seconds / max(self._step_seconds, 1e-4)))
        times = self._times(_WARM_STEPS + steps)
        return steps * self._batch_size / (times[-1] - times[_WARM_STEPS - 1])

    def _times(self, steps: int) -> list[float]:
        """Return when each step was done."""
        from components.classifier.epoch_steps import EpochProgress  # noqa: PLC0415
        from components.classifier.learning_rates import PLATEAU, LearningRates  # noqa: PLC0415

        times: list[float] = []
        rates = LearningRates(PLATEAU, 0, steps)
        self._steps.run(self._batches(steps), rates, 0, EpochProgress(1e-5), lambda: times.append(time.monotonic()))
        return times

    def _batches(self, steps: int) -> Any:
        """Return one batch of noise again and again; that its size is always the same is not known, as in training."""
        import numpy as np  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415

        draw = np.random.default_rng(SEED)
        inputs = [draw.random((self._batch_size, *shape), np.float32) for shape in self._shapes]
        labels = draw.integers(0, CLASSES, self._batch_size)

        def of_any_size(*batch: Any) -> Any:
            *arrays, numbers = (tf.compat.v1.placeholder_with_default(one, (None, *one.shape[1:])) for one in batch)
            return arrays[0] if len(arrays) == 1 else tuple(arrays), numbers

        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        batches = tf.data.Dataset.from_tensors((*inputs, labels)).repeat(steps).map(of_any_size)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def fit_settings(settings: DeviceSettings) -> FitSettings:
    """Return how a phase would be fitted."""
    return dataclasses.replace(
        PLAIN_FIT,
        batch_size=settings.batch_size,
        precision=settings.precision,
        xla=settings.xla,
        gpu_memory_growth=settings.memory_growth,
        gpu_prefetch_batches=settings.prefetch_batches,
        seed=SEED,
    )


def compare(
    default: DeviceSettings,
    variants: Sequence[Variant],
    workload: Workload,
    rounds: int,
    at_once: int,
    until: float = math.inf,
) -> tuple[Measured, list[Measured]]:
    """Measure the defaults and all variants by turns, so many processes beside the defaults' at a time.

    Args:
        default: The defaults.
        variants: All else.
        workload: What is trained.
        rounds: How many.
        at_once: Processes beside the defaults'.
        until: By ``time.monotonic``, when nothing new is begun any more.
    """
    defaults = Measured(Variant("", "the defaults", default), "")
    worker = Worker(default, workload)
    defaults.begun = worker.begun()
    if isinstance(defaults.begun, str):
        raise UserError(defaults.begun)
    defaults.speeds = {way: [] for way in workload.ways}
    defaults.defaults = defaults.speeds
    measured = []
    for together in chunks(variants, at_once):
        if time.monotonic() > until:
            measured += [Measured(variant, "not measured: there was no time left") for variant in together]
            continue
        workers = [(Measured(variant, ""), Worker(variant.settings, workload)) for variant in together]
        for one, their_worker in workers:
            one.begun = their_worker.begun()
            _say(one)
        able = [(one, theirs) for one, theirs in workers if not isinstance(one.begun, str)]
        for number in range(rounds):
            if able:
                take_round([(defaults, worker), *able], workload.ways, backwards=bool(number % 2))
            able = [(one, theirs) for one, theirs in able if not isinstance(one.begun, str) and not one.hopeless]
        for one, their_worker in workers:
            one.peaks = their_worker.end()
            measured.append(one)
            if not isinstance(one.begun, str):
                medians = ", ".join(f"{way} {statistics.median(one.ratios(way)):.2f}" for way in one.speeds)
                print(f"{one.variant.setting} {one.value}: {medians}", file=sys.stderr, flush=True)
    defaults.peaks = worker.end()
    return defaults, measured


def chunks(variants: Sequence[Variant], size: int) -> Iterator[list[Variant]]:
    """Yield variants that are measured side by side, at most so many, those by themselves that have to be."""
    together: list[Variant] = []
    for variant in variants:
        if variant.beside_others:
            together.append(variant)
        else:
            yield [variant]
        if len(together) == size:
            yield together
            together = []
    if together:
        yield together


class Measures(Protocol):
    """A ``Worker``, or what stands for one."""

    def measure(self, way: str) -> float | str:
        """Return images a second of a round, or why there is none."""


def take_round(trained: Sequence[tuple[Measured, Measures]], ways: Sequence[str], *, backwards: bool) -> None:
    """Let processes train by turns, the defaults' first in the list; one that cannot go on is left out from then on.

    Raises:
        UserError: When that is the defaults'.
    """
    for way in ways:
        speeds: dict[int, float] = {}
        for number, (one, worker) in sorted(enumerate(trained), reverse=backwards):
            if isinstance(one.begun, str):
                continue
            answer = worker.measure(way)
            if isinstance(answer, float):
                speeds[number] = answer
            elif number:
                one.begun = answer
                _say(one)
            else:
                raise UserError(answer)
        for number, speed in speeds.items():
            one, _ = trained[number]
            one.speeds.setdefault(way, []).append(speed)
            if number:
                one.defaults.setdefault(way, []).append(speeds[0])


def _say(one: Measured) -> None:
    what = one.begun if isinstance(one.begun, str) else f"batch {one.begun.batch_size}, {one.begun.precision}"
    print(f"{one.variant.setting} {one.variant.value}: {what}", file=sys.stderr, flush=True)


def pipeline_defaults() -> dict[str, Any]:
    """Return the defaults of ``pipeline.py`` by name."""
    from components.launch.parameters import pipeline_parameters  # noqa: PLC0415
    from components.launch.placement import Placement  # noqa: PLC0415
    from pipeline import image_classification  # noqa: PLC0415

    here = Placement(
        target="kubeflow",
        accelerator=None,
        gpu_count=0,
        spot=False,
        evaluate_on_gpu=False,
        node_selector={},
        image_registry="",
        image_tag="",
    )
    parameters = pipeline_parameters(image_classification(here))
    return {name: parameter.default for name, parameter in parameters.items()}


def devices_here() -> tuple[list[str], str, str, str]:
    """Return the GPUs' names, the precision that ``auto`` is on them, what it is on the CPU, and versions in words."""
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    from components.classifier.devices import precision_for  # noqa: PLC0415

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    names = [str(detail.get("device_name", "GPU")) for detail in details]
    capabilities = [detail.get("compute_capability", (0, 0)) for detail in details]
    build = tf.sysconfig.get_build_info()
    versions = [f"TensorFlow {tf.__version__}", f"Keras {keras.__version__}"]
    if names:
        versions += [f"built for CUDA {build.get('cuda_version')} and cuDNN {build.get('cudnn_version')}", *_drivers()]
    return names, precision_for(capabilities), precision_for([]), ", ".join(versions)


def _drivers() -> list[str]:
    """Return the drivers of the GPUs, in words, where nvidia-smi is there to be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(asked, check=False, capture_output=True, text=True)
    return [f"driver {version}" for version in sorted(set(said.stdout.split()))] if said.returncode == 0 else []


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device_settings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backbone", default="inception_v3", help="or efficientnet_lite0 (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="pixels that the model takes (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="steps to measure (default: both)")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="settings to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each process in a round (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="three rounds of half a second, and fewer values")
    parser.add_argument(
        "--minutes",
        type=float,
        help="begin nothing new after so long (default: no limit, and 5 with --quick on a GPU)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cpu", action="store_true", help="measure the CPU, although there is a GPU")
    where.add_argument("--two-cpus", action="store_true", help="measure the CPU as if it were two devices")
    parser.add_argument(
        "--at-once",
        type=int,
        default=max(1, processors() // 4),
        help="processes that are kept ready beside the defaults' (default: %(default)s)",
    )
    options = parser.parse_args()
    rounds, seconds = (3, 0.5) if options.quick else (options.rounds, options.seconds)
    started = time.monotonic()
    names, of_gpus, of_cpu, versions = _alone(devices_here)
    on_gpu = bool(names) and not (options.cpu or options.two_cpus)
    of_pipeline = pipeline_defaults()
    default = DeviceSettings(
        of_pipeline["precision"],
        of_pipeline["xla"],
        of_pipeline["gpu_memory_growth"],
        of_pipeline["gpu_prefetch_batches"],
        of_pipeline["fine_tune_batch_size"],
        2 if options.two_cpus else 1,
    )
    precision = of_gpus if on_gpu else of_cpu
    variants = variants_of(default, precision, len(names), on_gpu=on_gpu)
    if options.quick:
        variants = in_a_hurry(variants, on_gpu=on_gpu)
    if options.only:
        variants = [one for one in variants if one.setting.startswith(tuple(options.only))]
    workload = Workload(
        options.backbone,
        options.size,
        of_pipeline["unfrozen_layers"],
        tuple(options.ways),
        seconds,
        len(names) if on_gpu else 0,
    )
    minutes = options.minutes or (5.0 if options.quick and on_gpu else math.inf)
    try:
        defaults, measured = compare(default, variants, workload, rounds, options.at_once, started + 60.0 * minutes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    values = {
        "precision": f"{default.precision} ({precision})",
        "xla": _word(default.xla),
        "batch size": str(default.batch_size),
    }
    if on_gpu or options.two_cpus:
        values["prefetch"] = str(default.prefetch_batches)
    if options.two_cpus:
        values["devices"] = "two virtual CPUs"
    if on_gpu:
        values["memory growth"] = _word(default.memory_growth)
        values["devices"] = "one GPU"
    _report(defaults, measured, workload, values, names if on_gpu else [], versions)
    print(f"\n{rounds} rounds of {seconds:g} s each, {time.monotonic() - started:.0f} s in all")
    return 0


def _report(
    defaults: Measured,
    measured: Sequence[Measured],
    workload: Workload,
    values: Mapping[str, str],
    gpus: Sequence[str],
    versions: str,
) -> None:
    where = f"{', '.join(gpus) or 'CPU'}, {processors()} processors, {versions}"
    print(
        f"{workload.backbone} with random weights, {workload.size_px} px, the last {workload.unfrozen_layers} layers "
        f"learn; {where}"
    )
    print(f"defaults: {', '.join(f'{name} {value}' for name, value in values.items())}\n")
    print(table(defaults, measured, workload.ways))
    print()
    for setting, value in values.items():
        of_setting = [one for one in measured if one.variant.setting == setting]
        if of_setting:
            print(f"- {supported(of_setting, value)}")
    if set(workload.ways) == set(WAYS):
        cached, streaming = (statistics.median(defaults.speeds[way]) for way in WAYS)
        print(f"- training mode: a cached step has {cached / streaming:.1f} times as many images a second")
    for sentence in not_measured(on_gpu=bool(gpus), gpus=len(gpus), ahead="prefetch" in values):
        print(f"- {sentence}")


def _alone(work: Any) -> Any:
    """Return what work returns in a process of its own, which takes no GPU memory from others for longer."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work)


if __name__ == "__main__":
    sys.exit(main())
