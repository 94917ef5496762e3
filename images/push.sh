#!/usr/bin/env bash
# Push images that `make images` built, and print how to name exactly these bytes when compiling or submitting.
#
#     images/push.sh REGISTRY VERSION IMAGE...
set -euo pipefail
registry=${1%/}
version=$2
shift 2
options=""

for image in "$@"; do
  name="image-classification-$image"
  docker image inspect "$name:$version" >/dev/null 2>&1 || {
    echo "there is no image $name:$version; build it with: make images" >&2
    exit 2
  }
  docker tag "$name:$version" "$registry/$name:$version"
  docker push --quiet "$registry/$name:$version"
  # One image can have a digest in each of several registries.
  reference=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$registry/$name:$version" |
    grep --fixed-strings "$registry/$name@")
  options+=" --image-digest $image=${reference#*@}"
done
echo
echo "Pin these images: --image-registry $registry$options"
