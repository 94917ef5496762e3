"""What the images are, seen from outside and from inside a container as strict as a cluster's."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local

from components import __version__, images
from components.launch.docker_runner import docker_runner
from tests.containers.conftest import docker

BOTH = pytest.mark.parametrize("image", [images.DATA, images.TRAINING])
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in configuration(image)["Labels"].items()
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
