"""A signature says whose model it is, and that no byte changed since."""

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from components.failures import UserError
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
    assert main([*verify, str(public)]) == 2
    assert "is not signed" in capsys.readouterr().out
    assert main(["sign", registry, "trees", "champion", "--private-key", str(private)]) == 0
    assert main([*verify, str(public)]) == 0
    assert main([*verify, str(others)]) == 2
    assert "is not valid for" in capsys.readouterr().out
    assert main(["sign", registry, "trees", "champion", "--private-key", str(private)]) == 2
    assert main(["verify", registry, "trees"]) == 0, "the signature is no stray file of the bundle"
    # Whoever can write everything can rewrite a file and the manifest, but not sign that.
    labels = Path(registration.uri) / "packages.txt"
    labels.write_bytes(labels.read_bytes() + b"evil==1.0\n")
    with pytest.raises(UserError, match="packages.txt differs"):
        signatures.verify_signature(registration.uri, public)


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
