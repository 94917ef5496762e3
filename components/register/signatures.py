"""Signatures of bundles with a key pair, by ``model-signing`` of the OpenSSF: who says that this is their model.

The signature lies beside the bundle's folder and not in it, for a bundle never changes: ``<bundle>.sig``, a Sigstore
bundle over the SHA-256 of every file. ``model_signing verify key`` verifies it too, on a fetched copy.
"""

import tempfile
from pathlib import Path

from components import storage
from components.failures import UserError
from components.formats.model_bundle import fetch_bundle

_KEY_MISMATCH = "Key mismatch"  # how the library begins to say so

_EXTRA = "signatures need the extra signing: pip install 'image-classification-components[signing]'"


class SignatureError(UserError):
    """A bundle is whole, but not signed as it should be.

    Args:
        verdict: In a word or two: ``UNSIGNED``, ``WRONG KEY`` or ``NOT VALID``.
        message: What is wrong.
    """

    def __init__(self, verdict: str, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict


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


def check_public_key(public_key: Path) -> None:
    """Check that a file holds a key that signatures can be verified with.

    Raises:
        UserError: When it does not.
    """
    try:
        from model_signing import verifying  # noqa: PLC0415
    except ImportError as error:
        raise UserError(_EXTRA) from error
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition(". See")[0]
        raise UserError(
            f"{public_key} is no public key to verify with: {reason}; give an elliptic curve key in PEM"
        ) from error


def verify_signature(uri: str, public_key: Path) -> None:
    """Check that whoever has the private key to a public key signed exactly this bundle.

    Args:
        uri: Of the bundle.
        public_key: Elliptic curve key, PEM.

    Raises:
        SignatureError: When it is unsigned, was signed with another key, or changed since.
        UserError: When the key is none, or the bundle is damaged.
        TransientError: When Cloud Storage does not answer.
    """
    check_public_key(public_key)
    from model_signing import verifying  # noqa: PLC0415

    if storage.stat_file(signature_uri(uri)) is None:
        raise SignatureError("UNSIGNED", f"{uri} is not signed: there is no {signature_uri(uri)}")
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
            if str(error).startswith(_KEY_MISMATCH):
                raise SignatureError("WRONG KEY", f"{uri} is signed with another key than {public_key}") from error
            reason = str(error) or type(error).__name__
            raise SignatureError("NOT VALID", f"the signature of {uri} is not one of {public_key}: {reason}") from error


def signature_uri(uri: str) -> str:
    """Return where a bundle's signature lies, or would lie."""
    return f"{uri}.sig"
