"""The names of images and of their labels, against the Dockerfiles that make them."""

from pathlib import Path

import pytest

from components import images
from components.launch.docker_runner import image_name

FOLDER = Path(__file__).resolve().parents[2] / "images"


@pytest.mark.parametrize("name", images.SHORT_NAMES)
def test_images_carry_their_version(name: str) -> None:
    assert f'{images.VERSION_LABEL}="${{VERSION}}"' in (FOLDER / name / "Dockerfile").read_text(encoding="utf-8")


def test_the_training_image_knows_its_name() -> None:
    name = images.TRAINING.partition(":")[0]
    recipe = (FOLDER / "training" / "Dockerfile").read_text(encoding="utf-8")
    assert f" {images.IMAGE_REFERENCE_VARIABLE}={name}:${{VERSION}}\n" in recipe


def test_the_training_image_says_what_is_in_it() -> None:
    recipe = (FOLDER / "training" / "Dockerfile").read_text(encoding="utf-8")
    assert f'{images.VARIANT_LABEL}="${{VARIANT}}"' in recipe
    assert f'{images.WEIGHTS_LABEL}="${{WEIGHTS_FILE}}"' in recipe
    assert f'{images.WEIGHTS_SHA256_LABEL}="${{WEIGHTS_SHA256}}"' in recipe
    assert f" {images.BAKED_WEIGHTS_FOLDER}/\n" in recipe


@pytest.mark.parametrize("name", images.SHORT_NAMES)
def test_images_run_as_the_user_that_pods_ask_for(name: str) -> None:
    user = f"USER {images.IMAGE_USER}:{images.IMAGE_USER}"
    assert user in (FOLDER / name / "Dockerfile").read_text(encoding="utf-8").splitlines()


def test_an_image_that_docker_cannot_tell_of_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert image_name(images.TRAINING) == images.TRAINING
