"""A signature says whose model it is, and that no byte changed since."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from components.failures import UserError
from components.formats.model_bundle import describe_files, read_manifest
from components.register import signatures
from components.register.command_line import main
from tests.register.conftest import Register


def write_keys(directory: Path, name: str) -> tuple[Path, Path]:
    """Return a new private key and its public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_sign_and_verify(register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registration = register()
    registry = str(tmp_path / "registry")
    private, public = write_keys(tmp_path, "ours")
    _, others = write_keys(tmp_path, "theirs")
    verify = ["verify", registry, "trees", "champion", "--public-key"]
    capsys.readouterr()
    assert main([*verify, str(public)]) == 2
    told = capsys.readouterr()
    assert told.out.startswith(f"UNSIGNED   {registration.version}  ")
    assert "1 of 1 versions of trees do not verify: 1 unsigned" in told.err
    assert main(["sign", registry, "trees", "champion", "--private-key", str(private)]) == 0
    assert main([*verify, str(public)]) == 0
    capsys.readouterr()
    assert main([*verify, str(others)]) == 2
    told = capsys.readouterr()
    assert told.out.startswith(f"WRONG KEY  {registration.version}  ")
    assert "DAMAGED" not in told.out
    assert "1 of 1 versions of trees do not verify: 1 wrong key" in told.err
    assert main(["sign", registry, "trees", "champion", "--private-key", str(private)]) == 2
    assert main(["verify", registry, "trees"]) == 0, "the signature is no stray file of the bundle"
    # Whoever can write everything can rewrite a file and the manifest, but not sign that.
    labels = Path(registration.uri) / "packages.txt"
    labels.write_bytes(labels.read_bytes() + b"evil==1.0\n")
    with pytest.raises(UserError, match="packages.txt differs"):
        signatures.verify_signature(registration.uri, public)
    capsys.readouterr()
    assert main([*verify, str(public)]) == 2
    assert capsys.readouterr().out.startswith("DAMAGED    ")
    manifest = read_manifest(registration.uri)
    assert manifest is not None
    files = [
        dataclasses.replace(file, **_described(labels)) if file.path == labels.name else file for file in manifest.files
    ]
    (Path(registration.uri) / "manifest.json").write_bytes(dataclasses.replace(manifest, files=files).to_bytes())
    with pytest.raises(signatures.SignatureError, match="Signature mismatch") as raised:
        signatures.verify_signature(registration.uri, public)
    assert raised.value.verdict == "NOT VALID"


def _described(file: Path) -> dict[str, Any]:
    (found,) = describe_files({file.name: file})
    return {"size_bytes": found.size_bytes, "sha256": found.sha256}


@pytest.mark.parametrize("key", ["missing.pub", "none.pub", "ours.pem", "."])
def test_a_key_to_verify_with_that_is_none(
    register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    register()
    write_keys(tmp_path, "ours")
    (tmp_path / "none.pub").write_text("none")
    assert main(["verify", str(tmp_path / "registry"), "trees", "--public-key", str(tmp_path / key)]) == 2
    told = capsys.readouterr()
    assert "is no public key to verify with: " in told.err
    assert "DAMAGED" not in told.out, "nothing is wrong with the version"


def test_no_key(register: Register, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("none")
    with pytest.raises(UserError, match="cannot sign"):
        signatures.sign_bundle(register().uri, tmp_path / "key")


def test_without_the_library_the_extra_is_named(
    register: Register, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UserError, match=r"signatures need the extra signing: pip install"):
        signatures.sign_bundle(register().uri, tmp_path / "key")
