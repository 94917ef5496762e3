"""Containers on this machine may do as little as on a cluster: no root, no capabilities, read-only file systems."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kfp import local

from components.failures import UserError
from components.images import IMAGE_USER


def docker_runner(
    pipeline_root: Path,
    writable: Iterable[Path],
    readable: Iterable[Path],
    network: str,
    environment: Mapping[str, str],
) -> local.DockerRunner:
    """Return a runner for one strict container per step.

    A container runs as whoever calls this, or as the images' own user where that is root. It sees its image, a /tmp of
    its own, and the given paths, each where it is on this machine.

    Args:
        pipeline_root: Folder of the steps' outputs, which kfp mounts; made when missing.
        writable: Folders that steps write to; made when missing.
        readable: Files and folders that steps only read.
        network: Network mode, ``none``, ``bridge`` or ``host``.
        environment: Variables of the containers.

    Raises:
        UserError: When the docker daemon does not answer, or a folder belongs to someone else.
    """
    import docker  # noqa: PLC0415 - only for this runner

    try:
        docker.from_env().close()
    except (docker.errors.DockerException, OSError) as error:
        raise UserError(f"the docker daemon does not answer ({error}); start docker, or use --run local") from error
    writable = list(writable)
    for folder in (pipeline_root, *writable):
        _make_writable(folder)
    mounts = [docker.types.Mount(str(path), str(path), type="bind") for path in writable]
    mounts += [docker.types.Mount(str(path), str(path), type="bind", read_only=True) for path in readable]
    # A volume without a name goes with its container. Like a pod's it lies on disk: a source that is downloaded to
    # /tmp can be larger than the memory.
    mounts.append(docker.types.Mount("/tmp", None, type="volume"))  # noqa: S108 - in the container
    user, group = _container_user()
    return local.DockerRunner(
        environment=dict(environment),
        mounts=mounts,
        network_mode=network,
        user=f"{user}:{group}",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )


def image_name(image: str) -> str:
    """Return what to call an image of this machine: by the digest it was pulled by, or by the identifier of its bytes.

    It is the plain reference where docker does not know the image, or does not answer.
    """
    import docker  # noqa: PLC0415 - only for this runner

    try:
        client = docker.from_env()
        try:
            known = client.images.get(image).attrs
        finally:
            client.close()
    except (docker.errors.DockerException, OSError):
        return image
    own = f"{image.rpartition(':')[0]}@"
    # One that was pushed to other registries has digests there, too.
    pulled = (digest for digest in known.get("RepoDigests") or () if digest.startswith(own))
    return next(pulled, f"{image} (image {known['Id']})")


def _container_user() -> tuple[int, int]:
    return (os.getuid(), os.getgid()) if os.getuid() else (IMAGE_USER, IMAGE_USER)


def _make_writable(folder: Path) -> None:
    # What docker finds missing it makes itself, for root.
    folder.mkdir(parents=True, exist_ok=True)
    user, group = _container_user()
    if os.getuid() or folder.stat().st_uid == user:
        return
    if any(folder.iterdir()):
        raise UserError(
            f"containers run as user {user}, who cannot write to {folder}; "
            f"give it away with: chown -R {user}:{group} {folder}"
        )
    os.chown(folder, user, group)
