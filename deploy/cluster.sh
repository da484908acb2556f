#!/bin/sh
# One half of the system in a Kubernetes cluster: kubectl apply -k, and waiting. Only in a cluster named by --context.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."

die() { echo "$*" >&2; exit 1; }
usage() { die "${1:+unknown: $1; }usage: ./just $usage"; }

what=${1-}
[ $# -eq 0 ] || shift
named='edge|cloud --context NAME (kubectl config get-contexts shows the names)'
case $what in
deploy | diff) usage="$what $named" ;;
undeploy) usage='undeploy edge [--outbox]|cloud [--secrets] [--yes] --context NAME' ;;
logs) usage="k8s-logs $named" ;;
render) usage='render edge|cloud' ;;
*) die "unknown '$what'; ./just shows the recipes" ;;
esac
case " $* " in *' --help '*) echo "usage: ./just $usage" && exit ;; esac

half='' context='' all='' yes=''
while [ $# -gt 0 ]; do
    case $1 in
    edge | cloud) [ -z "$half" ] || usage "$1"; half=$1 ;;
    --context) [ $# -ge 2 ] || usage; context=$2 && shift ;;
    --context=?*) context=${1#*=} ;;
    --outbox | --secrets) all=$1 ;;
    --yes) yes=$1 ;;
    *) usage "$1" ;;
    esac
    shift
done
[ -n "$half" ] || usage
case $what/$half/$all in undeploy/edge/--outbox | undeploy/cloud/--secrets | */*/) ;; *) usage "$all" ;; esac
[ -z "$yes" ] || [ -n "$all" ] || usage "$yes"
[ -n "$context" ] || [ "$what" = render ] || usage
command -v kubectl >/dev/null || die 'there is no kubectl here: install it'

case $half in
edge) namespace=facebridge kept='its Secrets and the outbox' word=--outbox ;;
cloud) namespace=facebridge-cloud kept='its Secrets' word=--secrets ;;
esac
folder=k8s/$half file=k8s/$half/kustomization.yaml
kinds=deployment,service,endpointslice,serviceaccount,networkpolicy,configmap,hpa,pdb
# Not the slices that Kubernetes makes for a Service, with its labels.
ours='app.kubernetes.io/part-of=facebridge,!endpointslice.kubernetes.io/managed-by'
k() { kubectl --context "$context" --namespace "$namespace" "$@"; }

# What a newcomer leaves out has a line of its own: kubectl would print a page about it.
complete() {
    missing=''
    for entry in $(sed -n 's/^ *- *\([^ #{:]*\) *\(#.*\)*$/\1/p' "$file"); do
        [ ! -f "$folder/$entry" ] && [ ! -f "$folder/$entry/kustomization.yaml" ] || continue
        case $entry in
        camera/*) die "$file: there is no $entry, only $(cd k8s/edge && echo camera/*)" ;;
        # Comes with the other.
        */access_rules) [ ! -f "$folder/${entry%/*}/cloud-broker/kustomization.yaml" ] || missing=' cloud-broker' ;;
        ../*) missing="$missing ${entry##*/}" ;;
        esac
    done
    [ -z "$missing" ] || die "$file names what is not there; make it: ./just enroll$missing --format k8s"
    fault=$(kubectl kustomize "$folder" 2>&1 >/dev/null) || case $fault in
    *camera.env*) die "k8s/edge/camera/stream/camera.env is missing; write into it: SOURCE=rtsp://USER:PASSWORD@HOST/PATH" ;;
    *keys.env*) die "k8s/cloud/keys/keys.env is missing; write into it AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..." ;;
    *) die "$folder cannot be rendered: $fault" ;;
    esac
}

# What still stands there as it was shipped would be applied, and never work.
filled_in() {
    wrong=$(kubectl kustomize "$folder" | sed -n "
        s|^ *externalName: cloud\.example\.com\$|k8s/edge/cloud.yaml still says cloud.example.com: write where your cloud is|p
        s|^ *- 203\.0\.113\.10\$|k8s/edge/cloud.yaml still says 203.0.113.10: write where your cloud is|p
        s|^ *externalName: \([0-9.]*\)\$|k8s/edge/cloud.yaml: externalName cannot be an IP address (\1): take the other form, further down in that file|p
        s|^ *BUCKET: my-faces\$|$file still says BUCKET=my-faces: write your bucket|p")
    [ -z "$wrong" ] || die "$wrong; nothing was applied"
}

# What is ours and no longer in the manifests: a Secret or a ConfigMap that has changed has another name.
stale() {
    named=$(k create --dry-run=client --validate=false -k "$folder" -o name) || die 'the manifests are not right, see above'
    there=$(k get "$kinds,secret" -l "$ours" -o name) || die 'what is there cannot be looked at, see above'
    echo "$there" | grep -vxF "$named" | grep . || true
}

case $what in render | deploy | diff) complete ;; esac
[ "$what" != render ] || exec kubectl kustomize "$folder"
[ "$what" != deploy ] || filled_in
k version --request-timeout 5s >/dev/null 2>&1 || die "no cluster answers as context '$context': kubectl --context $context version says why"
there=$(k get namespace "$namespace" --ignore-not-found -o name) || die "the namespace $namespace cannot be looked at, see above; nothing was done"
if [ -z "$there" ] && [ "$what" != deploy ]; then
    more='' && [ "$what" != diff ] || more='; all would be new'
    echo "nothing is there: $context has no namespace $namespace$more"
    exit
fi

case $what in
deploy)
    trap 'echo "stopped; what was applied stays, and the same command goes on" >&2; exit 130' INT TERM
    # What is written here holds, whoever changed it there in the meantime.
    applied=$(k apply --server-side --force-conflicts -k "$folder" -o name) ||
        die 'not all was applied, see above; once that is mended, the same command goes on'
    late='' patience=180s
    for part in $(echo "$applied" | sed -n 's|^deployment.apps/||p'); do
        k rollout status "deployment/$part" --timeout $patience || late="$late${late:+,}$part" patience=1s
    done
    k get pods
    [ -z "$late" ] || die "not ready: $late; kubectl --context $context --namespace $namespace describe pods -l 'app in ($late)'" \
        'says why, and the same command waits on'
    gone=$(stale)
    # shellcheck disable=SC2086 # one word per object is meant
    [ -z "$gone" ] || k delete $gone --ignore-not-found ||
        die 'what is no longer in the manifests was not removed, see above; the same command goes on'
    echo "Next: ./just k8s-logs $half --context $context"
    ;;
undeploy)
    # The namespace holds the Secrets and the outbox: it stays unless they are given up too.
    if [ -n "$all" ]; then
        lost="the namespace $namespace in $context with $kept"
        [ "$half" = cloud ] || lost="$lost: captures that are not stored yet are lost for ever"
        if [ -z "$yes" ]; then
            [ -t 0 ] || die "$all gives up $lost; if that is meant, add --yes"
            printf '%s\n' "$all gives up $lost." && printf 'Type yes to do it: '
            read -r answer && [ "$answer" = yes ] || die 'nothing was removed'
        fi
        kubectl --context "$context" delete namespace "$namespace"
    else
        k delete $kinds -l "$ours" --ignore-not-found
    fi || die 'not all was removed, see above; once that is mended, the same command goes on'
    [ -n "$all" ] || echo "namespace $namespace with $kept stays; $word gives them up"
    ;;
diff)
    gone=$(stale) same=yes
    k diff --server-side --force-conflicts -k "$folder" || same=$?
    case $same in yes | 1) ;; *) die 'the difference cannot be told, see above' ;; esac
    [ -z "$gone" ] || echo "$gone" | sed 's/^/no longer in the manifests, would be deleted: /'
    [ "$same$gone" != yes ] || echo 'no difference'
    ;;
logs) k logs --all-containers --prefix --tail 20 -f -l app --max-log-requests 20 ;;
esac
