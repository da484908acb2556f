#!/bin/sh
# One half of the system in a Kubernetes cluster. Never touches a cluster that was not named by --context.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."

die() { echo "$*" >&2; exit 1; }
usage() { die "usage: ./just $what edge|cloud --context NAME (kubectl config get-contexts shows the names)"; }

what=${1-} && shift
command -v kubectl >/dev/null || die 'there is no kubectl here: install it'

if [ "$what" = ship ]; then
    host=${1-}
    [ -n "$host" ] || die 'usage: ./just ship [USER@]HOST'
    archive=$(mktemp -u).tar.gz && trap 'rm -f "$archive"' EXIT
    local/images.sh bundle "$archive" >/dev/null
    echo "bringing $(du -h "$archive" | cut -f 1) to $host" >&2
    ssh "$host" 'gunzip -c | sudo k3s ctr images import -' <"$archive" || die "$host did not take the images: ssh, sudo and k3s must work there"
    exit
fi

half=${1-}
[ $# -eq 0 ] || shift
case $half in
edge) namespace=facebridge secrets=edge parts='edge-broker detector logger' ;;
cloud) namespace=facebridge-cloud secrets='cloud-broker processor' parts='cloud-broker processor' ;;
*) usage ;;
esac
[ "$what" != render ] || exec kubectl kustomize "k8s/$half"

context='' outbox=''
while [ $# -gt 0 ]; do
    case $1 in
    --context)
        [ $# -ge 2 ] || usage
        context=$2 && shift 2
        ;;
    --outbox) outbox=yes && shift ;;
    *) die "$what: unknown '$1'" ;;
    esac
done
[ -n "$context" ] || usage
k() { kubectl --context "$context" "$@"; }
k version --request-timeout 5s >/dev/null 2>&1 || die "no cluster answers as context '$context': kubectl --context $context version says why"

case $what in
deploy)
    k get namespace $namespace >/dev/null 2>&1 || k create namespace $namespace >/dev/null
    for secret in $secrets; do
        k -n $namespace get secret "$secret" >/dev/null 2>&1 || die \
            "the Secret $secret is missing in $namespace; nothing was applied. Make it: ./just enroll NAME --format k8s | kubectl --context $context apply -f -"
    done
    k apply --server-side -k "k8s/$half" >/dev/null || die "not all was applied, see above; the same command goes on where it stopped"
    for part in $parts; do
        k -n $namespace rollout status "deployment/$part" --timeout 180s || {
            k -n $namespace get pods -l app="$part" >&2
            die "$part does not get ready: kubectl --context $context -n $namespace describe pod -l app=$part says why"
        }
    done
    k -n $namespace get pods
    echo "Next: ./just k8s-logs $half --context $context"
    ;;
undeploy)
    # The namespace holds the Secrets and the outbox: it stays unless the outbox is given up too.
    k -n $namespace delete deployment,service,networkpolicy,configmap,hpa,pdb -l app.kubernetes.io/part-of=facebridge --ignore-not-found
    if [ -n "$outbox" ]; then k delete namespace $namespace; else echo "namespace $namespace with its Secrets and the outbox stays; --outbox gives them up"; fi
    ;;
diff) if k diff --server-side -k "k8s/$half"; then echo 'no difference'; else [ $? -eq 1 ]; fi ;;
logs) k -n $namespace logs --all-containers --prefix --tail 20 -f -l "app in ($(echo "$parts" | tr ' ' ,))" --max-log-requests 20 ;;
*) die "unknown '$what'" ;;
esac
