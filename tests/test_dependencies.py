"""The direction of dependencies: pipeline.py -> component.py -> a step's logic -> contracts. Read from the source."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.audit import finished_chunks

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "components"
STEPS = (
    "ingest", "audit", "audit_embeddings", "clean", "split", "train_frozen", "fine_tune", "evaluate", "register",
)  # fmt: skip
MODULE_NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
WITH_CLASSIFIER = ("audit_embeddings", "train_frozen", "fine_tune")
WITHOUT_TENSORFLOW = ("ingest", "audit", "clean", "split", "register")
TENSORFLOW = {"tensorflow", "keras"}
SHARED = {
    "failures",
    "publishing",
    "images",
    "storage",
    "termination",
    "ordered_work",
    "command_lines",
    "memory",
    "image_progress",
    "formats",
    "report",
    "copies",
    "label_errors",
}


def imports_of(path: Path) -> set[str]:
    """Return every module a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))]


def top(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def own(names: set[str]) -> set[str]:
    """Return the second component of our own imports: ``storage`` of ``components.storage``."""
    return {name.split(".")[1] for name in names if name.startswith("components.")} - {"__version__"}


def test_every_step_is_there() -> None:
    assert [step for step in STEPS if not (PACKAGE / step / "component.py").is_file()] == []


@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_no_other_step(step: str) -> None:
    for path in modules(step):
        assert not (own(imports_of(path)) & (set(STEPS) - {step})), path


@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_only_itself_and_contracts(step: str) -> None:
    allowed = SHARED | {step} | ({"classifier"} if step in WITH_CLASSIFIER else set())
    for path in modules(step):
        assert own(imports_of(path)) <= allowed, path


def test_only_shells_and_launching_import_kfp() -> None:
    for path in modules("."):
        if path.name != "component.py" and "launch" not in path.parts:
            assert "kfp" not in top(imports_of(path)), path


def test_only_storage_knows_google_cloud() -> None:
    for path in modules(*STEPS, "formats", "report", "copies", "label_errors", "classifier"):
        assert "google" not in top(imports_of(path)), path


@pytest.mark.parametrize("folder", ["formats", "report", "copies", "label_errors", "classifier"])
def test_contracts_import_no_step(folder: str) -> None:
    for path in modules(folder):
        assert not (own(imports_of(path)) & (set(STEPS) | {"launch"})), path


def test_nothing_imports_launching_but_itself_and_the_pipeline() -> None:
    for path in modules("."):
        if "launch" not in path.parts:
            assert "launch" not in own(imports_of(path)), path


@pytest.mark.parametrize("step", WITHOUT_TENSORFLOW)
def test_data_steps_run_without_tensorflow(step: str) -> None:
    """Import everything of the step in a fresh interpreter and look at what was loaded."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules(step)]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    program = f"import sys\nfor name in {names!r}: __import__(name)\nprint(sorted({TENSORFLOW!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_pipeline_starts_without_tensorflow_and_reads_no_environment() -> None:
    program = f"import sys, pipeline\nprint(sorted({TENSORFLOW!r} & set(sys.modules)))"
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert result.stdout.strip() == "[]"


def test_chunks_of_measurements_are_known_by_all_the_code_that_measures() -> None:
    reached, waiting = set(), {"components.audit.measured_chunk", "components.audit.measurements"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        path = ROOT / f"{name.replace('.', '/')}.py"
        waiting |= {one for one in imports_of(path) if one.startswith("components.")} & MODULE_NAMES - reached
    assert reached == set(finished_chunks._MODULES)
