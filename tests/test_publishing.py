"""An output is whole or absent, whatever stops the step."""

import errno
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.failures import UserError
from components.publishing import (
    published_directory,
    published_file,
    remove_abandoned_copies,
    remove_half_written,
    require_publishable,
    write_json,
)
from tests.permissions import unprivileged


def contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def publish(destination: Path, *names: str) -> None:
    with published_directory(destination) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("new")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder of an earlier, whole attempt."""
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    return folder


def killed(code: str, destination: Path) -> None:
    """Run code with ``destination`` defined in a process of its own, which must end by SIGKILL."""
    header = f"""
import os, pathlib, shutil, signal
from components import publishing
destination = pathlib.Path({str(destination)!r})
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", header + code], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_killed_writers_leave_can_be_removed(output: Path) -> None:
    killed("with publishing.published_directory(destination) as folder:\n    die()", output)
    killed("with publishing.published_file(destination / 'a.txt') as path:\n    path.touch()\n    die()", output)
    left = {path.name for path in output.parent.rglob("*")}
    assert left == {"output", "old.txt", ".output.partial", ".partial.a.txt"}

    remove_half_written(output.parent)

    assert {path.name for path in output.parent.rglob("*")} == {"output", "old.txt"}
    remove_half_written(output.parent / "none")


def test_what_a_killed_writer_of_a_shared_file_leaves_is_removed_and_what_one_is_at_stays(tmp_path: Path) -> None:
    def half_written() -> set[Path]:
        return {path for path in tmp_path.glob(".partial.*") if path.is_file()}

    killed(
        "with publishing.published_file(destination, shared=True) as p:\n    p.write_text('a')\n    die()",
        tmp_path / "a",
    )
    [left] = half_written()
    new, old, other = (tmp_path / f".partial.{digit * 32}.b" for digit in ("1", "2", "x"))
    for path in (new, old):
        path.touch()  # its writer locks it before the first byte
    other.write_text("of another kind")
    (tmp_path / f".partial.{'3' * 32}.folder").mkdir()
    os.utime(old, (0, 0))
    with published_file(tmp_path / "c", shared=True) as written:
        written.write_text("half")
        assert half_written() == {left, new, old, other, written}

        assert remove_abandoned_copies(tmp_path) == 0, "it may be another machine's, whose lock is not seen"
        assert half_written() == {left, new, other, written}
        assert remove_abandoned_copies(tmp_path, idle_seconds=0) == 1

        assert half_written() == {new, other, written}
    assert (tmp_path / "c").read_text() == "half"
    assert remove_abandoned_copies(tmp_path, idle_seconds=0) == 0


def test_a_folder_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    with published_directory(tmp_path / "deep" / "output") as folder:
        (folder / "a.txt").write_text("new")
        assert not (tmp_path / "deep" / "output").exists()
    assert contents(tmp_path) == {"deep/output/a.txt": "new"}


def test_a_folder_replaces_an_earlier_one_completely(output: Path) -> None:
    publish(output, "new.txt", "nested/new.txt")
    assert contents(output.parent) == {"output/new.txt": "new", "output/nested/new.txt": "new"}


@pytest.mark.parametrize("leftover", [".output.partial", ".output.replaced", "output"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_leftovers_are_tolerated(tmp_path: Path, leftover: str, kind: str) -> None:
    if kind == "folder":
        (tmp_path / leftover / "half").mkdir(parents=True)
        (tmp_path / leftover / "half" / "file").write_text("half")
    else:
        (tmp_path / leftover).write_text("half")
    publish(tmp_path / "output", "new.txt")
    assert contents(tmp_path) == {"output/new.txt": "new"}


def test_a_failure_leaves_the_old_folder(output: Path) -> None:
    with pytest.raises(ZeroDivisionError), published_directory(output) as folder:
        _ = (folder / "new.txt").write_text("new") / 0
    assert contents(output.parent) == {"output/old.txt": "old"}


def test_a_kill_while_writing_leaves_the_old_folder_and_the_next_attempt_succeeds(output: Path) -> None:
    killed("with publishing.published_directory(destination) as f: (f / 'new.txt').write_text('half'); die()", output)
    assert contents(output) == {"old.txt": "old"}
    publish(output, "new.txt")
    assert contents(output.parent) == {"output/new.txt": "new"}


def test_a_kill_while_the_old_folder_is_removed_leaves_the_new_one_whole(output: Path) -> None:
    code = """
with publishing.published_directory(destination) as folder:
    (folder / "new.txt").write_text("new")
    shutil.rmtree = die
"""
    killed(code, output)
    assert contents(output) == {"new.txt": "new"}
    publish(output, "newer.txt")
    assert contents(output.parent) == {"output/newer.txt": "new"}


def test_a_store_that_cannot_rename_folders_is_copied_to(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    publish(output, "new.txt", "nested/new.txt")
    assert contents(output.parent) == {"output/new.txt": "new", "output/nested/new.txt": "new"}


def test_other_failures_of_a_rename_are_not_hidden(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        publish(output, "new.txt")
    assert contents(output.parent) == {"output/old.txt": "old"}


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    with published_file(tmp_path / "deep" / "model.keras") as path:
        assert path.suffix == ".keras"
        path.write_text("new")
        assert not (tmp_path / "deep" / "model.keras").exists()
    assert contents(tmp_path) == {"deep/model.keras": "new"}


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), published_file(tmp_path / "a.txt") as path:
        _ = path.write_text("half") / 0
    assert contents(tmp_path) == {"a.txt": "old"}


def test_a_kill_leaves_the_old_file_and_the_next_attempt_succeeds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    killed("with publishing.published_file(destination) as p: p.write_text('half'); die()", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    with published_file(tmp_path / "a.txt") as path:
        path.write_text("new")
    assert contents(tmp_path) == {"a.txt": "new"}


def test_outputs_that_can_be_published_are_tried_without_a_trace(output: Path) -> None:
    (output.parent / "report").write_text("old")
    (output.parent / "half").write_text("a file, which an earlier attempt may have left and a folder replaces")
    before = {path: path.stat().st_ino for path in output.parent.rglob("*")}

    require_publishable(
        folders=[output, output.parent / "half", output.parent / "to" / "be" / "made"],
        files=[output.parent / "report", output.parent / "new" / "report"],
    )

    assert {path: path.stat().st_ino for path in output.parent.rglob("*")} == before


def test_outputs_that_cannot_be_published_are_named(output: Path) -> None:
    old = output / "old.txt"
    for folders, files, message in [
        ([old / "output"], [], f"^cannot write {old}/output: {old} is a file; give a folder$"),
        ([], [old / "report"], f"^cannot write {old}: {old} is a file; give a folder$"),
        ([], [output], f"^cannot write {output}: it is a folder, and a file is to be there; move it away, or give "),
        ([Path("/proc/output")], [], "^cannot write /proc/output: no file can be made in /proc; give another place$"),
    ]:
        with pytest.raises(UserError, match=message):
            require_publishable(folders=folders, files=files)
    assert contents(output.parent) == {"output/old.txt": "old"}


def test_what_may_not_be_written_is_named() -> None:
    if os.geteuid():
        pytest.skip("only root can make what is somebody else's")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "output").mkdir()
        for place, mode in {folder / "output": 0o777, folder: 0o755}.items():
            folder.chmod(mode)
            with (
                unprivileged(),
                pytest.raises(UserError, match=f"^no permission to write {place}; change its owner or"),
            ):
                require_publishable(folders=[folder / "model"], files=[place / "report"])
        folder.chmod(0o777)
        with unprivileged(), pytest.raises(UserError, match=f"^no permission to write {folder}/output; change its "):
            require_publishable(folders=[folder / "output"], files=[])


def test_what_cannot_be_reached_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "output"
        Path(name).chmod(0o600)
        for places in ({"folders": [output], "files": []}, {"folders": [], "files": [output]}):
            with unprivileged(), pytest.raises(UserError, match=f"^no permission to reach {output}; change its owner "):
                require_publishable(**places)
        Path(name).chmod(0o700)


def test_another_disk_that_is_full_is_not_taken_for_that_of_an_output(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    with pytest.raises(OSError, match="No space left") as raised, published_directory(tmp_path / "output"):
        Path("/dev/full").write_bytes(b"1")
    assert raised.value.filename is None


def test_a_full_disk_is_named_by_the_output(output: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(output)], check=False).returncode:
        pytest.skip("only root may mount a file system")
    try:
        with pytest.raises(OSError, match="No space left") as raised, published_directory(output / "model") as folder:
            (folder / "weights").write_bytes(bytes(100_000))
        assert raised.value.filename == str(output / "model")
    finally:
        subprocess.run(["umount", str(output)], check=True)


def test_a_folder_that_a_disk_is_mounted_on_cannot_be_replaced(output: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(output)], check=False).returncode:
        pytest.skip("only root may mount a file system")
    try:
        with pytest.raises(UserError, match=f"^cannot replace {output}: a disk is mounted there; give a folder in it$"):
            require_publishable(folders=[output], files=[])
        require_publishable(folders=[output / "model"], files=[output / "report"])
    finally:
        subprocess.run(["umount", str(output)], check=True)


def test_json_is_strict_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1.5, "a": "ü"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "b": 1.5\n}\n'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_without_finite_numbers_is_refused_and_the_old_file_stays(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": [number]})
    assert (tmp_path / "a.json").read_bytes() == before
    assert list(contents(tmp_path)) == ["a.json"]
