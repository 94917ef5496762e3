"""A version changes with what defines the model, and with nothing else."""

import json
import zipfile
from pathlib import Path

import pytest

from components.failures import UserError
from components.register.version_identity import keras_content_sha256, version_of, weights_sha256


def write_keras(path: Path, weights: bytes = b"weights", date: str = "2026-01-01", config: bytes = b"{}") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": date}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    return path


def test_the_date_does_not_count(tmp_path: Path) -> None:
    one = write_keras(tmp_path / "one.keras")
    other = write_keras(tmp_path / "other.keras", date="2027-12-31")
    assert one.read_bytes() != other.read_bytes()
    assert keras_content_sha256(one) == keras_content_sha256(other)


def test_addresses_in_memory_do_not_count_but_what_is_shared_does(tmp_path: Path) -> None:
    def digest(*shared: int) -> str:
        config = json.dumps([{"dtype": {"shared_object_id": number}} for number in shared]).encode()
        return keras_content_sha256(write_keras(tmp_path / "model.keras", config=config))

    assert digest(140634641582992, 140634641582992, 7) == digest(139916737339856, 139916737339856, 9)
    assert digest(1, 1, 2) != digest(1, 2, 2)


def test_weights_and_configuration_count(tmp_path: Path) -> None:
    digests = {
        keras_content_sha256(write_keras(tmp_path / "a.keras")),
        keras_content_sha256(write_keras(tmp_path / "b.keras", weights=b"others!")),
        keras_content_sha256(write_keras(tmp_path / "c.keras", config=b'{"dropout": 0.5}')),
    }
    assert len(digests) == 3
    assert weights_sha256(tmp_path / "a.keras") == weights_sha256(tmp_path / "c.keras")


def test_everything_that_defines_a_model_counts() -> None:
    versions = {
        version_of("m", ["a", "b"], {"size": 32}, "d"),
        version_of("n", ["a", "b"], {"size": 32}, "d"),
        version_of("m", ["b", "a"], {"size": 32}, "d"),
        version_of("m", ["a", "b"], {"size": 64}, "d"),
        version_of("m", ["a", "b"], {"size": 32}, "e"),
    }
    assert len(versions) == 5
    assert version_of("m", ["a", "b"], {"size": 32}, "d") in versions


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("photo.jpg", b"")
    with pytest.raises(UserError, match=r"model\.keras is no Keras model"):
        keras_content_sha256(tmp_path / "model.keras")
