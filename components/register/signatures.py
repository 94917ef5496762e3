"""Signatures of bundles with a key pair, by ``model-signing`` of the OpenSSF: who says that this is their model.

The signature lies beside the bundle's folder and not in it, for a bundle never changes: ``<bundle>.sig``, a Sigstore
bundle over the SHA-256 of every file. ``model_signing verify key`` verifies it too, on a fetched copy.
"""

import tempfile
from pathlib import Path

from components import storage
from components.failures import UserError
from components.formats.model_bundle import fetch_bundle

_EXTRA = "signatures need the extra signing: pip install 'image-classification-components[signing]'"


def sign_bundle(uri: str, private_key: Path) -> str:
    """Sign a bundle, every byte of it verified first; return where the signature lies.

    Args:
        uri: Of the bundle.
        private_key: Elliptic curve key, PEM.

    Raises:
        UserError: When the bundle is damaged, is signed already, or the key is none.
        TransientError: When Cloud Storage does not answer.
    """
    try:
        from model_signing import signing  # noqa: PLC0415
    except ImportError as error:
        raise UserError(_EXTRA) from error
    with tempfile.TemporaryDirectory(prefix="signing-") as folder:
        fetch_bundle(uri, Path(folder) / "bundle")
        signature = Path(folder) / "signature"
        try:
            signing.Config().use_elliptic_key_signer(private_key=private_key).sign(Path(folder) / "bundle", signature)
        except (ValueError, TypeError, OSError) as error:
            raise UserError(f"{private_key} cannot sign: {error}; give an elliptic curve key in PEM") from error
        place = signature_uri(uri)
        if not storage.write_if_absent(place, signature):
            raise UserError(f"{place} exists: the version is signed already")
    return place


def verify_signature(uri: str, public_key: Path) -> None:
    """Check that whoever has the private key to a public key signed exactly this bundle.

    Args:
        uri: Of the bundle.
        public_key: Elliptic curve key, PEM.

    Raises:
        UserError: When it is unsigned, was signed by somebody else, or changed since.
        TransientError: When Cloud Storage does not answer.
    """
    try:
        from model_signing import verifying  # noqa: PLC0415
    except ImportError as error:
        raise UserError(_EXTRA) from error
    if storage.stat_file(signature_uri(uri)) is None:
        raise UserError(f"{uri} is not signed: there is no {signature_uri(uri)}")
    with (
        tempfile.TemporaryDirectory(prefix="verifying-") as folder,
        storage.localized(signature_uri(uri)) as signature,
    ):
        fetch_bundle(uri, Path(folder) / "bundle")
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(
                Path(folder) / "bundle", signature
            )
        except Exception as error:
            # The library raises what its own libraries raise, of many kinds; none of them is a valid signature.
            raise UserError(f"the signature of {uri} is not valid for {public_key}: {error}") from error


def signature_uri(uri: str) -> str:
    """Return where a bundle's signature lies, or would lie."""
    return f"{uri}.sig"
