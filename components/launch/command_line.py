"""The command line of ``pipeline.py``: compile, run here, check, submit, list parameters."""

import argparse
import datetime
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent

from components import __version__, storage
from components.classifier.weights_source import check_weights_file
from components.command_lines import WRONG_PATH
from components.failures import TransientError, UserError
from components.formats.evaluation import read_evaluation
from components.images import NO_IMAGE, SHORT_NAMES
from components.launch.accelerators import ACCELERATORS, find_accelerator
from components.launch.cluster_reach import (
    choose_checkpoints,
    require_lasting_checkpoints,
    require_lasting_registry,
    require_readable_earlier_runs,
    require_readable_source,
    require_readable_weights,
    unused_volume,
)
from components.launch.compilation import compile_components, compile_pipeline
from components.launch.containment import Terminated, contained_steps
from components.launch.docker_runner import image_name
from components.launch.kubeflow_submission import submit_to_kubeflow
from components.launch.labels import read_labels, read_node_selector
from components.launch.local_run import PLACES, STEPS_FOLDER, WRITTEN_PLACES, RunResult, StepFailedError, run_locally
from components.launch.option_uses import require_used
from components.launch.optional_parameters import left_out_parameters
from components.launch.parameters import (
    Parameter,
    pipeline_parameters,
    read_assignments,
    read_run_file,
    require_values,
    with_defaults,
)
from components.launch.placement import WEIGHTS_FOLDER, EmbeddingAudit, Placement, Target
from components.launch.preflight import (
    WEIGHTS_IN_WORDS,
    check_earlier_findings,
    check_floor_classes,
    check_places,
    check_values,
)
from components.launch.submission import Destination, require_options
from components.launch.vertex_submission import submit_to_vertex
from components.publishing import remove_half_written

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
    parser = command_line_parser()
    options = parser.parse_args(arguments)
    try:
        require_used(_given(parser, options, arguments), options)
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
    except OSError as error:
        if error.errno not in WRONG_PATH or error.filename is None:
            raise
        print(f"\nerror: {error.filename}: {error.strerror}; give another path, or change this one", file=sys.stderr)
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt as stopped:
        print("\nstopped; what steps had finished stays, nothing is half-written", file=sys.stderr)
        sys.exit(143 if isinstance(stopped, Terminated) else 130)


def _given(
    parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str] | None
) -> Iterable[str]:
    """Return the options that the user gave, be it with the value they have anyway."""
    # A parser leaves alone what a namespace already has, so here nothing gets its default.
    without_defaults = parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(vars(options))))
    return [name for name, value in vars(without_defaults).items() if value is not None]


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

    values = parser.add_argument_group("parameters of the run (--run, --submit, --doctor)")
    values.add_argument("--source", help="gs://bucket/Photos.zip, gs://bucket/folder/, or a local ZIP or folder")
    values.add_argument("--registry", help="gs:// or local folder models are registered in")
    values.add_argument("--config", type=Path, metavar="FILE.yaml", help="run file with one 'name: value' per line")
    values.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, over the run file; repeatable"
    )

    placement = parser.add_argument_group(
        "images, also for --components, and places of the steps (--compile, --submit, --doctor)"
    )
    parser.add_argument_group("optional steps (--run, --compile, --submit, --doctor)").add_argument(
        "--embedding-audit", nargs="?", const="cpu", default="", choices=["cpu", "gpu"],
        help="let a pretrained network look for wrong labels, images that show the same and outliers after the audit; "
        "with gpu on the GPU of the training steps",
    )  # fmt: skip
    placement.add_argument(
        "--target",
        choices=["kubeflow", "vertex"],
        default="kubeflow",
        help="of --compile and --doctor; default: kubeflow",
    )
    placement.add_argument(
        "--gpu", metavar="NAME", default="nvidia-l4",
        help=f"GPU of the training steps: {', '.join(ACCELERATORS)}, or none; default: nvidia-l4",
    )  # fmt: skip
    placement.add_argument("--gpu-count", type=int, metavar="N", help="GPUs on one node; default: 1")
    placement.add_argument(
        "--spot", action="store_true",
        help="GPU steps may be preempted: on GKE's spot nodes, or those of --node-selector, with retries (Kubernetes)",
    )  # fmt: skip
    placement.add_argument("--evaluate-on-gpu", action="store_true", help="give evaluation a GPU too")
    placement.add_argument(
        "--node-selector", action="append", default=[], metavar="LABEL=VALUE",
        help="label of the nodes for GPU steps instead of GKE's own, those of --gpu and --spot; for example "
        "nvidia.com/gpu.product=NVIDIA-L4; repeatable (Kubernetes)",
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
    parser.add_argument_group("--compile, --components, --run").add_argument(
        "--output", type=Path, help="compile: YAML file; components, run: folder"
    )
    submission = parser.add_argument_group("where a run goes (--submit, --doctor)")
    submission.add_argument("--host", help="kubeflow: URL of the Kubeflow Pipelines API")
    submission.add_argument("--namespace", default="kubeflow", help="kubeflow: namespace of the run; default: kubeflow")
    submission.add_argument("--project", help="vertex: Google Cloud project")
    submission.add_argument("--region", help="vertex: region, for example europe-west4")
    submission.add_argument(
        "--api-endpoint", metavar="HOST[:PORT]",
        help="vertex: API endpoint instead of REGION-aiplatform.googleapis.com, for private endpoints",
    )  # fmt: skip
    submission.add_argument(
        "--pipeline-root",
        metavar="URI",
        help="where artifacts go: gs://bucket/path, on Kubeflow also s3:// or minio://; required for vertex",
    )
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
    gpu_count = 1 if options.gpu_count is None else options.gpu_count
    if options.gpu == "none" and options.gpu_count is not None:
        raise UserError("--gpu none trains on CPU: leave out --gpu-count, or name a --gpu")
    accelerator = None if options.gpu == "none" else find_accelerator(options.gpu, gpu_count)
    return Placement(
        target=target,
        accelerator=accelerator,
        gpu_count=gpu_count,
        spot=options.spot,
        evaluate_on_gpu=options.evaluate_on_gpu,
        node_selector=read_node_selector(options.node_selector),
        image_registry=options.image_registry,
        image_tag=options.image_tag,
        weights_claim=options.weights_claim,
        image_digests=_image_digests(options.image_digest),
        pod_labels=read_labels(options.label, target) if target == "kubeflow" else {},
        embedding_audit=options.embedding_audit,
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


def _on_this_machine(embedding_audit: EmbeddingAudit, image_names: Mapping[str, str] | None = None) -> Placement:
    return Placement(
        target="vertex",  # its settings need nothing of Kubernetes, and kfp.local ignores them
        accelerator=None,
        gpu_count=0,
        spot=False,
        evaluate_on_gpu=False,
        node_selector={},
        image_registry="",
        image_tag="",
        image_names=image_names or {},
        embedding_audit=embedding_audit,
    )


def _values(options: argparse.Namespace, pipeline: Any, parameters: dict[str, Parameter]) -> dict[str, Any]:
    left_out = left_out_parameters(pipeline.pipeline_func)
    values = read_run_file(options.config, parameters, left_out) if options.config else {}
    values |= read_assignments(options.set, parameters, left_out)
    if options.source:
        values["source"] = options.source
    if options.registry:
        values["registry_uri"] = options.registry
    return values


def _compile(build: PipelineBuilder, options: argparse.Namespace) -> None:
    output = options.output or Path("build") / f"image-classification-{options.target}.yaml"
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output {output} must end in .yaml")
    try:
        compile_pipeline(build(_placement(options, options.target)), output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; give --output another path") from error
    print(f"compiled for {options.target}: {output}")
    if options.spot:
        print("preempted steps go on where they were if the run is given checkpoint_uri=gs://bucket/checkpoints")
    if options.weights_claim:
        print(f"training reads the volume {options.weights_claim} if the run is given weights={WEIGHTS_FOLDER}/FILE")


def _compile_components(components: Sequence[BaseComponent], options: argparse.Namespace) -> None:
    directory = options.output or Path("build") / "components"
    try:
        files = compile_components(components, _placement(options, options.target), directory)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}; give --output another folder") from error
    print("\n".join(str(file) for file in files))


def _run(build: PipelineBuilder, options: argparse.Namespace) -> None:
    names = {image: image_name(image) if options.run == "docker" else NO_IMAGE for image in SHORT_NAMES.values()}
    pipeline = build(_on_this_machine(options.embedding_audit, names))
    parameters = pipeline_parameters(pipeline)
    values = _values(options, pipeline, parameters)
    now = datetime.datetime.now(tz=datetime.UTC)
    directory = options.output or Path("runs") / now.strftime("%Y-%m-%d-%H%M%S")
    storage.require_sound_path("--output", str(directory))
    storage.require_no_broken_link("--output", str(directory))
    directory = Path(os.path.realpath(directory))
    _require_new(directory)
    values.setdefault("registry_uri", str(directory / "registry"))
    require_values(values, parameters)
    for name in PLACES:
        # Steps do not run in the user's folder, in docker above all.
        value = values.get(name, "")
        if value and "://" not in value and (name != "weights" or value not in WEIGHTS_IN_WORDS):
            storage.require_sound_path(name, value)
            if name in WRITTEN_PLACES:
                storage.require_no_broken_link(name, value)
            values[name] = os.path.realpath(value)  # resolve() raises where links lead back to themselves
    complete = with_defaults(values, parameters)
    check_values(complete)
    check_floor_classes(complete)
    check_places(complete, directory / STEPS_FOLDER, in_containers=options.run == "docker")
    print(f"Running {values['source']}\nEverything of this run goes to {_shown(str(directory))}")
    try:
        with contained_steps():
            result = run_locally(pipeline, values, options.run, directory, options.docker_network)
    finally:
        # A step that was killed could not clean up behind itself, and no other attempt goes on in its folder.
        remove_half_written(directory / STEPS_FOLDER)
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

    placement = _placement(options, options.submit)
    pipeline = build(placement)
    parameters = pipeline_parameters(pipeline)
    values = _values(options, pipeline, parameters)
    require_values(values, parameters)
    complete = with_defaults(values, parameters)
    require_readable_source(complete["source"])
    require_lasting_registry(complete["registry_uri"])
    require_lasting_checkpoints(complete["checkpoint_uri"])
    require_readable_weights(complete["weights"], options.weights_claim)
    require_readable_earlier_runs(complete)
    check_values(complete, placement.training_gpus)
    check_earlier_findings(complete["earlier_findings"])
    check_floor_classes(complete)
    destination = _destination(options, options.submit)
    require_options(options.submit, destination)
    if storage.is_remote(complete["weights"]):
        check_weights_file(complete["weights"])
    _say_what_is_unused(complete["weights"], options.weights_claim)
    _choose_checkpoints(values, options)
    now = datetime.datetime.now(tz=datetime.UTC)
    run_name = options.run_name or f"{pipeline.name}-{now.strftime('%Y%m%d-%H%M%S')}"
    if "source_fingerprint" not in values:
        # The cache of Kubeflow and Vertex AI knows parameters, not what a bucket holds: pin what it holds now.
        values["source_fingerprint"] = fingerprint_source(values["source"])
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "pipeline.yaml"
        compile_pipeline(pipeline, package)
        submit = submit_to_vertex if options.submit == "vertex" else submit_to_kubeflow
        print(f"submitted: {submit(package, run_name, values, destination)}")


def _choose_checkpoints(values: dict[str, Any], options: argparse.Namespace) -> None:
    place = choose_checkpoints(
        values.get("checkpoint_uri", ""),
        spot=options.spot,
        pipeline_root=options.pipeline_root,
        registry_uri=values["registry_uri"],
    )
    if place.chosen:
        values["checkpoint_uri"] = place.uri
        caution = f"; {place.caution}" if place.caution else ""
        print(f"checkpoints go to {place.uri}, from where preempted steps go on{caution}")


def _say_what_is_unused(weights: str, weights_claim: str) -> None:
    if warning := unused_volume(weights, weights_claim):
        print(f"warning: {warning}", file=sys.stderr)


def _examine(build: PipelineBuilder, options: argparse.Namespace) -> int:
    from components.launch.doctor import examine, print_and_judge  # noqa: PLC0415 - needs a cloud client

    placement = _placement(options, options.target)
    pipeline = build(placement)
    parameters = pipeline_parameters(pipeline)
    values = with_defaults(_values(options, pipeline, parameters), parameters)
    return print_and_judge(examine(options.target, placement, values, _destination(options, options.target)))


def _print_parameters(build: PipelineBuilder) -> None:
    print(parameter_table(build))


def parameter_table(build: PipelineBuilder) -> str:
    """Return every parameter of the pipeline with all its steps as a Markdown table: name, default, meaning."""
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    optional = left_out_parameters(build(_on_this_machine("")).pipeline_func)
    for parameter in pipeline_parameters(build(_on_this_machine("cpu"))).values():
        if parameter.default is None:
            default = "required"
        elif parameter.kind is dict and parameter.default:
            default = "see `pipeline.py`"
        else:
            default = f"`{json.dumps(parameter.default)}`"
        meaning = parameter.description.replace("|", "\\|")
        if parameter.name in optional:
            meaning = f"With `--embedding-audit`: {meaning[0].lower()}{meaning[1:]}"
        lines.append(f"| `{parameter.name}` | {default} | {meaning} |")
    return "\n".join(lines)
