"""Activations come back as they were stored; what is damaged is noticed; what differs lies elsewhere."""

import os
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.classifier import activation_cache
from components.classifier.activation_cache import (
    ActivationCache,
    StoredArray,
    cache_root,
    images_of_shard,
    is_mounted_bucket,
)
from components.classifier.activation_shards import DamagedShardError, compressed, shard_places, written_shard
from components.classifier.training_mode import Mode, ModeSettings, choose_mode
from components.failures import UserError
from components.publishing import published_file
from tests.permissions import unprivileged

IMAGES = 11
ARRAYS = [StoredArray("maps", (3, 3, 5), "float16"), StoredArray("features", (7,), "float32")]
FACTS = {"model_digest": "1f"}


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_cache, "IMAGES_PER_SHARD", 4)


@pytest.fixture
def values() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.normal(size=(IMAGES, *array.shape)).astype(array.dtype) for array in ARRAYS]


def cache_in(root: Path, **changes: Any) -> ActivationCache:
    return ActivationCache(root, "boundary", {**FACTS, **changes}, ARRAYS)


def fill(cache: ActivationCache, values: list[np.ndarray], numbers: list[int]) -> None:
    with cache.writing():
        for number in numbers:
            with written_shard(cache.shard("validation", number)) as append:
                for image in images_of_shard(number, IMAGES):
                    for array in values:
                        append(compressed(array[image]))


def test_arrays_come_back_in_any_order(values: list[np.ndarray], tmp_path: Path) -> None:
    fill(cache_in(tmp_path), values, [0, 1, 2])
    cache = cache_in(tmp_path)
    assert cache.missing_shards("validation", IMAGES) == []
    order = np.random.default_rng(2).permutation(IMAGES)[:9]

    for number, stored in enumerate(values):
        assert np.array_equal(cache.read("validation", order, number), stored[order])


@pytest.mark.parametrize("place", [0, 100, -40, -1], ids=["magic", "array", "places", "digest"])
def test_a_damaged_shard_is_noticed_and_no_other_is_missing(
    values: list[np.ndarray], tmp_path: Path, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(cache_in(tmp_path), values, [0, 1, 2])
    path = cache_in(tmp_path).shard("validation", 1)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)

    assert cache_in(tmp_path).missing_shards("validation", IMAGES) == [1]
    assert f"{path} is damaged" in capsys.readouterr().out

    fill(cache_in(tmp_path), values, [1])
    assert cache_in(tmp_path).missing_shards("validation", IMAGES) == []


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_a_shard_damaged_after_it_was_found_whole_gives_no_wrong_arrays(
    values: list[np.ndarray], tmp_path: Path, number: int
) -> None:
    """Whichever of its bytes it is: zstd alone notices few of them."""
    fill(cache_in(tmp_path), values, [0, 1, 2])
    cache = cache_in(tmp_path)
    assert cache.missing_shards("validation", IMAGES) == []
    path = cache.shard("validation", 1)
    whole = path.read_bytes()
    said = set()
    for place in range(0, len(whole), 7):
        data = bytearray(whole)
        data[place] ^= 4
        path.write_bytes(data)
        try:
            found = cache.read("validation", np.arange(IMAGES), number)
        except DamagedShardError as error:
            said.add(str(error))
        else:
            assert np.array_equal(found, values[number])
    assert said == {cache.damage} == {f"{path} is damaged"}

    path.unlink()
    with pytest.raises(DamagedShardError, match=r"00001\.shard cannot be read \(No such file or directory\)"):
        cache.read("validation", np.arange(IMAGES), number)


@pytest.mark.parametrize("length", [0, 3, 200])
def test_a_shard_that_is_cut_short_is_noticed(values: list[np.ndarray], tmp_path: Path, length: int) -> None:
    fill(cache_in(tmp_path), values, [0, 1, 2])
    path = cache_in(tmp_path).shard("validation", 2)
    path.write_bytes(path.read_bytes()[:length])

    assert cache_in(tmp_path).missing_shards("validation", IMAGES) == [2]


def test_what_differs_lies_elsewhere(values: list[np.ndarray], tmp_path: Path) -> None:
    fill(cache_in(tmp_path), values, [0, 1, 2])

    assert cache_in(tmp_path, model_digest="2a").missing_shards("validation", IMAGES) == [0, 1, 2]
    assert cache_in(tmp_path).missing_shards("train-view-0", IMAGES) == [0, 1, 2]


def test_what_is_handed_over_is_read_and_the_rest_written_elsewhere(values: list[np.ndarray], tmp_path: Path) -> None:
    first = cache_in(tmp_path / "first")
    fill(first, values, [0, 2])
    first.missing_shards("validation", IMAGES)
    first.hand_over(tmp_path / "handed")
    handed = {path.name for path in (tmp_path / "handed").rglob("*.shard")}
    second = ActivationCache(tmp_path / "second", "boundary", FACTS, ARRAYS, [tmp_path / "handed"])
    assert second.missing_shards("validation", IMAGES) == [1]

    fill(second, values, [1])

    assert second.missing_shards("validation", IMAGES) == []
    assert np.array_equal(second.read("validation", np.arange(IMAGES), 0), values[0])
    assert {path.name for path in (tmp_path / "handed").rglob("*.shard")} == handed
    assert [path.name for path in (tmp_path / "second").rglob("*.shard")] == ["validation-00001.shard"]


def test_a_full_disk_leaves_no_shard(values: list[np.ndarray], tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    path = cache.shard("validation", 0)
    path.parent.mkdir()
    path.with_name(f".partial.{path.name}").symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left on device"):
        fill(cache, values, [0])

    assert {file.name for file in cache.folder.iterdir()} == {"cache.json", ".lock"}


@pytest.mark.parametrize("name", ["validation-00001.shard", ".partial.validation-00001.shard", "cache.json", ".lock"])
def test_a_folder_in_the_place_of_a_file_is_refused_and_stays(
    values: list[np.ndarray], tmp_path: Path, name: str
) -> None:
    way = cache_in(tmp_path).folder / name
    way.mkdir(parents=True)
    (way / "notes.txt").write_text("of a person")

    with pytest.raises(UserError, match=f"^{way} is a folder, and a cache needs a file there: move it away, or let "):
        fill(cache_in(tmp_path), values, [0, 1, 2])

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


@pytest.mark.parametrize("place", ["root", "root/{folder}"])
def test_a_file_in_the_place_of_a_folder_is_refused_and_stays(
    values: list[np.ndarray], tmp_path: Path, place: str
) -> None:
    cache = cache_in(tmp_path / "root")
    way = tmp_path / place.format(folder=cache.folder.name)
    way.parent.mkdir(exist_ok=True)
    way.write_text("of a person")

    with pytest.raises(UserError, match=f"^{way} is a file, and a cache needs a folder there: move it away, or let "):
        fill(cache, values, [0])

    assert way.read_text() == "of a person"


@pytest.mark.parametrize(
    ("place", "mode", "named"),
    [
        pytest.param("root", 0o755, "root/{folder}", id="no folder may be made"),
        pytest.param("root/{folder}", 0o755, "root/{folder}", id="its folder may be read"),
        pytest.param("root/{folder}", 0o000, "root/{folder}", id="its folder may not be read"),
        pytest.param("root/{folder}/.lock", 0o000, "root/{folder}/.lock", id="its lock"),
    ],
)
def test_what_is_somebody_elses_is_named(
    values: list[np.ndarray], unprivileged_folder: Path, place: str, mode: int, named: str
) -> None:
    """Before anything is computed to be written there."""
    cache = cache_in(unprivileged_folder / "root")
    way, named_way = (unprivileged_folder / path.format(folder=cache.folder.name) for path in (place, named))
    if way == unprivileged_folder / "root":
        way.mkdir()
    else:
        fill(cache, values, [0])
        cache.folder.chmod(0o777)
    way.chmod(mode)

    with (
        unprivileged(),
        pytest.raises(UserError) as refused,
        cache_in(unprivileged_folder / "root").writing(),
    ):
        pytest.fail("nothing can be written")

    assert str(refused.value) == (
        f"no permission to write {named_way}; change its owner or mode, or let cache_directory name another place"
    )


def test_what_is_somebody_elses_can_be_read(values: list[np.ndarray], unprivileged_folder: Path) -> None:
    fill(cache_in(unprivileged_folder), values, [0, 1, 2])

    with unprivileged():
        cache = cache_in(unprivileged_folder)
        assert cache.missing_shards("validation", IMAGES) == []
        assert np.array_equal(cache.read("validation", np.arange(IMAGES), 0), values[0])
        cache.hand_over(unprivileged_folder / "output")
    assert len(list((unprivileged_folder / "output").rglob("*.shard"))) == 3


def test_users_who_may_write_to_a_folder_share_its_cache(values: list[np.ndarray], unprivileged_folder: Path) -> None:
    """Its lock is a file of whoever was first, which others may read at least."""
    fill(cache_in(unprivileged_folder), values, [0])
    cache_in(unprivileged_folder).folder.chmod(0o777)

    with unprivileged():
        fill(cache_in(unprivileged_folder), values, [1, 2])

    assert cache_in(unprivileged_folder).missing_shards("validation", IMAGES) == []


def test_what_killed_copies_leave_is_removed_and_what_is_being_copied_stays(
    values: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_in(tmp_path)
    fill(cache, values, [0])
    killed = cache.folder / f".partial.{uuid.uuid4().hex}.validation-00001.shard"
    killed.write_bytes(b"half")
    hours_ago = time.time() - 7200
    os.utime(killed, (hours_ago, hours_ago))
    others = cache.folder / ".partial.notes.txt"
    others.write_text("of a person")
    with published_file(cache.shard("validation", 2), shared=True) as copied:
        copied.write_bytes(b"half")

        fill(cache_in(tmp_path), values, [1])

        assert copied.read_bytes() == b"half"
    assert not killed.exists()
    assert others.exists()
    assert f"removed 4 bytes that killed runs left half-written in {cache.folder}" in capsys.readouterr().out


def test_what_is_in_the_way_of_an_output_is_not_said_to_be_of_a_cache_directory(
    values: list[np.ndarray], tmp_path: Path
) -> None:
    cache = cache_in(tmp_path)
    fill(cache, values, [0])
    way = tmp_path / "output"
    way.write_text("of a person")

    with pytest.raises(UserError, match=f"^{way} is a file, .*: move it away, or give the output another place$"):
        cache.hand_over(way)


def test_of_mounted_buckets_only_those_of_others_are_copied(
    values: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"bucket {tmp_path / 'bucket'} fuse.gcsfuse rw 0 0\n")
    monkeypatch.setattr(activation_cache, "_MOUNTS", mounts)
    fill(cache_in(tmp_path / "bucket"), values, [0, 1, 2])
    stored = {path: path.stat().st_ino for path in (tmp_path / "bucket").rglob("*.shard")}

    assert cache_in(tmp_path / "bucket").missing_shards("validation", IMAGES) == []
    handed = ActivationCache(tmp_path / "local", "boundary", FACTS, ARRAYS, [tmp_path / "bucket"])
    assert handed.missing_shards("validation", IMAGES) == []

    assert {path: path.stat().st_ino for path in stored} == stored
    copies = sorted((tmp_path / "local").rglob("*.shard"))
    assert [path.name for path in copies] == sorted(path.name for path in stored)
    assert np.array_equal(handed.read("validation", np.arange(IMAGES), 0), values[0])


def test_what_cannot_be_read_as_a_shard_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(DamagedShardError, match=f"^{path} cannot be read "):
            shard_places(path, 3)
    with pytest.raises(FileNotFoundError):
        shard_places(tmp_path / "none", 3)


def test_whole_shards_in_the_place_of_others_are_not_taken_for_them(
    values: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of a section, swapped; and one of another cache, under the name that it has there."""
    cache, other = cache_in(tmp_path), cache_in(tmp_path, model_digest="2a")
    fill(cache, values, [0, 1, 2])
    fill(other, values, [2])
    paths = [cache.shard("validation", number) for number in (0, 1, 2)]
    aside = paths[0].rename(tmp_path / "aside")
    paths[1].rename(paths[0])
    aside.rename(paths[1])
    other.shard("validation", 2).replace(paths[2])

    assert cache_in(tmp_path).missing_shards("validation", IMAGES) == [0, 1, 2]

    said = capsys.readouterr().out.splitlines()
    assert sorted(said) == [f"{path} is another shard, put in the place of this one: it is not used" for path in paths]
    fill(cache, values, [0, 1, 2])
    again = cache_in(tmp_path)
    assert again.missing_shards("validation", IMAGES) == []
    assert np.array_equal(again.read("validation", np.arange(IMAGES), 0), values[0])


def test_a_shard_with_fewer_arrays_is_not_taken(values: list[np.ndarray], tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    for images in (0, 1, 3):
        with cache.writing(), written_shard(cache.shard("validation", 0)) as append:
            for image in range(images):
                for array in values:
                    append(compressed(array[image]))
        with pytest.raises(DamagedShardError, match="does not hold 8 arrays$"):
            shard_places(cache.shard("validation", 0), 8)


def test_a_cache_of_an_older_form_is_called_so(
    values: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(cache_in(tmp_path), values, [0, 1, 2])
    path = cache_in(tmp_path).shard("validation", 1)
    path.write_bytes(b"ACTIVAT2" + path.read_bytes()[8:])

    assert cache_in(tmp_path).missing_shards("validation", IMAGES) == [1]

    assert capsys.readouterr().out == f"{path} has the form of an earlier version: it is not used\n"


def mode(folder: Path, need: int, worthless: str = "", **changes: Any) -> Mode:
    given = {
        "training_mode": "auto", "augmented_views": 3, "cache_precision": "float16", "cache_limit_gb": 1.0,
        "cache_directory": "", **changes,
    }  # fmt: skip
    return choose_mode(ModeSettings(**given), need, folder, worthless=worthless)


def test_auto_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"

    assert mode(folder, 10**6).cached
    assert mode(folder, 10**6).reason.startswith("1 MB before compression, within cache_limit_gb 1 and the ")
    too_large = mode(folder, 2 * 10**9)
    assert too_large == Mode(False, "the cache would take 2 GB before compression and cache_limit_gb is 1")
    assert mode(folder, 10**6, "nothing stays the same") == Mode(False, "nothing stays the same")
    full = mode(folder, 10**18, cache_limit_gb=1e12)
    assert not full.cached
    assert f"the cache would take 1,000,000,000 GB before compression and {folder} has " in full.reason


def test_what_is_asked_for_is_done_or_refused(tmp_path: Path) -> None:
    assert mode(tmp_path, 10**6, "no use", training_mode="cached").cached
    assert not mode(tmp_path, 10**6, training_mode="streaming").cached
    with pytest.raises(UserError, match="cache_limit_gb is 1: raise it, set fewer augmented_views, or set training"):
        mode(tmp_path, 2 * 10**9, training_mode="cached")


@pytest.mark.parametrize(
    ("path", "mounted"),
    [("/gcs/bucket/pipeline/cache", True), ("/gcs", True), ("/gcsx/cache", False), ("/gcs/local/cache", False)],
)
def test_a_mounted_bucket_is_no_local_disk(tmp_path: Path, path: str, mounted: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("overlay / overlay rw 0 0\ngcsfuse /gcs fuse.gcsfuse rw 0 0\n/dev/sda /gcs/local ext4 rw 0 0\n")

    assert is_mounted_bucket(Path(path), mounts) == mounted
    assert cache_root(ModeSettings("auto", 1, "float16", 1.0, ""), tmp_path) == tmp_path
    assert cache_root(ModeSettings("auto", 1, "float16", 1.0, "/kept"), tmp_path) == Path("/kept")
