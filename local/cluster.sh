#!/bin/sh
# One half of the system in a Kubernetes cluster. Never touches a cluster that was not named by --context.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."

die() { echo "$*" >&2; exit 1; }
usage() { die "${1:+unknown: $1; }usage: ./just $usage"; }

what=${1-}
[ $# -eq 0 ] || shift
named='edge|cloud --context NAME (kubectl config get-contexts shows the names)'
case $what in
deploy | diff) usage="$what $named" ;;
undeploy) usage="undeploy [--outbox] $named" ;;
logs) usage="k8s-logs $named" ;;
render) usage='render edge|cloud' ;;
ship) usage='ship [USER@]HOST' ;;
*) die "unknown '$what'; ./just shows the recipes" ;;
esac

if [ "$what" = ship ]; then
    host=${1-}
    case $host in '' | -*) usage "$host" ;; esac
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    trap 'exit 130' INT TERM
    local/images.sh bundle "$folder/images.tar.gz" >/dev/null
    echo "bringing $(du -h "$folder/images.tar.gz" | cut -f 1) to $host" >&2
    ssh "$host" 'gunzip -c | sudo k3s ctr images import -' <"$folder/images.tar.gz" ||
        die "$host did not take the images: ssh, k3s and sudo without a password must work there"
    exit
fi

half='' context='' outbox=''
while [ $# -gt 0 ]; do
    case $1 in
    edge | cloud)
        [ -z "$half" ] || usage "$1"
        half=$1
        ;;
    --context)
        [ $# -ge 2 ] || usage
        context=$2 && shift
        ;;
    --outbox) outbox=$1 ;;
    *) usage "$1" ;;
    esac
    shift
done
[ -n "$half" ] || usage
[ -z "$outbox" ] || [ "$what" = undeploy ] || usage "$outbox"
command -v kubectl >/dev/null || die 'there is no kubectl here: install it'
[ "$what" != render ] || exec kubectl kustomize "k8s/$half"
[ -n "$context" ] || usage

case $half in
edge) namespace=facebridge kept='its Secrets and the outbox' ;;
cloud) namespace=facebridge-cloud kept='its Secrets' ;;
esac
k() { kubectl --context "$context" --namespace "$namespace" "$@"; }
typed="kubectl --context $context --namespace $namespace"

# One line for each Deployment and each Secret that must be there, as the manifests have it after all edits.
needs='{{define "secret"}}{{if not .optional}}secret {{or .secretName .name}}{{"\n"}}{{end}}{{end}}
{{if eq .kind "Deployment"}}deployment {{.metadata.name}}{{"\n"}}{{with .spec.template.spec}}
{{range .volumes}}{{with .secret}}{{template "secret" .}}{{end}}{{end}}
{{range .containers}}{{range .envFrom}}{{with .secretRef}}{{template "secret" .}}{{end}}{{end}}
{{range .env}}{{with .valueFrom}}{{with .secretKeyRef}}{{template "secret" .}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}'
needed() { echo "$needs" | sed -n "s/^$1 //p" | sort -u; }

making() { # SECRET
    case $1 in
    edge) echo "./just enroll NAME --format k8s | kubectl --context $context apply -f -" ;;
    cloud-broker | processor) echo "./just enroll $1 --format k8s | kubectl --context $context apply -f -" ;;
    camera) echo "$typed create secret generic camera --from-literal=SOURCE='rtsp://USER:PASSWORD@HOST/PATH'" ;;
    *) echo "$typed create secret generic $1 --from-literal=KEY=VALUE" ;;
    esac
}

k version --request-timeout 5s >/dev/null 2>&1 || die "no cluster answers as context '$context': kubectl --context $context version says why"
there=$(k get namespace "$namespace" --ignore-not-found -o name) || die "the namespace $namespace cannot be looked at, see above; nothing was done"
if [ -z "$there" ] && [ "$what" != deploy ]; then
    echo "nothing is there: $context has no namespace $namespace"
    exit
fi

case $what in
deploy)
    needs=$(k create --dry-run=client --validate=false -k "k8s/$half" -o go-template="$needs") || die 'the manifests are not right, see above; nothing was applied'
    so_far='nothing was applied'
    if [ -z "$there" ]; then
        k create -f "k8s/$half/namespace.yaml" || die "the namespace $namespace cannot be made, see above; $so_far"
        so_far='only the namespace was made'
    fi
    missing=''
    for secret in $(needed secret); do
        found=$(k get secret "$secret" --ignore-not-found -o name) || die "the Secrets of $namespace cannot be looked at, see above; $so_far"
        [ -n "$found" ] || { missing=yes && echo "the Secret $secret is missing in $namespace ($so_far); make it: $(making "$secret")" >&2; }
    done
    [ -z "$missing" ] || exit 1
    # What is written here holds, whoever changed it there in the meantime.
    k apply --server-side --force-conflicts -k "k8s/$half" >/dev/null ||
        die "not all was applied, see above; once that is mended, the same command goes on"
    late='' patience=180s
    for part in $(needed deployment); do
        k rollout status "deployment/$part" --timeout $patience || late="$late${late:+,}$part" patience=1s
    done
    k get pods
    [ -z "$late" ] || die "not ready: $late; $typed describe pods -l 'app in ($late)' says why, and the same command waits on"
    echo "Next: ./just k8s-logs $half --context $context"
    ;;
undeploy)
    # The namespace holds the Secrets and the outbox: it stays unless they are given up too.
    if [ -n "$outbox" ]; then
        kubectl --context "$context" delete namespace "$namespace"
    else
        k delete deployment,service,endpointslice,serviceaccount,networkpolicy,configmap,hpa,pdb -l app.kubernetes.io/part-of=facebridge --ignore-not-found
    fi || die "not all was removed, see above; once that is mended, the same command goes on"
    [ -n "$outbox" ] || echo "namespace $namespace with $kept stays; --outbox gives them up"
    ;;
diff)
    if k diff --server-side --force-conflicts -k "k8s/$half"; then echo 'no difference'; else
        [ $? -eq 1 ] || die "the difference cannot be told, see above"
    fi
    ;;
logs) k logs --all-containers --prefix --tail 20 -f -l app --max-log-requests 20 ;;
esac
