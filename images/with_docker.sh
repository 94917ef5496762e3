#!/usr/bin/env bash
# Run a command with a docker daemon and a base image at hand, on a machine that may have neither.
#
#     images/with_docker.sh BASE_IMAGE COMMAND...
#
# A base image named debian-python:SUITE is made from Debian's own packages, so no image registry is needed; any other
# is left to docker to pull. A daemon that this script starts ends with it. As root on Debian or Ubuntu the script
# installs what is missing; elsewhere it says what to do and exits with 2.
set -euo pipefail
base_image=$1
shift
packages="ca-certificates,python3,python3-venv"
scratch=$(mktemp -d)
daemon=""

finish() {
  if [ -n "$daemon" ]; then
    kill "$daemon" && wait "$daemon" || true
  fi
  rm -rf --one-file-system "$scratch"
}
trap finish EXIT

refuse() {
  echo "with_docker: error: $*" >&2
  exit 2
}

need() { # PROGRAM PACKAGES...: the program is there, or the packages that bring it can be installed
  local program=$1
  shift
  command -v "$program" >/dev/null && return
  [ "$(id -u)" = 0 ] || refuse "$program is missing and only root can install it; run as root, or install: $*"
  command -v apt-get >/dev/null || refuse "$program is missing and there is no apt-get; install by hand: $*"
  echo "with_docker: installing $*"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$scratch/apt.log" 2>&1 || {
    tail -n 20 "$scratch/apt.log" >&2
    refuse "apt-get could not install $*"
  }
}

answers() { docker info >/dev/null 2>&1; }

need docker docker.io iptables
if ! answers; then
  [ "$(id -u)" = 0 ] || refuse "no docker daemon answers $(id -un); start it, or join its group, or run as root"
  need dockerd docker.io iptables
  echo "with_docker: starting dockerd"
  dockerd >"$scratch/dockerd.log" 2>&1 &
  daemon=$!
  for _ in $(seq 60); do
    answers && break
    kill -0 "$daemon" 2>/dev/null || break
    sleep 1
  done
  answers || {
    tail -n 20 "$scratch/dockerd.log" >&2
    refuse "dockerd does not start on this machine"
  }
fi

suite=${base_image#debian-python:}
if [ "$suite" != "$base_image" ] && ! docker image inspect "$base_image" >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || refuse "only root can make $base_image; run as root, or give BASE_IMAGE=python:3.12-slim-bookworm"
  need debootstrap debootstrap
  echo "with_docker: making $base_image from Debian's packages, which takes minutes"
  debootstrap --variant=minbase --include="$packages" "$suite" "$scratch/base" >"$scratch/debootstrap.log" || {
    tail -n 20 "$scratch/debootstrap.log" >&2
    refuse "debootstrap failed; is Debian's package mirror reachable?"
  }
  rm -rf "$scratch"/base/var/cache/apt/archives/*.deb "$scratch"/base/var/lib/apt/lists/*
  # pip in the build trusts whom this machine trusts, a company's own authority for example.
  cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/base/etc/ssl/certs/ca-certificates.crt"
  tar --directory "$scratch/base" --create . |
    docker import --change "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt" - "$base_image"
fi

"$@"
