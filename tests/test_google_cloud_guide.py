"""docs/google-cloud.md says what exists: commands, flags, files and names. Nothing here talks to Google Cloud."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from components.launch.command_line import command_line_parser

REPOSITORY = Path(__file__).parents[1]
GUIDE = REPOSITORY / "docs" / "google-cloud.md"
LIFECYCLE = REPOSITORY / "manifests" / "bucket-lifecycle.json"
PIPELINE_ROOT = "pipelines/"

# Cloud Storage JSON API, "Buckets: lifecycle".
LIFECYCLE_ACTIONS = {"Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"}
LIFECYCLE_CONDITIONS: Mapping[str, type] = {
    "age": int, "createdBefore": str, "customTimeBefore": str, "daysSinceCustomTime": int,
    "daysSinceNoncurrentTime": int, "isLive": bool, "matchesPrefix": list, "matchesStorageClass": list,
    "matchesSuffix": list, "noncurrentTimeBefore": str, "numNewerVersions": int,
}  # fmt: skip
# Uploads in parts have no live object yet: only these conditions apply to them.
UPLOAD_CONDITIONS = {"age", "matchesPrefix", "matchesSuffix"}
# Each of these is true of noncurrent versions alone.
NONCURRENT = {"daysSinceNoncurrentTime", "noncurrentTimeBefore"}


def script() -> str:
    """Return the guide's commands, in order."""
    return "\n".join(re.findall(r"^```bash\n(.*?)^```$", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL))


def commands() -> list[list[str]]:
    """Return every simple command as words: arrays are filled in, other variables stay as they stand."""
    arrays = {
        f"${{{name}[@]}}": shlex.split(words)
        for name, words in re.findall(r"^([A-Z_]+)=\(([^)]*)\)", script(), flags=re.MULTILINE)
    }
    found: list[list[str]] = []
    for line in script().replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        found.append([])
        for word in lexer:
            if set(word) <= set("|&;"):
                found.append([])
            elif word not in ("do", "done", "then", "fi"):
                found[-1] += arrays.get(word, [word])
    return [command for command in found if command]


def commands_of(*program: str) -> list[list[str]]:
    """Return what follows ``program`` in each of its commands, also inside ``$(...)``."""
    inner = [shlex.split(text) for text in re.findall(r"\$\(([^()]*)\)", script().replace("\\\n", " "))]
    size = len(program)
    return [command[size:] for command in commands() + inner if tuple(command[:size]) == program]


def flag_names(words: list[str]) -> list[str]:
    """Return the long options among the words, without values."""
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def test_the_script_is_bash() -> None:
    checked = subprocess.run(["bash", "-n"], input=script(), text=True, capture_output=True, check=False)

    assert checked.stderr == ""
    assert len(commands()) > 40


def test_every_variable_is_set_before_it_is_used() -> None:
    known = {"PATH", "HOME"}
    for line in script().replace("\\\n", " ").splitlines():
        # Of one line, as in: for BUCKET in ...; export A=... B=$A/...
        known |= set(re.findall(r"\b([A-Z][A-Z_]*)\+?=", line)) | set(re.findall(r"\bfor ([A-Z_]+) in", line))
        unknown = set(re.findall(r"\$\{?([A-Z][A-Z_]*)", line)) - known

        assert not unknown, line


def test_the_pipeline_takes_every_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands_of("python", "pipeline.py")

    assert {line[0] for line in lines} == {"--doctor", "--submit"}
    for line in lines:
        try:
            command_line_parser().parse_args(line)
        except SystemExit:
            pytest.fail(f"{shlex.join(line)}: {capsys.readouterr().err.splitlines()[-1]}")


def test_parameters_of_the_run_exist() -> None:
    table = subprocess.run(
        [sys.executable, "pipeline.py", "--parameters"], cwd=REPOSITORY, text=True, capture_output=True, check=True
    ).stdout
    names = re.findall(r"--set (\w+)=", GUIDE.read_text())

    assert names
    assert {f"| `{name}` |" for name in names} <= set(re.findall(r"^\| `\w+` \|", table, flags=re.MULTILINE))


def test_targets_of_make_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for words in commands_of("make"):
        assert words[0] in targets
        for setting in words[1:]:
            assert f"$({setting.partition('=')[0]})" in makefile


def test_files_exist() -> None:
    paths = re.findall(r"(?<![\w/])(?:manifests|docs|samples|components)/[\w./-]*\w", GUIDE.read_text())
    links = re.findall(r"\]\((?!http)([^)#]+)", GUIDE.read_text())

    assert paths
    for path in paths:
        assert (REPOSITORY / path).exists(), path
    for link in links:
        assert (GUIDE.parent / link).exists(), link


def test_pipelines_version_is_the_one_we_compile_for() -> None:
    (pinned,) = re.findall(r'"kfp==([\d.]+)"', (REPOSITORY / "pyproject.toml").read_text())

    assert re.findall(r"\bKFP_VERSION=(\S+)", script()) == [pinned]


def built(folder: str) -> list[dict[str, Any]]:
    """Return the objects that ``kubectl apply -k`` sends to the cluster."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    text = subprocess.run(
        ["kubectl", "kustomize", f"manifests/{folder}"], cwd=REPOSITORY, text=True, capture_output=True, check=True
    ).stdout
    return list(yaml.safe_load_all(text))


def test_workload_identity_binds_the_accounts_of_the_manifests() -> None:
    expected = {
        f"{account['namespace']}/{account['name']}": account["annotations"]["iam.gke.io/gcp-service-account"].partition(
            "@"
        )[0]
        for folder in ("overlays/standalone-gke", "overlays/gke")
        for account in (found["metadata"] for found in built(folder) if found["kind"] == "ServiceAccount")
    }
    google_names = dict(re.findall(r"\b([A-Z]+)=([a-z-]+)@\$PROJECT\.iam", script()))
    bound = {
        account: google_names[words[0].removeprefix("$")]
        for words in commands_of("gcloud", "iam", "service-accounts", "add-iam-policy-binding")
        for account in re.findall(r"svc\.id\.goog\[([^\]]+)\]", " ".join(words))
    }

    assert len(bound) == 2
    assert bound.items() <= expected.items()


def test_runs_and_model_server_use_accounts_that_are_bound() -> None:
    words = shlex.split(" ".join(re.findall(r"^ON_KUBEFLOW=\(([^)]*)\)", script(), flags=re.MULTILINE)))
    options = dict(zip(words[::2], words[1::2], strict=True))
    serving = REPOSITORY / "manifests" / "serving"
    namespace = yaml.safe_load((serving / "kustomization.yaml").read_text())["namespace"]
    service = yaml.safe_load((serving / "inference-service.yaml").read_text())

    assert f"[{options['--namespace']}/{options['--service-account']}]" in script()
    assert f"[{namespace}/{service['spec']['predictor']['serviceAccountName']}]" in script()


def test_in_kubeflows_namespace_only_our_pods_are_closed_in() -> None:
    ours = {"app.kubernetes.io/part-of": "image-classification"}
    objects = built("overlays/standalone-gke")
    policies = [found for found in objects if found["kind"] == "NetworkPolicy"]
    closing = [found["spec"]["podSelector"] for found in policies if found["metadata"]["name"] == "deny-by-default"]

    assert closing == [{"matchLabels": ours}]
    assert not {"Namespace", "ResourceQuota", "LimitRange"} & {found["kind"] for found in objects}
    for found in objects:
        of_the_cluster = found["kind"] in ("ClusterQueue", "ResourceFlavor", "PriorityClass")
        assert found["metadata"].get("namespace") == (None if of_the_cluster else "kubeflow")


def test_roles_in_the_tables_are_granted() -> None:
    granted = {
        word.partition("=")[2] for words in commands_of("gcloud") for word in words if word.startswith("--role=")
    }
    named = {
        role
        for line in GUIDE.read_text().splitlines()
        if line.startswith("|")
        for role in re.findall(r"roles/[\w.]+", line)
    }

    assert named <= granted


@pytest.fixture(scope="module")
def gcloud_commands() -> Mapping[str, Any]:
    """gcloud's own tree of commands and flags, made for the completion of a shell: reading it takes under a second."""
    gcloud = shutil.which("gcloud")
    tree = Path(gcloud or "").resolve().parents[1] / "data" / "cli" / "gcloud_completions.py" if gcloud else None
    if tree is None or not tree.is_file():
        pytest.skip("gcloud, or its table of commands, is not installed")
    return cast(Mapping[str, Any], runpy.run_path(str(tree))["STATIC_COMPLETION_CLI_TREE"])


def test_gcloud_knows_every_command_and_flag(gcloud_commands: Mapping[str, Any]) -> None:
    problems = [problem for words in commands_of("gcloud") for problem in _unknown(words, gcloud_commands)]

    assert commands_of("gcloud")
    assert problems == []


def test_gcloud_check_finds_what_is_wrong(gcloud_commands: Mapping[str, Any]) -> None:
    """The check above would otherwise pass by knowing nothing."""
    wrong = {
        "storage buckets make gs://b": "'make' is not a command of gcloud storage buckets",
        "storage buckets update gs://b --lifecycle=x": "gcloud storage buckets update has no --lifecycle",
        "storage rm gs://b --if-generation-match": "gcloud storage rm --if-generation-match needs a value",
        "container node-pools create p --spot=yes": "gcloud container node-pools create --spot takes no value",
        "container node-pools create p --location-policy=SOME": "--location-policy=SOME is none of ANY, BALANCED",
    }
    for line, problem in wrong.items():
        assert list(_unknown(line.split(), gcloud_commands)) == [problem]


def _unknown(words: list[str], tree: Mapping[str, Any]) -> Iterator[str]:
    node, path, rest = tree, "gcloud", list(words)
    while node.get("commands"):
        if not rest or rest[0] not in node["commands"]:
            yield f"{rest[0] if rest else 'nothing'!r} is not a command of {path}"
            return
        path, node = f"{path} {rest[0]}", node["commands"][rest.pop(0)]
    flags = tree["flags"] | node["flags"]
    for word in rest:
        if not word.startswith("--"):
            continue
        flag, equals, value = word.partition("=")
        positive = flag.replace("--no-", "--", 1)
        values = flags.get(flag, "bool" if flags.get(positive) == "bool" else None)
        if values is None:
            yield f"{path} has no {flag}"
        elif values == "bool" and equals:
            yield f"{path} {flag} takes no value"
        elif values != "bool" and not equals:
            yield f"{path} {flag} needs a value"
        elif isinstance(values, list) and "$" not in value and value not in values:
            yield f"{word} is none of {', '.join(values)}"


@pytest.fixture
def rules() -> list[dict[str, Any]]:
    """The bucket's lifecycle rules."""
    content = json.loads(LIFECYCLE.read_text())
    assert list(content) == ["rule"]
    return cast(list[dict[str, Any]], content["rule"])


def test_lifecycle_uses_documented_fields(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        assert set(rule) == {"action", "condition"}
        assert rule["action"]["type"] in LIFECYCLE_ACTIONS
        assert set(rule["action"]) <= {"type", "storageClass"}
        assert rule["condition"]
        for name, value in rule["condition"].items():
            assert type(value) is LIFECYCLE_CONDITIONS[name], name
        if rule["action"]["type"] == "AbortIncompleteMultipartUpload":
            assert set(rule["condition"]) <= UPLOAD_CONDITIONS


def test_lifecycle_spares_live_objects_that_a_cache_points_to(rules: list[dict[str, Any]]) -> None:
    """Kubeflow's cache never expires, so an output under the pipeline root may be wanted at any age."""
    deleting = [rule["condition"] for rule in rules if rule["action"]["type"] == "Delete"]

    assert f"--pipeline-root gs://$RUNS/{PIPELINE_ROOT.rstrip('/')}\n" in script()
    assert deleting
    assert not [condition for condition in deleting if _reaches_live_outputs(condition)]


def test_lifecycle_is_for_the_bucket_of_runs_alone() -> None:
    """Photos may lie in a folder by any name, and models are kept."""
    updates = commands_of("gcloud", "storage", "buckets", "update") + commands_of(
        "gcloud", "storage", "buckets", "create"
    )

    assert [words for words in updates if "--lifecycle-file" in flag_names(words)] == [
        ["gs://$RUNS", f"--lifecycle-file={LIFECYCLE.relative_to(REPOSITORY)}"]
    ]


@pytest.mark.parametrize(
    ("condition", "reaches"),
    [
        ({"age": 30}, True),
        ({"age": 30, "matchesPrefix": ["scratch/"]}, False),
        ({"age": 30, "matchesPrefix": ["scratch/", "pipelines/image-classification/"]}, True),
        ({"age": 30, "matchesPrefix": ["pipe"]}, True),
        ({"age": 30, "isLive": False}, False),
        ({"daysSinceNoncurrentTime": 0}, False),
        ({"numNewerVersions": 1}, False),
        ({"numNewerVersions": 0}, True),
        ({"age": 30, "isLive": True}, True),
    ],
)
def test_what_reaches_live_outputs(condition: dict[str, Any], *, reaches: bool) -> None:
    assert _reaches_live_outputs(condition) == reaches


def _reaches_live_outputs(condition: Mapping[str, Any]) -> bool:
    if condition.get("isLive") is False or NONCURRENT & set(condition) or condition.get("numNewerVersions", 0) > 0:
        return False
    prefixes = condition.get("matchesPrefix", [""])
    return any(prefix.startswith(PIPELINE_ROOT) or PIPELINE_ROOT.startswith(prefix) for prefix in prefixes)
