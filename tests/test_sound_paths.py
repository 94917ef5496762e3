"""Paths that can lead nowhere are refused with a sentence, and before anything is made by their name."""

import os
from pathlib import Path

import pytest

from components import storage
from components.classifier.training_places import require_training_places
from components.classifier.weights_source import check_weights
from components.failures import UserError

ODD = {
    "checkpoints is blank: give it a path or a gs:// URI": " ",
    "checkpoints is 'a\\x00b': no path can hold a NUL character": "a\0b",
    "checkpoints is ~/x: write out the folder that ~ stands for, as nothing but a shell replaces it": "~/x",
    "checkpoints is '/a/\\udcff', which is not UTF-8, as paths must be here: rename it": os.fsdecode(b"/a/\xff"),
}


@pytest.mark.parametrize(("message", "path"), ODD.items())
def test_what_nobody_can_mean_is_refused(message: str, path: str) -> None:
    with pytest.raises(UserError) as refused:
        storage.require_sound_path("checkpoints", path)
    assert str(refused.value) == message
    for parameter in ("cache_directory", "checkpoint_uri"):
        cache, checkpoints = (path if name == parameter else "" for name in ("cache_directory", "checkpoint_uri"))
        with pytest.raises(UserError) as refused:
            require_training_places(cache, checkpoints, [])
        assert str(refused.value) == message.replace("checkpoints", parameter)


@pytest.mark.parametrize("path", ["", "imagenet", "gs://bucket/~/ x", "/a b/ü/猫", "./~x", "-x", "a\nb"])
def test_other_paths_are_none_of_them(path: str) -> None:
    storage.require_sound_path("checkpoints", path)


def test_weights_are_looked_at_too() -> None:
    with pytest.raises(UserError, match="^weights is ~/w.h5: write out the folder"):
        check_weights("~/w.h5", "inception_v3")


def test_links_and_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("dangling", "loop", "loop/x", "dangling/x"):
        with pytest.raises(UserError, match=f"{place.partition('/')[0]} is a link to nothing; make what it names, or"):
            storage.require_writable(str(tmp_path / place))
    for place, reason in {"loop/x": "leads back to itself", "n" * 256: "longer than file systems allow"}.items():
        with pytest.raises(UserError, match=reason):
            storage.read_bytes(str(tmp_path / place))
        with pytest.raises(UserError, match=reason):
            storage.write_if_absent(str(tmp_path / place / "x"), b"")
    with pytest.raises(UserError, match="longer than file systems allow"):
        storage.require_writable(str(tmp_path / ("n" * 256)))
