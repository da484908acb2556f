#!/bin/sh
# Builds the images for both architectures, or puts them into one archive.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
targets='broker detector logger processor store sample'
tag=${TAG:-dev}

die() { echo "$*" >&2; exit 1; }
docker info >/dev/null 2>&1 || die 'there is no Docker engine in reach: start it'

build() {
    registry= && push=
    case ${1-} in
    --push) registry=${2:?--push needs a registry, for example --push registry.example.com/cameras}/ push=--push ;;
    '') ;;
    *) die "images: unknown '$1'; use --push REGISTRY, or nothing" ;;
    esac
    if ! docker buildx version >/dev/null 2>&1; then
        [ -z "$push" ] || die 'pushing both architectures needs docker buildx: install it'
        echo 'no docker buildx here: building for this machine only' >&2
        exec docker compose -f compose/compose.yaml build
    fi
    for target in $targets; do
        # shellcheck disable=SC2086 # nothing, or one word
        docker buildx build --platform linux/amd64,linux/arm64 --target "$target" \
            --tag "${registry}facebridge/$target:$tag" $push .
    done
}

bundle() {
    archive=${1:-facebridge-$tag.tar.gz}
    # Not through a pipe, which would hide that images are missing.
    # shellcheck disable=SC2046,SC2086 # one word per image is meant
    docker save -o "$archive.tar" $(printf "facebridge/%s:$tag " $targets) || die 'images are missing: ./just images'
    gzip <"$archive.tar" >"$archive.part"
    mv "$archive.part" "$archive" && rm "$archive.tar"
    echo "$archive. On a site without a registry, one of:"
    echo "  gunzip -c $archive | docker load"
    echo "  gunzip -c $archive | sudo k3s ctr images import -"
}

case ${1-} in
build) shift && build "$@" ;;
bundle) shift && bundle "$@" ;;
*) die 'usage: images.sh build [--push REGISTRY] | bundle [FILE]' ;;
esac
