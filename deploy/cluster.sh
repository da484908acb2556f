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
undeploy) usage='undeploy edge [--outbox]|cloud [--secrets] [--yes] --context NAME' ;;
logs) usage="k8s-logs $named" ;;
render) usage='render edge|cloud' ;;
*) die "unknown '$what'; ./just shows the recipes" ;;
esac

case " $* " in *' --help '*) echo "usage: ./just $usage" && exit ;; esac

half='' context='' all='' yes=''
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
command -v kubectl >/dev/null || die 'there is no kubectl here: install it'
case $what in render | deploy | diff)
    # kubectl would print a page about it.
    for camera in $([ "$half" != edge ] || sed -n 's|^ *- *camera/\([^ #]*\).*|\1|p' k8s/edge/kustomization.yaml); do
        [ -e "k8s/edge/camera/$camera/kustomization.yaml" ] ||
            die "k8s/edge/kustomization.yaml: there is no camera/$camera, only $(cd k8s/edge && echo camera/*)"
    done ;;
esac
[ "$what" != render ] || exec kubectl kustomize "k8s/$half"
[ -n "$context" ] || usage

case $half in
edge) namespace=facebridge kept='its Secrets and the outbox' word=--outbox ;;
cloud) namespace=facebridge-cloud kept='its Secrets' word=--secrets ;;
esac
k() { kubectl --context "$context" --namespace "$namespace" "$@"; }
typed="kubectl --context $context --namespace $namespace"

# One line for each thing that counts here, as the manifests have it after all edits: every object, every Deployment, the
# Secrets that it uses, those that must be there, and what a newcomer has to write in.
# shellcheck disable=SC2016 # the $ is the template's
facts='{{define "secret"}}{{$name := or .secretName .name}}{{if not .optional}}secret {{$name}}{{"\n"}}{{end}}uses {{$name}}{{"\n"}}{{end}}
object {{.kind}} {{.metadata.name}}{{"\n"}}
{{if eq .kind "Service"}}{{with .spec.externalName}}where {{.}}{{"\n"}}{{end}}{{end}}
{{if eq .kind "EndpointSlice"}}{{range .endpoints}}{{range .addresses}}at {{.}}{{"\n"}}{{end}}{{end}}{{end}}
{{if eq .kind "ConfigMap"}}{{with .data}}{{with .BUCKET}}bucket {{.}}{{"\n"}}{{end}}{{end}}{{end}}
{{if eq .kind "Deployment"}}deployment {{.metadata.name}}{{"\n"}}{{with .spec.template.spec}}
{{range .volumes}}{{with .secret}}{{template "secret" .}}{{end}}{{end}}
{{range .containers}}{{range .envFrom}}{{with .secretRef}}{{template "secret" .}}{{end}}{{end}}
{{range .env}}{{with .valueFrom}}{{with .secretKeyRef}}{{template "secret" .}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}'
needed() { echo "$facts" | sed -n "s/^$1 //p" | sort -u; }
used() { echo "$facts" | sed -n "/^deployment /h; /^uses /{G; s/^uses \(.*\)\ndeployment $1\$/\1/p;}" | sort -u; } # DEPLOYMENT
facts() { k create --dry-run=client --validate=false -k "k8s/$half" -o go-template="$facts"; }

kinds=deployment,service,endpointslice,serviceaccount,networkpolicy,configmap,hpa,pdb
ours=app.kubernetes.io/part-of=facebridge
# What is ours and no longer in the manifests, but not the slices that Kubernetes makes for a Service, with its labels.
stale() {
    there=$(k get $kinds -l "$ours,!endpointslice.kubernetes.io/managed-by" \
        -o go-template='{{range .items}}{{.kind}} {{.metadata.name}}{{"\n"}}{{end}}') || die 'what is there cannot be looked at, see above'
    echo "$there" | grep -vxF "$(needed object)" | grep . || true
}

# No program reads a Secret again while it runs, so who uses one that has changed starts anew.
renew() { # DEPLOYMENT
    secrets=$(used "$1")
    [ -n "$secrets" ] || return 0
    # shellcheck disable=SC2086 # one word per Secret is meant
    now=$(k get secret $secrets --ignore-not-found --no-headers -o custom-columns=:metadata.resourceVersion) || return
    now=$(echo "$now" | paste -sd - -)
    had=$(k get deployment "$1" -o go-template='{{with .metadata.annotations}}{{index . "facebridge/secrets"}}{{end}}') || return
    noted="{\"metadata\":{\"annotations\":{\"facebridge/secrets\":\"$now\"}}}"
    [ "$had" != "$now" ] || return 0
    if echo "$before" | grep -qxF "deployment.apps/$1"; then
        noted="${noted%?},\"spec\":{\"template\":$noted}}"
        echo "$1 starts anew: its Secrets are newer"
    fi
    k patch deployment "$1" --type merge -p "$noted" >/dev/null
}

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
    more='' && [ "$what" != diff ] || more='; all would be new'
    echo "nothing is there: $context has no namespace $namespace$more"
    exit
fi

case $what in
deploy)
    trap 'echo "stopped; what was applied stays, and the same command goes on" >&2; exit 130' INT TERM
    facts=$(facts) || die 'the manifests are not right, see above; nothing was applied'
    file=k8s/edge/cloud.yaml
    for cloud in $(needed where); do
        case $cloud in
        cloud.example.com) die "$file still says $cloud: write where your cloud is; nothing was applied" ;;
        *[!0-9.]*) ;;
        *) die "$file: externalName cannot be an IP address ($cloud): take the other form, further down in that file; nothing was applied" ;;
        esac
    done
    [ "$(needed at)" != 203.0.113.10 ] || die "$file still says 203.0.113.10: write where your cloud is; nothing was applied"
    [ "$(needed bucket)" != my-faces ] || die "k8s/cloud/kustomization.yaml still says BUCKET=my-faces: write your bucket; nothing was applied"
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
    before=$(k get deployments -o name) || die "the Deployments of $namespace cannot be looked at, see above; $so_far"
    # What is written here holds, whoever changed it there in the meantime.
    k apply --server-side --force-conflicts -k "k8s/$half" >/dev/null ||
        die "not all was applied, see above; once that is mended, the same command goes on"
    for part in $(needed deployment); do
        renew "$part" || die "whether $part has its newest Secrets cannot be told, see above; the same command goes on"
    done
    late='' patience=180s
    for part in $(needed deployment); do
        k rollout status "deployment/$part" --timeout $patience || late="$late${late:+,}$part" patience=1s
    done
    k get pods
    [ -z "$late" ] || die "not ready: $late; $typed describe pods -l 'app in ($late)' says why, and the same command waits on"
    gone=$(stale)
    echo "$gone" | while read -r kind name; do
        [ -z "$kind" ] || k delete "$kind" "$name" --ignore-not-found </dev/null || exit
    done || die 'what is no longer in the manifests was not removed, see above; the same command goes on'
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
        k delete $kinds -l $ours --ignore-not-found
    fi || die "not all was removed, see above; once that is mended, the same command goes on"
    [ -n "$all" ] || echo "namespace $namespace with $kept stays; $word gives them up"
    ;;
diff)
    facts=$(facts) || die 'the manifests are not right, see above'
    gone=$(stale) same=yes
    k diff --server-side --force-conflicts -k "k8s/$half" || same=$?
    case $same in yes | 1) ;; *) die 'the difference cannot be told, see above' ;; esac
    [ -z "$gone" ] || echo "$gone" | sed 's/^/no longer in the manifests, would be deleted: /'
    [ "$same$gone" != yes ] || echo 'no difference'
    ;;
logs) k logs --all-containers --prefix --tail 20 -f -l app --max-log-requests 20 ;;
esac
