"""The names of images and of their labels, against the Dockerfiles that make them."""

from pathlib import Path

import pytest

from components import images

FOLDER = Path(__file__).resolve().parents[2] / "images"


@pytest.mark.parametrize("name", images.SHORT_NAMES)
def test_images_carry_their_version(name: str) -> None:
    assert f'{images.VERSION_LABEL}="${{VERSION}}"' in (FOLDER / name / "Dockerfile").read_text(encoding="utf-8")


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
