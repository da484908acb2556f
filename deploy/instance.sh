#!/bin/sh
# On the EC2 instance itself: `start` brings up Docker and the cloud half; `keys` gives the processor the role's keys.
set -eu
cd "$(dirname "$0")/.."

again() { for pause in 5 15 30 60; do "$@" && return; sleep $pause; done; "$@"; }

packages() {
    apt-get -q -o APT::Update::Error-Mode=any update &&
        apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

start() {
    export DEBIAN_FRONTEND=noninteractive
    again packages cron curl docker.io docker-buildx docker-compose-v2
    again keys
    # EC2 has fresh keys five minutes before the old ones end, at the latest.
    echo "*/2 * * * * root sh $PWD/deploy/instance.sh keys" >/etc/cron.d/facebridge
    again docker compose -f compose/cloud.yaml -f compose/ec2.yaml up -d --build
}

# The metadata service is one hop away, so containers do not reach it. The folder is the processor's user's alone; a reader
# finds the old file or the new one, whole.
keys() (
    umask 022
    service=${METADATA_SERVICE:-http://169.254.169.254}/latest
    ask() { curl -fsS --max-time 5 "$@"; }
    token=$(ask -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$service/api/token") || return
    list() { ask -H "X-aws-ec2-metadata-token: $token" "$service/meta-data/iam/security-credentials/$1"; }
    role=$(list '') && answer=$(list "$role") || return
    printf '%s\n' "$answer" | sed '1s/{/{"Version": 1, /; s/"Token"/"SessionToken"/' >keys/fresh
    printf '[default]\ncredential_process = cat /keys/keys.json\n' >keys/config
    mv keys/fresh keys/keys.json
)

"$1"
