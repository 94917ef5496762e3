"""Checkpoints are found again by the same training alone, whole or not at all, wherever an attempt was stopped."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import __version__, storage
from components.classifier.checkpoints import Checkpoint, Checkpoints
from components.failures import TransientError, UserError
from tests.scripted_gcs import Answer, scripted_gcs

IDENTITY = {"dataset_digest": "ab12", "settings": {"epochs": 5, "learning_rate": 1e-3}}


@pytest.fixture(params=["local", "gs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder on disk, which is made when it is needed, or a prefix in a bucket."""
    if request.param == "local":
        return str(tmp_path / "made" / "checkpoints")
    new_bucket: Callable[[], str] = request.getfixturevalue("new_bucket")
    return f"{new_bucket()}/checkpoints/"


def opened(root: str, identity: dict[str, Any] | None = None) -> Checkpoints:
    """Open them as an attempt does."""
    checkpoints = Checkpoints.opened(root, "frozen", IDENTITY if identity is None else identity)
    assert checkpoints is not None
    return checkpoints


def after(epoch: int, batches: int = 0) -> Checkpoint:
    weights = np.random.default_rng(epoch).normal(size=(7, 5)).astype(np.float32)
    random = np.array([epoch, 2**32 - 1], np.uint32)
    return Checkpoint(
        epoch, batches, {"history": [{"loss": 1 / 3}] * epoch}, {"weights/0000": weights, "random/0000": random}
    )


def files(checkpoints: Checkpoints) -> list[str]:
    """Names of the checkpoints that are stored, oldest first."""
    names = [file.uri.rpartition("/")[2] for file in storage.list_files(checkpoints.folder)]
    assert "newest.json" in names
    return sorted(name for name in names if name != "newest.json")


def newest(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.read_newest()
    return found.epoch if found else None


def damage(checkpoints: Checkpoints, name: str, keep: float) -> None:
    """Leave only the first part of a file."""
    uri = storage.join(checkpoints.folder, name)
    data = storage.read_bytes(uri)
    storage.delete_file(uri)
    storage.write_if_absent(uri, data[: int(len(data) * keep)])


def test_what_was_written_comes_back_exactly(root: str) -> None:
    opened(root).write(after(1))

    found = opened(root).read_newest()

    assert found is not None
    assert (found.epoch, found.state) == (1, after(1).state)
    assert found.arrays.keys() == after(1).arrays.keys()
    for name, array in after(1).arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_the_two_newest_are_kept(root: str) -> None:
    checkpoints = opened(root)
    assert checkpoints.read_newest() is None

    for epoch in range(1, 5):
        checkpoints.write(after(epoch))
        assert newest(opened(root)) == epoch

    assert [name[:10] for name in files(checkpoints)] == ["epoch-0003", "epoch-0004"]
    pointer = json.loads(storage.read_bytes(storage.join(checkpoints.folder, "newest.json")))
    assert pointer["newest"] == files(checkpoints)[::-1]
    assert pointer["of"]["settings"] == IDENTITY["settings"]


def test_those_within_an_epoch_are_newer_than_its_beginning(root: str) -> None:
    checkpoints = opened(root)
    for epoch, batches in ((0, 7), (0, 12), (1, 0), (1, 3), (1, 40)):
        checkpoints.write(after(epoch, batches))
        found = opened(root).read_newest()
        assert found is not None
        assert (found.epoch, found.batches) == (epoch, batches)

    assert [name[:17] for name in files(checkpoints)] == ["epoch-0001-000003", "epoch-0001-000040"]
    storage.delete_file(storage.join(checkpoints.folder, "newest.json"))
    found = opened(root).read_newest()
    assert found is not None
    assert (found.epoch, found.batches) == (1, 40)


def test_a_resumed_attempt_keeps_two_as_well(root: str) -> None:
    first = opened(root)
    first.write(after(1))
    first.write(after(2))
    second = opened(root)
    assert newest(second) == 2

    second.write(after(3))

    assert [name[:10] for name in files(second)] == ["epoch-0002", "epoch-0003"]


def test_another_training_has_checkpoints_of_its_own(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(root).write(after(1))

    others = [
        {**IDENTITY, "dataset_digest": "ab13"},
        {**IDENTITY, "settings": {"epochs": 6, "learning_rate": 1e-3}},
        {**IDENTITY, "settings": {"epochs": 5, "learning_rate": 2e-3}},
    ]
    assert [newest(opened(root, other)) for other in others] == [None] * 3
    other_phase = Checkpoints.opened(root, "fine_tune", IDENTITY)
    assert other_phase is not None
    assert newest(other_phase) is None
    monkeypatch.setattr("components.classifier.checkpoints.__version__", "99.0")
    assert newest(opened(root)) is None


def test_none_are_kept_without_a_uri() -> None:
    assert Checkpoints.opened("", "frozen", IDENTITY) is None


@pytest.mark.parametrize("keep", [0.0, 0.6, 0.999])
def test_a_damaged_one_gives_way_to_the_one_before(root: str, keep: float, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = opened(root)
    for epoch in (1, 2, 3):
        checkpoints.write(after(epoch))
    before, last = files(checkpoints)
    damage(checkpoints, last, keep)
    again = opened(root)

    assert newest(again) == 2

    line = f"frozen: checkpoint {storage.join(checkpoints.folder, last)} is damaged: looking for the one before\n"
    assert capsys.readouterr().out == line
    again.write(after(3))
    again.write(after(4))
    assert newest(opened(root)) == 4
    again.write(after(5))
    assert [name[:10] for name in files(again)] == ["epoch-0004", "epoch-0005"]
    assert before not in files(again)


def test_training_starts_anew_when_none_is_whole(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = opened(root)
    for epoch in (1, 2):
        checkpoints.write(after(epoch))
    damage(checkpoints, files(checkpoints)[0], 0.5)
    storage.delete_file(storage.join(checkpoints.folder, files(checkpoints)[1]))
    again = opened(root)

    assert again.read_newest() is None

    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" is ")[2] for line in lines[:2]] == [
        "gone: looking for the one before",
        "damaged: looking for the one before",
    ]
    assert lines[2] == f"frozen: no checkpoint to go on from in {checkpoints.folder}: starting anew"
    again.write(after(1))
    assert newest(opened(root)) == 1


OF = json.dumps({**IDENTITY, "version": __version__}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"\xff",
        *(b'{"newest": %b, "of": %b}' % (newest, OF) for newest in (b"3", b"[3]", b'["../x"]', b'"abc"', b'{"a": 1}')),
    ],
)  # fmt: skip
def test_a_damaged_pointer_loses_nothing(root: str, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = opened(root)
    for epoch in (1, 2, 3):
        checkpoints.write(after(epoch))
    pointer = storage.join(checkpoints.folder, "newest.json")
    storage.delete_file(pointer)
    storage.write_if_absent(pointer, data)
    again = opened(root)

    assert newest(again) == 3
    assert capsys.readouterr().out == f"frozen: {pointer} is damaged: looking through its folder\n"
    assert again.finished_epochs() == 3

    again.write(after(4))
    assert newest(opened(root)) == 4


def test_a_pointer_of_an_older_version_is_called_so(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = opened(root)
    checkpoints.write(after(1))
    pointer, names = storage.join(checkpoints.folder, "newest.json"), files(checkpoints)
    storage.delete_file(pointer)
    storage.write_if_absent(pointer, json.dumps({"newest": names}).encode())

    assert newest(opened(root)) == 1

    assert capsys.readouterr().out == (
        f"frozen: {pointer} was written by another version: looking through its folder\n"
    )


def copy_over(source: Checkpoints, destination: Checkpoints) -> None:
    for file in storage.list_files(source.folder):
        name = file.uri.rpartition("/")[2]
        storage.write_if_absent(storage.join(destination.folder, name), storage.read_bytes(file.uri))


def test_those_of_another_training_are_not_gone_on_from(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that was copied over another's: of other settings its weights would be published under these."""
    other = opened(root, {**IDENTITY, "settings": {"epochs": 5, "learning_rate": 2e-3}})
    for epoch in (1, 2):
        other.write(after(epoch))
    mine = opened(root)
    copy_over(other, mine)

    assert mine.finished_epochs() is None
    capsys.readouterr()
    assert newest(mine) is None

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"frozen: {mine.folder}/newest.json is of another training: looking through its folder"
    assert [line.rpartition(" is ")[2] for line in lines[1:3]] == [
        "of another training: looking for the one before"
    ] * 2
    assert lines[3] == f"frozen: no checkpoint to go on from in {mine.folder}: starting anew"
    mine.write(after(1))
    assert newest(opened(root)) == 1


def junk_with_the_right_digest(data: bytes) -> str:
    return f"epoch-0003-000000-{'0' * 8}-{hashlib.sha256(data).hexdigest()[:32]}.npz"


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"PK\x03\x04junk", id="no archive"),
        pytest.param(archive(a=np.zeros(3)), id="no state"),
        pytest.param(archive(**{"state.json": np.frombuffer(b"{}", np.uint8)}), id="of what is not said"),
        pytest.param(archive(a=np.array([{}], object)), id="a pickle"),
        pytest.param(archive(**{"state.json": np.frombuffer(b"[", np.uint8)}), id="no JSON"),
        pytest.param(
            archive(**{"state.json": np.frombuffer(b"[]", np.uint8), "of": np.frombuffer(b"x", np.uint8)}), id="a list"
        ),
        pytest.param(archive(a=np.zeros(300))[:-200], id="cut short"),
    ],
)
def test_what_was_written_in_another_form_is_not_called_damaged(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = opened(str(tmp_path))
    for epoch in (1, 2):
        checkpoints.write(after(epoch))
    junk = storage.join(checkpoints.folder, junk_with_the_right_digest(data))
    storage.write_if_absent(junk, data)
    storage.delete_file(storage.join(checkpoints.folder, "newest.json"))
    again = opened(str(tmp_path))

    assert newest(again) == 2

    assert capsys.readouterr().out == (
        f"frozen: checkpoint {junk} was written by another version: looking for the one before\n"
    )


def test_what_does_not_fit_is_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = opened(str(tmp_path))
    for epoch in (1, 2):
        checkpoints.write(after(epoch))

    found = opened(str(tmp_path)).read_newest(lambda checkpoint: checkpoint.epoch < 2)

    assert found is not None
    assert found.epoch == 1
    assert " was written by another version: looking for the one before" in capsys.readouterr().out


def test_leftovers_of_an_attempt_that_was_stopped_do_no_harm(root: str) -> None:
    """Its file was written and nothing pointed to it yet; a probe and things of others lie about."""
    checkpoints = opened(root)
    checkpoints.write(after(1))
    name = f"epoch-0002-000000-{'0' * 8}-{'1' * 32}.npz"
    storage.write_if_absent(storage.join(checkpoints.folder, name), b"cut short")
    storage.write_if_absent(storage.join(checkpoints.folder, "probe-12345678"), b"")
    storage.write_if_absent(storage.join(checkpoints.folder, "notes.txt"), b"of a person")
    again = opened(root)

    assert newest(again) == 1

    for epoch in range(2, 5):
        again.write(after(epoch))
    assert newest(opened(root)) == 4
    assert [name[:10] for name in files(again)] == ["epoch-0003", "epoch-0004", "notes.txt", "probe-1234"]


def test_an_older_attempt_that_still_writes_does_no_harm(root: str) -> None:
    """A node that is thought dead may live on: both write, in turn, at epochs far apart."""
    old = opened(root)
    for epoch in (1, 2):
        old.write(after(epoch))
    new = opened(root)
    assert newest(new) == 2
    for epoch in (3, 4, 5, 6):
        old.write(after(epoch))
    assert newest(opened(root)) == 6

    new.write(after(3))  # it points at its own, which is as right
    old.write(after(7))
    new.write(after(4))

    found = opened(root).read_newest()
    assert found is not None
    np.testing.assert_array_equal(found.arrays["weights/0000"], after(found.epoch).arrays["weights/0000"])


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    checkpoints = opened(str(tmp_path))
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoints.write(Checkpoint(1, 0, {}, {"weights/0000": np.array([object()])}))


def test_a_bucket_that_does_not_exist_is_refused_at_once(gcs: str) -> None:
    with pytest.raises(UserError, match="gs://no-such-bucket does not exist"):
        opened("gs://no-such-bucket/checkpoints")


def test_a_bucket_that_may_not_be_written_is_refused_at_once() -> None:
    def answer(method: str, path: str, headers: Any) -> Answer:
        return Answer.refusal(403, "the account does not have storage.objects.create access")

    with scripted_gcs(answer), pytest.raises(UserError, match="no permission to write gs://photos/c/.* grant roles/"):
        opened("gs://photos/c")


def test_a_bucket_out_of_reach_is_worth_another_try() -> None:
    def answer(method: str, path: str, headers: Any) -> Answer:
        return Answer.refusal(503, "Backend Error")

    with scripted_gcs(answer), storage.patience(0.1), pytest.raises(TransientError, match="503 Backend Error"):
        opened("gs://photos/c")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write .*file/frozen-.*check the path"):
        opened(str(tmp_path / "file"))
    with pytest.raises(UserError, match="s3://photos is neither.* other stores are not supported"):
        opened("s3://photos")


def test_checkpoints_may_be_moved(tmp_path: Path) -> None:
    """Their names do not depend on where they lie."""
    opened(str(tmp_path / "here")).write(after(1))
    shutil.move(tmp_path / "here", tmp_path / "there")

    assert newest(opened(str(tmp_path / "there"))) == 1
