"""The command line of ``pipeline.py``: compile, run here, check, submit, list parameters."""

import argparse
import datetime
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from components import __version__
from components.failures import TransientError, UserError
from components.formats.evaluation import read_evaluation
from components.images import SHORT_NAMES
from components.launch.accelerators import ACCELERATORS, find_accelerator
from components.launch.compilation import compile_components, compile_pipeline
from components.launch.containment import Terminated, contained_steps
from components.launch.kubeflow_submission import submit_to_kubeflow
from components.launch.labels import read_labels
from components.launch.local_run import RunResult, StepFailedError, run_locally
from components.launch.parameters import (
    Parameter,
    pipeline_parameters,
    read_assignments,
    read_run_file,
    require_values,
    with_defaults,
)
from components.launch.placement import WEIGHTS_FOLDER, Placement, Target
from components.launch.preflight import WEIGHTS_IN_WORDS, check_places, check_values
from components.launch.submission import Destination, require_options
from components.launch.vertex_submission import submit_to_vertex

PipelineBuilder = Callable[[Placement], Any]


def main(
    build: PipelineBuilder, arguments: Sequence[str] | None = None, *, components: Sequence[BaseComponent] = ()
) -> None:
    """Do what the command line asks for, and exit.

    Args:
        build: Returns the pipeline for a placement.
        components: The pipeline's components, which ``--components`` writes one by one.
        arguments: Words of the command line; ``sys.argv`` when None.

    Raises:
        SystemExit: 0 done, 2 wrong data or settings, 75 try again later, 130 or 143 stopped by SIGINT or SIGTERM, 1 a
            defect.
    """
    options = command_line_parser().parse_args(arguments)
    try:
        if options.compile:
            _compile(build, options)
        elif options.components:
            _compile_components(components, options)
        elif options.run:
            _run(build, options)
        elif options.submit:
            _submit(build, options)
        elif options.doctor:
            sys.exit(_examine(build, options))
        else:
            _print_parameters(build)
    except (UserError, TransientError, StepFailedError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stopped:
        print("\nstopped; what steps had finished stays, nothing is half-written", file=sys.stderr)
        sys.exit(143 if isinstance(stopped, Terminated) else 130)


def command_line_parser() -> argparse.ArgumentParser:
    """Return the parser of ``pipeline.py``'s command line."""
    parser = argparse.ArgumentParser(
        prog="pipeline.py",
        description="Image classification from photos to a registered model: compile, run on this machine, or submit.",
        epilog="examples:\n"
        "  python pipeline.py --compile --target vertex --gpu nvidia-l4 --output build/vertex.yaml\n"
        "  python pipeline.py --run local --source photos.zip --config manifests/runs/demo.yaml\n"
        "  python pipeline.py --doctor --host http://localhost:8080 --source gs://bucket/Animals.zip "
        "--registry gs://bucket/models\n"
        "  python pipeline.py --submit kubeflow --host http://localhost:8080 --source gs://bucket/Animals.zip "
        "--registry gs://bucket/models",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    action = parser.add_argument_group("what to do (one of)").add_mutually_exclusive_group(required=True)
    action.add_argument("--compile", action="store_true", help="write the pipeline spec as YAML")
    action.add_argument("--components", action="store_true", help="write each component as YAML of its own")
    action.add_argument("--run", choices=["local", "docker"], help="run all steps here, in processes or containers")
    action.add_argument("--submit", choices=["kubeflow", "vertex"], help="start a run on a cluster or on Vertex AI")
    action.add_argument(
        "--doctor", action="store_true", help="check all that a run on --target needs; give it the options of --submit"
    )
    action.add_argument("--parameters", action="store_true", help="list every parameter as a Markdown table")

    values = parser.add_argument_group("parameters of the run")
    values.add_argument("--source", help="gs://bucket/Photos.zip, gs://bucket/folder/, or a local ZIP or folder")
    values.add_argument("--registry", help="gs:// or local folder models are registered in")
    values.add_argument("--config", type=Path, metavar="FILE.yaml", help="run file with one 'name: value' per line")
    values.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, over the run file; repeatable"
    )

    placement = parser.add_argument_group("compile and submit")
    placement.add_argument("--target", choices=["kubeflow", "vertex"], default="kubeflow", help="default: kubeflow")
    placement.add_argument(
        "--gpu", metavar="NAME", default="nvidia-l4",
        help=f"GPU of the training steps: {', '.join(ACCELERATORS)}, or none; default: nvidia-l4",
    )  # fmt: skip
    placement.add_argument("--gpu-count", type=int, default=1, metavar="N", help="GPUs on one node; default: 1")
    placement.add_argument("--spot", action="store_true", help="GPU steps on spot nodes, with retries (Kubernetes)")
    placement.add_argument("--evaluate-on-gpu", action="store_true", help="give evaluation a GPU too")
    placement.add_argument(
        "--node-selector", metavar="LABEL=VALUE",
        help="node label for GPU steps instead of GKE's, for example nvidia.com/gpu.product=NVIDIA-L4",
    )  # fmt: skip
    placement.add_argument(
        "--weights-claim", default="", metavar="NAME",
        help=f"PersistentVolumeClaim of weights, for training: --set weights={WEIGHTS_FOLDER}/file.h5 (Kubernetes)",
    )  # fmt: skip
    placement.add_argument(
        "--image-registry", default="", metavar="HOST/PATH",
        help="where the images are pulled from, for example europe-docker.pkg.dev/my-project/images",
    )  # fmt: skip
    placement.add_argument("--image-tag", default="", metavar="TAG", help="tag of the images; default: the version")
    placement.add_argument(
        "--image-digest", action="append", default=[], metavar="NAME=sha256:...",
        help="pin the data or training image to its bytes, as make push prints; repeatable",
    )  # fmt: skip
    placement.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE",
        help="label of the run on Vertex AI, of its pods on Kubernetes, for example team=vision; repeatable",
    )  # fmt: skip
    placement.add_argument("--output", type=Path, help="compile: YAML file; components, run: folder")

    submission = parser.add_argument_group("submit")
    submission.add_argument("--host", help="kubeflow: URL of the Kubeflow Pipelines API")
    submission.add_argument("--namespace", default="kubeflow", help="kubeflow: namespace of the run; default: kubeflow")
    submission.add_argument("--project", help="vertex: Google Cloud project")
    submission.add_argument("--region", help="vertex: region, for example europe-west4")
    submission.add_argument(
        "--api-endpoint", metavar="HOST[:PORT]",
        help="vertex: API endpoint instead of REGION-aiplatform.googleapis.com, for private endpoints",
    )  # fmt: skip
    submission.add_argument("--pipeline-root", metavar="GS_URI", help="where artifacts go; required for vertex")
    submission.add_argument("--service-account", help="identity the steps run as")
    submission.add_argument("--experiment", help="experiment the run is filed under")
    submission.add_argument("--run-name", help="name of the run; default: the pipeline's name and the time")
    submission.add_argument(
        "--caching", action=argparse.BooleanOptionalAction, default=True,
        help="reuse outputs of steps whose inputs have not changed; default: on",
    )  # fmt: skip
    submission.add_argument(
        "--retries", type=int, default=3, metavar="N",
        help="how often to submit again when the service is busy or does not answer; default: 3",
    )  # fmt: skip
    parser.add_argument_group("run docker").add_argument(
        "--docker-network", choices=["none", "bridge", "host"], default="bridge", help="default: bridge"
    )
    return parser


def _placement(options: argparse.Namespace, target: Target) -> Placement:
    accelerator = None if options.gpu == "none" else find_accelerator(options.gpu, options.gpu_count)
    selector = None
    if options.node_selector:
        label, equals, value = options.node_selector.partition("=")
        if not (label and equals and value):
            raise UserError(f"--node-selector takes LABEL=VALUE, not '{options.node_selector}'")
        selector = (label, value)
    return Placement(
        target=target,
        accelerator=accelerator,
        gpu_count=options.gpu_count,
        spot=options.spot,
        evaluate_on_gpu=options.evaluate_on_gpu,
        node_selector=selector,
        image_registry=options.image_registry,
        image_tag=options.image_tag,
        weights_claim=options.weights_claim,
        image_digests=_image_digests(options.image_digest),
        pod_labels=read_labels(options.label, target) if target == "kubeflow" else {},
    )


def _image_digests(assignments: Sequence[str]) -> dict[str, str]:
    digests: dict[str, str] = {}
    for assignment in assignments:
        name, _, digest = assignment.partition("=")
        if name not in SHORT_NAMES or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise UserError(
                f"--image-digest {assignment}: give {' or '.join(SHORT_NAMES)}, =, and sha256: with 64 hex digits, as "
                "make push prints them"
            )
        digests[SHORT_NAMES[name]] = digest
    return digests


def _on_this_machine() -> Placement:
    return Placement(
        target="vertex",  # its settings need nothing of Kubernetes, and kfp.local ignores them
        accelerator=None,
        gpu_count=0,
        spot=False,
        evaluate_on_gpu=False,
        node_selector=None,
        image_registry="",
        image_tag="",
    )


def _values(options: argparse.Namespace, parameters: dict[str, Parameter]) -> dict[str, Any]:
    values = read_run_file(options.config, parameters) if options.config else {}
    values |= read_assignments(options.set, parameters)
    if options.source:
        values["source"] = options.source
    if options.registry:
        values["registry_uri"] = options.registry
    return values


def _compile(build: PipelineBuilder, options: argparse.Namespace) -> None:
    output = options.output or Path("build") / f"image-classification-{options.target}.yaml"
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output {output} must end in .yaml")
    if options.source or options.registry or options.config or options.set:
        raise UserError(
            "--source, --registry, --config and --set are values of a run: leave them out of --compile, and give them "
            "when the run starts"
        )
    if options.label and options.target == "vertex":
        raise UserError("Vertex AI labels runs, not pipelines: leave --label out of --compile, and give it to --submit")
    try:
        compile_pipeline(build(_placement(options, options.target)), output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; give --output another path") from error
    print(f"compiled for {options.target}: {output}")


def _compile_components(components: Sequence[BaseComponent], options: argparse.Namespace) -> None:
    directory = options.output or Path("build") / "components"
    try:
        files = compile_components(components, _placement(options, options.target), directory)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}; give --output another folder") from error
    print("\n".join(str(file) for file in files))


def _run(build: PipelineBuilder, options: argparse.Namespace) -> None:
    pipeline = build(_on_this_machine())
    parameters = pipeline_parameters(pipeline)
    values = _values(options, parameters)
    now = datetime.datetime.now(tz=datetime.UTC)
    directory = (options.output or Path("runs") / now.strftime("%Y-%m-%d-%H%M%S")).resolve()
    _require_new(directory)
    values.setdefault("registry_uri", str(directory / "registry"))
    require_values(values, parameters)
    for name in ("source", "registry_uri", "weights", "checkpoint_uri"):
        # Steps do not run in the user's folder, in docker above all.
        value = values.get(name, "")
        if value and "://" not in value and (name != "weights" or value not in WEIGHTS_IN_WORDS):
            values[name] = str(Path(value).resolve())
    complete = with_defaults(values, parameters)
    check_values(complete)
    if options.run == "local":
        check_places(complete)
    print(f"Running {values['source']}\nEverything of this run goes to {_shown(str(directory))}")
    with contained_steps():
        result = run_locally(pipeline, values, options.run, directory, options.docker_network)
    _print_result(result)


def _require_new(directory: Path) -> None:
    existing = next(folder for folder in (directory, *directory.parents) if folder.exists())
    if not existing.is_dir():
        raise UserError(f"{existing} is a file; give --output a new folder")
    if not os.access(existing, os.W_OK):
        raise UserError(f"no permission to write in {existing}; give --output a folder of yours")
    if existing == directory and any(directory.iterdir()):
        raise UserError(f"{directory} is not empty; give --output a new folder")


def _print_result(result: RunResult) -> None:
    (folder,) = result.directory.glob("steps/*/evaluate/evaluation")
    evaluation = read_evaluation(folder)
    print(
        f"\nTest accuracy    {result.test_accuracy:.3f}: {evaluation.correct_images} of {evaluation.test_images} right;"
        f" always saying '{evaluation.majority_class}' gets {evaluation.majority_baseline:.3f}"
    )
    print(f"Registered       {_shown(result.registered_version)}")
    print(f"Time             {result.seconds:.0f} s")
    print("Reports")
    for report in result.reports:
        print(f"  {_shown(str(report))}")


def _shown(location: str) -> str:
    """Return a local path as short as it can be from here, and a URI as it is."""
    if "://" in location or not Path(location).is_relative_to(Path.cwd()):
        return location
    return str(Path(location).relative_to(Path.cwd()))


def _destination(options: argparse.Namespace, target: Target) -> Destination:
    return Destination(
        host=options.host,
        namespace=options.namespace,
        project=options.project,
        region=options.region,
        api_endpoint=options.api_endpoint,
        pipeline_root=options.pipeline_root,
        service_account=options.service_account,
        experiment=options.experiment,
        labels=read_labels(options.label, target),
        caching=options.caching,
        retries=options.retries,
    )


def _submit(build: PipelineBuilder, options: argparse.Namespace) -> None:
    from components.ingest.source import fingerprint_source  # noqa: PLC0415 - needs a cloud client

    pipeline = build(_placement(options, options.submit))
    parameters = pipeline_parameters(pipeline)
    values = _values(options, parameters)
    require_values(values, parameters)
    if not values["source"].startswith("gs://"):
        raise UserError(f"a cluster cannot read {values['source']}; upload it and give --source gs://bucket/Photos.zip")
    if not values["registry_uri"].startswith("gs://"):
        raise UserError(
            f"a model registered in {values['registry_uri']} would be lost with its pod; give --registry gs://bucket/models"
        )
    check_values(with_defaults(values, parameters))
    _require_reachable_weights(values.get("weights", WEIGHTS_IN_WORDS[0]))
    _choose_checkpoints(values, options)
    now = datetime.datetime.now(tz=datetime.UTC)
    run_name = options.run_name or f"{pipeline.name}-{now.strftime('%Y%m%d-%H%M%S')}"
    destination = _destination(options, options.submit)
    require_options(options.submit, destination)
    if "source_fingerprint" not in values:
        # The cache of Kubeflow and Vertex AI knows parameters, not what a bucket holds: pin what it holds now.
        values["source_fingerprint"] = fingerprint_source(values["source"])
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "pipeline.yaml"
        compile_pipeline(pipeline, package)
        submit = submit_to_vertex if options.submit == "vertex" else submit_to_kubeflow
        print(f"submitted: {submit(package, run_name, values, destination)}")


def _choose_checkpoints(values: dict[str, Any], options: argparse.Namespace) -> None:
    """On spot nodes a step goes on where it was preempted, so it needs a place to keep its state."""
    checkpoints = values.get("checkpoint_uri", "")
    if checkpoints and not checkpoints.startswith("gs://"):
        raise UserError(
            f"checkpoints in {checkpoints} would be lost with their pod; give --set checkpoint_uri=gs://bucket/checkpoints"
        )
    if options.spot and not checkpoints:
        root = options.pipeline_root or ""
        place = root if root.startswith("gs://") else values["registry_uri"]
        values["checkpoint_uri"] = f"gs://{place.removeprefix('gs://').partition('/')[0]}/checkpoints"
        print(f"checkpoints go to {values['checkpoint_uri']}, from where preempted steps go on")


def _examine(build: PipelineBuilder, options: argparse.Namespace) -> int:
    from components.launch.doctor import examine, print_and_judge  # noqa: PLC0415 - needs a cloud client

    placement = _placement(options, options.target)
    parameters = pipeline_parameters(build(placement))
    values = with_defaults(_values(options, parameters), parameters)
    return print_and_judge(examine(options.target, placement, values, _destination(options, options.target)))


def _require_reachable_weights(weights: str) -> None:
    # An absolute path may be one inside an image of one's own.
    if weights in WEIGHTS_IN_WORDS or "://" in weights or (Path(weights).is_absolute() and not Path(weights).exists()):
        return
    raise UserError(f"a cluster cannot read {weights}; upload it and give --set weights=gs://bucket/weights")


def _print_parameters(build: PipelineBuilder) -> None:
    print(parameter_table(build))


def parameter_table(build: PipelineBuilder) -> str:
    """Return every parameter of the pipeline as a Markdown table: name, default, meaning."""
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    for parameter in pipeline_parameters(build(_on_this_machine())).values():
        if parameter.default is None:
            default = "required"
        elif parameter.kind is dict and parameter.default:
            default = "see `pipeline.py`"
        else:
            default = f"`{json.dumps(parameter.default)}`"
        meaning = parameter.description.replace("|", "\\|")
        lines.append(f"| `{parameter.name}` | {default} | {meaning} |")
    return "\n".join(lines)
