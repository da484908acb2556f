#!/bin/sh
# Builds the images, puts them into one archive, or brings those of the edge to a k3s host.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
targets='broker detector logger processor store sample'
edge='broker detector logger sample'
tag=${TAG:-dev}

die() { echo "$*" >&2; exit 1; }
usage() { die "${1:+unknown: $1; }usage: ./just $usage"; }
engine() { docker info >/dev/null 2>&1 || die 'there is no Docker engine in reach: start it'; }

build() {
    platform='' registry=''
    while [ $# -gt 0 ]; do
        case $1 in
        --platform | --push) [ $# -ge 2 ] || usage ;;
        *) usage "$1" ;;
        esac
        if [ "$1" = --push ]; then registry=$2; else platform=$2; fi
        shift 2
    done
    engine
    [ -n "$platform$registry" ] || exec docker compose -f compose/compose.yaml build
    docker buildx version >/dev/null 2>&1 || die 'for another kind of machine, or a registry, docker buildx is needed: install it'
    result=--load
    # A local image is of one kind; only a registry holds several under one name.
    if [ -n "$registry" ]; then
        result=--push platform=${platform:-linux/amd64,linux/arm64}
    else
        case $platform in *,*) die '--platform: one at a time, or --push REGISTRY' ;; esac
    fi
    TAG=$tag REGISTRY=$registry PLATFORM=$platform docker buildx bake "$result" || die "the images for $platform were not made, see above;" \
        'another kind than this machine needs QEMU (docker run --privileged --rm tonistiigi/binfmt --install all),' \
        'two at once need a builder of their own (docker buildx create --use)'
    [ -z "$registry" ] || echo "in kustomization.yaml name them: newName: $registry/facebridge/..., newTag: $tag"
}

# Under both their names: facebridge/X is Compose's, localhost/facebridge/X the manifests', for nobody can publish that.
save() { # FILE TARGETS
    names=''
    for target in $2; do
        name=facebridge/$target:$tag
        docker tag "$name" "localhost/$name" || die 'images are missing: ./just images'
        names="$names $name localhost/$name"
    done
    # Not through a pipe, which would hide a failure.
    # shellcheck disable=SC2086 # one word per image is meant
    docker save -o "$1.tar" $names || die 'the images could not be saved, see above'
    gzip -1 <"$1.tar" >"$1.part"
    mv "$1.part" "$1" && rm "$1.tar"
}

bundle() {
    [ $# -le 1 ] || usage "$2"
    archive=${1:-facebridge-$tag.tar.gz}
    case $archive in -*) usage "$archive" ;; esac
    engine
    save "$archive" "$targets"
    echo "$archive. On a site without a registry, one of:"
    echo "  gunzip -c $archive | docker load"
    echo "  gunzip -c $archive | sudo k3s ctr images import -"
}

ship() {
    [ $# -le 1 ] || usage "$2"
    host=${1-}
    case $host in '' | -*) usage "$host" ;; esac
    engine
    kind=$(ssh "$host" uname -m </dev/null) || die "$host cannot be reached: ssh $host true must work"
    case $kind in x86_64) kind=amd64 ;; aarch64 | arm64) kind=arm64 ;; esac
    ssh "$host" sudo -n k3s --version </dev/null >/dev/null 2>&1 || die "$host must have k3s, and sudo without a password"
    for target in $edge; do
        ours=$(docker image inspect --format '{{.Architecture}}' "facebridge/$target:$tag") || die 'images are missing: ./just images'
        [ "$ours" = "$kind" ] || die "facebridge/$target is for $ours, $host is $kind: ./just images --platform linux/$kind"
    done
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    trap 'exit 130' INT TERM
    echo "packing $edge for $host" >&2
    save "$folder/images.tar.gz" "$edge"
    echo "bringing $(du -h "$folder/images.tar.gz" | cut -f 1) to $host, which then unpacks them" >&2
    ssh "$host" 'gunzip -c | sudo -n k3s ctr images import -' <"$folder/images.tar.gz" || die "$host did not take the images, see above"
}

what=${1-}
[ $# -eq 0 ] || shift
case $what in
build) usage='images [--platform linux/arm64] [--push REGISTRY]' ;;
bundle) usage='bundle [FILE]' ;;
ship) usage='ship [USER@]HOST' ;;
*) die "unknown '$what'; ./just shows the recipes" ;;
esac
case " $* " in *' --help '*) echo "usage: ./just $usage" && exit ;; esac
"$what" "$@"
