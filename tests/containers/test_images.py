"""What the images are, seen from outside and from inside a container as strict as a cluster's."""

import hashlib
import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local

from components import __version__, images
from components.launch.docker_runner import docker_runner
from tests.containers.conftest import docker
from tests.launch.image_registry_server import PROGRAM, registry_server

HANDED_DOWN = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "BASE_IMAGE", "VARIANT", "WEIGHTS", "WEIGHTS_SHA256"}
BOTH = pytest.mark.parametrize("image", [images.DATA, images.TRAINING])
ROOT = Path(__file__).parents[2]
WEIGHTS = "samples/efficientnet_lite0/imagenet_float16.npz"  # make test-docker puts them into the training image
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def configuration(image: str) -> dict[str, Any]:
    return json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image).stdout)


def run_in(image: str, *command: str) -> str:
    strict = ("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    result = docker("run", *strict, image, *command)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@BOTH
def test_it_says_its_version(image: str) -> None:
    assert run_in(image, "python3", "-m", "components", "--version") == __version__


@BOTH
def test_its_user_is_a_number_and_not_root(image: str) -> None:
    assert configuration(image)["User"] == "65532:65532"
    assert run_in(image, "id", "-u") == "65532"


@BOTH
def test_its_labels_say_what_it_is(image: str) -> None:
    prefix = "org.opencontainers.image."
    labels = {
        name.removeprefix(prefix): value
        for name, value in configuration(image)["Labels"].items()
        if name.startswith(prefix)
    }
    assert labels["title"] == image.partition(":")[0]
    assert labels["version"] == __version__
    assert labels["licenses"] == PROJECT["license"]
    assert set(labels) == {"title", "description", "version", "revision", "source", "licenses"}


@pytest.mark.parametrize(("image", "expected"), [(images.DATA, []), (images.TRAINING, ["keras", "tensorflow"])])
def test_tensorflow_is_in_the_training_image_alone(image: str, expected: list[str]) -> None:
    program = "import importlib.util; print([n for n in ('keras', 'tensorflow') if importlib.util.find_spec(n)])"
    assert run_in(image, "python3", "-c", program) == str(expected)


@BOTH
def test_its_packages_agree_with_each_other(image: str) -> None:
    # Only kfp is there without its dependencies: its executor needs none.
    result = docker("run", "--rm", "--network", "none", image, "pip", "check")
    assert [line for line in result.stdout.splitlines() if not line.startswith(("kfp ", "No broken"))] == []


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def look_around(folder: str) -> dict:
    """Report what a step could do in its container."""
    import os
    import socket
    from pathlib import Path

    def can_write(place: str) -> bool:
        try:
            Path(place, "probe").write_text("probe", encoding="utf-8")
        except OSError:
            return False
        return True

    def can_reach(host: str) -> bool:
        try:
            socket.create_connection((host, 443), timeout=2).close()
        except OSError:
            return False
        return True

    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "user": os.getuid(),
        "capabilities": int(status["CapEff"], 16),
        "no_new_privileges": status["NoNewPrivs"],
        "writable": [
            place
            for place in ("/", "/opt/suite", "/etc", "/home", "/tmp", os.environ["HOME"], folder)
            if can_write(place)
        ],
        "network": [interface for _, interface in socket.if_nameindex()],
        "reachable": can_reach("1.1.1.1"),
    }


def test_a_steps_container_can_do_nothing_but_its_step(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o777)

    @dsl.pipeline(name="look-around")
    def pipeline(folder: str) -> dict:
        return look_around(folder=folder).output

    runner = docker_runner(tmp_path / "steps", [], [given], "none", {})
    local.init(runner, pipeline_root=str(tmp_path / "steps"), workspace_root=str(tmp_path / "workspace"))
    seen = pipeline(folder=str(given)).output
    assert seen["user"] > 0
    assert seen["capabilities"] == 0
    assert seen["no_new_privileges"] == "1"
    assert seen["writable"] == ["/tmp", "/tmp"]
    assert seen["network"] == ["lo"]
    assert not seen["reachable"]


# Weights, digests and pushing: what make images and make push do with what they are given.


def test_weights_in_the_image_are_what_was_asked_for() -> None:
    labels = configuration(images.TRAINING)["Labels"]
    path = f"/opt/keras/models/{labels['image-classification.weights']}"
    digest, _ = run_in(images.TRAINING, "sha256sum", path).split()
    assert digest == labels["image-classification.weights.sha256"]
    assert digest == hashlib.sha256((ROOT / WEIGHTS).read_bytes()).hexdigest()


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # As a person types it, whatever make these tests were started by: it hands its variables down.
    alone = {name: value for name, value in os.environ.items() if name not in HANDED_DOWN}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=alone, capture_output=True, text=True, check=False)


def make_training_image(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Not the tag of the image under test. Built layers are reused, so that only what differs takes time.
    base = "BASE_IMAGE=debian-python:bookworm"
    return make("image-training", base, "VARIANT=cpu", "VERSION=test", "REVISION=test", *arguments)


def test_other_weights_than_asked_for_fail_the_build() -> None:
    built = make_training_image(f"WEIGHTS={WEIGHTS}", f"WEIGHTS_SHA256={'0' * 64}")
    assert built.returncode != 0
    assert f"{Path(WEIGHTS).name}: FAILED" in built.stdout


def test_weights_without_a_digest_are_refused_with_the_digest() -> None:
    built = make_training_image(f"WEIGHTS={WEIGHTS}")
    assert built.returncode != 0
    assert "add WEIGHTS_SHA256=" in built.stderr
    assert hashlib.sha256((ROOT / WEIGHTS).read_bytes()).hexdigest() in built.stderr


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and path of a registry on this machine, which docker needs no certificate for."""
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed; install Debian's package of that name")
    with registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield f"{server.host}/team/images"


def test_pushed_images_can_be_pinned_to_their_bytes(registry: str) -> None:
    pushed = make("push", f"REGISTRY={registry}", "IMAGES=data")
    assert pushed.returncode == 0, pushed.stderr
    options = pushed.stdout.strip().splitlines()[-1].removeprefix("Pin these images: ").split()
    assert options[:3] == ["--image-registry", registry, "--image-digest"]
    name, _, digest = options[3].partition("=")
    assert name == "data"
    reference = f"{registry}/image-classification-data@{digest}"
    assert docker("pull", reference).returncode == 0
    assert run_in(reference, "python3", "-m", "components", "--version") == __version__


def test_a_base_image_can_be_given_by_digest(registry: str) -> None:
    base = f"{registry}/base:1"
    for command in (("tag", "debian-python:bookworm", base), ("push", "--quiet", base)):
        assert docker(*command).returncode == 0
    digests = docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', base).stdout.split()
    (by_digest,) = [digest for digest in digests if digest.startswith(f"{registry}/base@sha256:")]
    built = make("image-data", f"BASE_IMAGE={by_digest}", "VERSION=test", "REVISION=test")
    assert built.returncode == 0, built.stderr
    assert run_in("image-classification-data:test", "python3", "-m", "components", "--version") == __version__


def test_a_failed_step_leaves_its_sentence_where_kubernetes_looks_for_it(tmp_path: Path) -> None:
    message = tmp_path / "termination-log"
    message.touch()
    message.chmod(0o666)  # as the kubelet makes it
    program = (
        "from components.failures import UserError, attempts\n"
        "for attempt in attempts('ingest'):\n"
        "    with attempt:\n"
        "        raise UserError('rename the folder')\n"
    )
    strict = ("--rm", "--network", "none", "--read-only", "--cap-drop", "ALL")
    mount = f"type=bind,source={message},target=/dev/termination-log"
    ended = docker("run", *strict, "--mount", mount, images.DATA, "python3", "-c", program)
    assert ended.returncode == 2
    assert message.read_text() == "exit code 2: rename the folder"
