"""The registry on a command line, for people: list, show, verify, sign, fetch, promote, rollback, announce."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.command_lines import run_program
from components.failures import UserError
from components.formats.champion import CHAMPION
from components.formats.model_bundle import LINEAGE_FILE, MODEL_CARD_FILE, DamagedBundleError
from components.register.card_verdict import gate_verdict, markdown_with_verdict
from components.register.other_registries import announce, other_registry
from components.register.registry import ModelRegistry, model_names
from components.register.signatures import SignatureError, check_public_key, sign_bundle, verify_signature
from components.register.version_index import PREVIOUS, PROMOTED, Index, VersionRecord, promote, rollback

EVERY_VERSION = "all"
"""In place of a version, for ``announce``."""
_SHOWN_LEFTOVERS = 10

_EPILOG = """\
REGISTRY is what registry_uri was: gs://bucket/prefix or a local folder. VERSION is a version, its first digits, or an
alias: candidate, champion or previous. Aliases move by compare-and-swap, so any number of people and runs may move
them at once. Exit code 2 says that something is wrong with what you asked for, or with a bundle.
"""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for, and return the exit code: 0, 2 for wrong input, 75 for a passing trouble."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        for line in options.do(options):
            print(line)

    return run_program("register", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.register",
        description="Look into a registry of models, verify what lies in it, and say which version is the champion.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    registry = argparse.ArgumentParser(add_help=False)
    registry.add_argument("registry", metavar="REGISTRY")

    lists = commands.add_parser("list", parents=[registry], help="the models, or the versions of one")
    lists.add_argument("model", metavar="MODEL", nargs="?")
    lists.set_defaults(do=_list)

    shows = commands.add_parser("show", parents=[registry], help="what is known of a version")
    shows.add_argument("model", metavar="MODEL")
    shows.add_argument("version", metavar="VERSION", nargs="?", default=CHAMPION, help="default: champion")
    shows.add_argument("--card", action="store_true", help="print the model card, Markdown")
    shows.add_argument("--json", action="store_true", help="print index entry, manifest and lineage as JSON")
    shows.set_defaults(do=_show)

    verifies = commands.add_parser("verify", parents=[registry], help="check every byte against the manifest")
    verifies.add_argument("model", metavar="MODEL")
    verifies.add_argument("version", metavar="VERSION", nargs="?", help="default: every version")
    verifies.set_defaults(do=_verify)

    verifies.add_argument("--public-key", type=Path, metavar="PEM", help="and the signature, which must be by this key")

    signs = commands.add_parser("sign", parents=[registry], help="sign a version with a private key")
    signs.add_argument("model", metavar="MODEL")
    signs.add_argument("version", metavar="VERSION")
    signs.add_argument("--private-key", type=Path, metavar="PEM", required=True)
    signs.set_defaults(do=_sign)

    fetches = commands.add_parser("fetch", parents=[registry], help="copy a version here, verified")
    fetches.add_argument("model", metavar="MODEL")
    fetches.add_argument("version", metavar="VERSION")
    fetches.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder")
    fetches.set_defaults(do=_fetch)

    promotes = commands.add_parser("promote", parents=[registry], help="make a version the champion")
    promotes.add_argument("model", metavar="MODEL")
    promotes.add_argument("version", metavar="VERSION")
    promotes.add_argument("--even-rejected", action="store_true", help="take one that the gate rejected")
    promotes.set_defaults(do=_promote)

    announces = commands.add_parser(
        "announce",
        parents=[registry],
        help="bring another registry up to date: with a version, and who is the champion by now",
        description="Bring another registry up to date, as a run with other_registries does: after an alias was moved "
        f"by hand, or after a run that was stopped while it told. {EVERY_VERSION!r} leaves nothing out, and telling "
        "what is known already changes nothing.",
    )
    announces.add_argument("model", metavar="MODEL")
    announces.add_argument("version", metavar="VERSION", help=f"a version or an alias, or {EVERY_VERSION}")
    announces.add_argument(
        "target",
        metavar="TARGET",
        help="mlflow:http://host:port, kubeflow:http://host:port or vertex:project/region/serving-image",
    )
    announces.set_defaults(do=_announce)

    rolls = commands.add_parser("rollback", parents=[registry], help="make the previous champion the champion again")
    rolls.add_argument("model", metavar="MODEL")
    rolls.set_defaults(do=_rollback)
    return parser


def _list(options: argparse.Namespace) -> Iterator[str]:
    if options.model is None:
        names = model_names(options.registry)
        if not names:
            raise UserError(f"{options.registry} holds no model: give the registry_uri of a run")
        yield f"{'model':<24}{'versions':>9}  champion"
        damaged = []
        for name in names:
            try:
                index = ModelRegistry(options.registry, name).read_index()
            except UserError as error:
                # The other models are not less well for it.
                damaged.append(name)
                yield f"{name:<24}{'-':>9}  {error}"
            else:
                yield f"{name:<24}{len(index.versions):>9}  {index.aliases.get(CHAMPION, '-')}"
        if damaged:
            raise UserError(f"{len(damaged)} of {len(names)} models cannot be read: {', '.join(damaged)}")
        return
    _, index = _opened(options)
    yield f"{'version':<14}{'created':<27}{'accuracy':>8}  {'state':<10}aliases"
    for record in index.versions:
        aliases = ", ".join(index.aliases_of(record)) or "-"
        yield f"{record.version:<14}{record.created:<27}{record.accuracy:>8.4f}  {record.state:<10}{aliases}"


def _show(options: argparse.Namespace) -> Iterator[str]:
    registry, index = _opened(options)
    record = index.named(options.version)
    uri = registry.bundle_uri(record)
    if options.card:
        card = registry.read_file(record, MODEL_CARD_FILE).decode()
        yield markdown_with_verdict(card, gate_verdict(record, index.aliases_of(record))).rstrip("\n")
        return
    manifest = registry.manifest(record)
    lineage = json.loads(registry.read_file(record, LINEAGE_FILE))
    aliases = index.aliases_of(record)
    if options.json:
        known = json.loads(index.to_bytes())["versions"][index.versions.index(record)]
        files = json.loads(manifest.to_bytes())["files"]
        value = known | {"uri": uri, "aliases": aliases, "files": files, "lineage": lineage}
        yield json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        return
    size_mb = sum(file.size_bytes for file in manifest.files) / 1e6
    rows = {
        "version": f"{options.model} {record.version}",
        "aliases": ", ".join(aliases) or "-",
        "state": f"{record.state}, though the gate said no" if record.state == PROMOTED else record.state,
        "gate": record.gate_reason,
        "accuracy": _accuracy(record),
        "created": record.created,
        "run": record.run,
        "source": str(lineage.get("source", "-")),
        "dataset": record.dataset_digest,
        "place": uri,
        "files": f"{len(manifest.files)}, {size_mb:.1f} MB",
    }
    if record.accepted and not record.promoted:
        rows["promote"] = registry.promotion(record)
    for name, value in rows.items():
        yield f"{name:<10}{value}"
    for file in manifest.files:
        yield f"  {file.sha256[:16]}  {file.size_bytes:>12,}  {file.path}"


def _verify(options: argparse.Namespace) -> Iterator[str]:
    registry, index = _opened(options)
    records = index.versions if options.version is None else (index.named(options.version),)
    if options.public_key is not None:
        check_public_key(options.public_key)
    verdicts: Counter[str] = Counter()
    for record in records:
        try:
            manifest = registry.verify(record)
            if options.public_key is not None:
                verify_signature(registry.bundle_uri(record), options.public_key)
        except DamagedBundleError as error:
            verdict, why = "DAMAGED", str(error)
        except SignatureError as error:
            verdict, why = error.verdict, str(error)
        else:
            verdict, why = "OK", f"{len(manifest.files)} files"
        verdicts[verdict] += 1
        yield f"{verdict:<11}{record.version}  {why}"
    if options.version is None and (left := registry.half_written()):
        size_mb = sum(file.size_bytes for file in left) / 1e6
        files = "1 file" if len(left) == 1 else f"{len(left)} files"
        yield f"{'NOTE':<11}{files}, {size_mb:.1f} MB, which killed writers left half-written and nobody reads:"
        yield from (f"{'':<11}{file.uri}" for file in left[:_SHOWN_LEFTOVERS])
        if len(left) > _SHOWN_LEFTOVERS:
            yield f"{'':<11}and {len(left) - _SHOWN_LEFTOVERS} more"
        yield f"{'':<11}registering the next version of {options.model} deletes them"
    wrong = [f"{number} {verdict.lower()}" for verdict, number in verdicts.items() if verdict != "OK"]
    if wrong:
        many = f"{len(records) - verdicts['OK']} of {len(records)} versions of {options.model}"
        raise UserError(f"{many} do not verify: {', '.join(wrong)}")


def _sign(options: argparse.Namespace) -> Iterator[str]:
    registry, index = _opened(options)
    record = index.named(options.version)
    registry.verify(record)
    yield sign_bundle(registry.bundle_uri(record), options.private_key)


def _fetch(options: argparse.Namespace) -> Iterator[str]:
    registry, index = _opened(options)
    record = index.named(options.version)
    manifest = registry.fetch(record, options.folder)
    yield f"{options.folder}: {options.model} {record.version}, {len(manifest.files)} files, every byte as registered"


def _promote(options: argparse.Namespace) -> Iterator[str]:
    registry, index = _opened(options)
    # Nobody should serve what does not verify.
    registry.verify(index.named(options.version))
    version = index.named(options.version).version
    yield _aliases(registry.change(lambda found: promote(found, version, even_rejected=options.even_rejected)))


def _rollback(options: argparse.Namespace) -> Iterator[str]:
    registry, index = _opened(options)
    expected = dict(index.aliases)
    registry.verify(index.named(rollback(index).aliases[CHAMPION]))

    def rolled_back(found: Index) -> Index:
        if dict(found.aliases) != expected:
            # Rolling back what somebody else has just rolled back would undo it.
            raise UserError("somebody else moved the aliases meanwhile: look at them with list, and decide again")
        return rollback(found)

    before, now = expected[CHAMPION], registry.change(rolled_back)
    yield f"champion {before} -> {now.aliases[CHAMPION]}; another rollback would bring {now.aliases[PREVIOUS]} back"
    yield _aliases(now)


def _announce(options: argparse.Namespace) -> Iterator[str]:
    other = other_registry(options.target)
    registry, index = _opened(options)
    every = options.version == EVERY_VERSION
    versions = [record.version for record in (index.versions if every else [index.named(options.version)])]
    names = announce(other, registry, versions)
    yield from (names[version] for version in versions)


def _opened(options: argparse.Namespace) -> tuple[ModelRegistry, Index]:
    registry = ModelRegistry(options.registry, options.model)
    index = registry.read_index()
    if not index.versions:
        raise UserError(f"{options.registry} holds no model {options.model!r}: see which there are with list")
    return registry, index


def _aliases(index: Index) -> str:
    return ", ".join(f"{alias} {version}" for alias, version in sorted(index.aliases.items()))


def _accuracy(record: VersionRecord) -> str:
    if record.accuracy_low is None or record.accuracy_high is None:
        return f"{record.accuracy:.4f}"
    return f"{record.accuracy:.4f} (95 % interval {record.accuracy_low:.4f} to {record.accuracy_high:.4f})"
