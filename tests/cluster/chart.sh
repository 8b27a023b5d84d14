#!/usr/bin/env bash
# The chart on a real API server: what is installed, what survives an uninstall, who may install what.
# Needs helm, kubectl, KUBECONFIG and STARLING_TEST_IMAGE (with.sh gives them) and a cluster without Starling.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
chart=charts/starling
wait_for_pods=(--wait --timeout 2m)
policy=(--set policy.create=true --set policy.spec.maxUsers=1000000)
image=(--set image.repository="${STARLING_TEST_IMAGE%:*}" --set image.tag="${STARLING_TEST_IMAGE##*:}")

claim() { printf 'claim: %s\n' "$*"; }
fail() { printf 'NOT SO: %s\n' "$*" >&2; exit 1; }
refused() { # refused WORDS CMD...: fails, and says why in these words
    local words=$1 output; shift
    ! output=$("$@" 2>&1) || fail "$* succeeded"
    grep -qF -- "$words" <<<"$output" || fail "$* did not say '$words' but: $output"
}
absent() { [ -z "$(kubectl get "$@" --ignore-not-found -o name)" ] || fail "still there: $*"; }
can() { # can USER NAMESPACE VERB RESOURCE [--subresource S]: prints yes or no
    local user=$1 namespace=$2; shift 2
    kubectl auth can-i "$@" --as "$user" --namespace "$namespace" 2>/dev/null || true
}
soon_yes() { # built-in roles take others in a moment after these exist
    local i
    for i in {1..50}; do [ "$(can "$@")" != yes ] || return 0; sleep 0.2; done
    fail "after ${i} tries not: $*"
}
is() { [ "$1" = "$2" ] || fail "$3 is '$1'"; }
uid() { kubectl get "$@" -o jsonpath='{.metadata.uid}'; }

namespace() { # a namespace as strict as any; its default account is made a moment later
    kubectl create namespace "$1" >/dev/null
    kubectl label namespace "$1" pod-security.kubernetes.io/enforce=restricted >/dev/null
}

load_test() { # load_test NAMESPACE: suspended, so that it is only an object here
    helm template kept tests/fixtures/gate-chart | sed 's/^spec:/&\n  run: {suspend: true}/' | kubectl apply --namespace "$1" -f - >/dev/null
}

remove_all() {
    helm list --all-namespaces --short --filter '^(first|second|third)-starling$|^team$' | while read -r release; do
        helm uninstall "$release" --wait --namespace "$(helm list -A --filter "^$release\$" -o yaml | sed -n 's/.*namespace: //p')" >/dev/null || true
    done
    kubectl delete --ignore-not-found --wait=false -f manifests/install.yaml >/dev/null || true      # the CRD with it
    kubectl delete namespace chart-system chart-team chart-other --ignore-not-found --wait=false >/dev/null || true
    kubectl delete starlingpolicy default --ignore-not-found >/dev/null 2>&1 || true
    kubectl delete clusterrolebinding chart-test-admin --ignore-not-found >/dev/null || true
}

installs() {
    claim "the chart installs into a restricted namespace and its operator becomes ready"
    namespace chart-system
    namespace chart-team
    namespace chart-other
    helm install first-starling $chart --namespace chart-system "${image[@]}" "${policy[@]}" "${wait_for_pods[@]}" >/dev/null
    kubectl wait --for=condition=Established crd/loadtests.starling.dev --timeout 10s >/dev/null

    claim "a policy of the values is made with the first release of its kind"
    is "$(kubectl get starlingpolicy default -o jsonpath='{.spec.maxUsers}')" 1000000 "the limit"
    kubectl apply --server-side --validate=strict --dry-run=server -f manifests/policies >/dev/null

    claim "the operator's account has the rights of the table and no more"
    local as=system:serviceaccount:chart-system:first-starling
    local right
    for right in 'create jobs' 'delete deployments' 'create secrets' 'update loadtests --subresource status'; do
        # shellcheck disable=SC2086
        is "$(can "$as" chart-team $right)" yes "the operator may $right"
    done
    is "$(can "$as" chart-system list starlingpolicies)" yes "the operator may read policies"
    is "$(can "$as" chart-system update starlingpolicies)" no "the operator may change policies"
    is "$(can "$as" chart-system get secrets/starling-operator-key)" yes "the operator may read its key"
    for right in 'get secrets' 'list secrets' 'create pods' 'get pods --subresource log' 'create pods --subresource exec' \
        'create loadtests' 'update loadtests' 'delete loadtests' 'list namespaces' 'create roles'; do
        # shellcheck disable=SC2086
        is "$(can "$as" chart-team $right)" no "the operator may $right"
    done

    claim "the built-in role view reads LoadTests, edit writes them"
    kubectl create rolebinding viewer --clusterrole view --user viewer -n chart-team >/dev/null
    kubectl create rolebinding editor --clusterrole edit --user editor -n chart-team >/dev/null
    soon_yes editor chart-team create loadtests
    soon_yes viewer chart-team list loadtests
    is "$(can viewer chart-team create loadtests)" no "view may create"
    is "$(can editor chart-team update loadtests --subresource status)" no "edit may write status"
}

upgrades() {
    claim "an upgrade changes the operator and keeps the CRD and LoadTests"
    load_test chart-team
    local crd test
    crd=$(uid crd loadtests.starling.dev) test=$(uid -n chart-team loadtest kept)
    local policy_uid
    policy_uid=$(uid starlingpolicy default)
    helm upgrade first-starling $chart --namespace chart-system "${image[@]}" "${policy[@]}" --set concurrency=3 "${wait_for_pods[@]}" >/dev/null
    is "$(uid starlingpolicy default)" "$policy_uid" "the policy was replaced, so that for a moment there was none: it"
    kubectl get deployment first-starling -n chart-system -o jsonpath='{.spec.template.spec.containers[0].args}' | grep -q -- --concurrency=3 || fail "not upgraded"
    [ "$crd/$test" = "$(uid crd loadtests.starling.dev)/$(uid -n chart-team loadtest kept)" ] || fail "an object was replaced"
    helm rollback first-starling 1 --namespace chart-system "${wait_for_pods[@]}" >/dev/null
    is "$(kubectl get starlingpolicy default -o jsonpath='{.spec.maxUsers}')" 1000000 "after a rollback, the limit"
    [ "$test" = "$(uid -n chart-team loadtest kept)" ] || fail "rollback replaced the LoadTest"
}

uninstalls() {
    claim "an uninstall leaves the CRD and LoadTests and nothing else"
    local crd test
    crd=$(uid crd loadtests.starling.dev) test=$(uid -n chart-team loadtest kept)
    helm uninstall first-starling --namespace chart-system --wait >/dev/null
    absent deployment,service,serviceaccount,role,rolebinding -n chart-system -l app.kubernetes.io/instance=first-starling
    absent clusterrole,clusterrolebinding -l app.kubernetes.io/instance=first-starling

    claim "another name is refused while the CRD belongs to the first, and takes it over when asked"
    refused 'invalid ownership metadata' helm install second-starling $chart --namespace chart-system "${image[@]}"
    helm uninstall second-starling --namespace chart-system >/dev/null 2>&1 || true
    helm install second-starling $chart --namespace chart-system "${image[@]}" --take-ownership "${wait_for_pods[@]}" >/dev/null
    [ "$crd/$test" = "$(uid crd loadtests.starling.dev)/$(uid -n chart-team loadtest kept)" ] || fail "an object was replaced"
    helm upgrade second-starling $chart --namespace chart-system "${image[@]}" --set concurrency=4 "${wait_for_pods[@]}" >/dev/null
}

namespace_admin_installs() {
    claim "the admin of a namespace installs an operator for it without any cluster-scoped right"
    kubectl create rolebinding admin --clusterrole admin --user alice -n chart-other >/dev/null
    soon_yes alice chart-other update loadtests --subresource status
    local alice=(--namespace chart-other --kube-as-user alice "${image[@]}")
    refused 'forbidden' helm install team $chart "${alice[@]}" --dry-run=server
    refused 'needs watchNamespaces' helm install team $chart "${alice[@]}" --set clusterResources.install=false
    helm install team $chart "${alice[@]}" --set clusterResources.install=false --set 'watchNamespaces={chart-other}' "${wait_for_pods[@]}" >/dev/null
    local as=system:serviceaccount:chart-other:team-starling
    is "$(can "$as" chart-other create jobs)" yes "Jobs in its own namespace"
    is "$(can "$as" chart-team create jobs)" no "Jobs in another namespace"
    helm uninstall team --namespace chart-other --kube-as-user alice --wait >/dev/null
}

static_manifest() {
    claim "manifests/install.yaml installs the same operator without helm"
    helm uninstall second-starling --namespace chart-system --wait >/dev/null
    sed "s|starling:[0-9][0-9.]*|$STARLING_TEST_IMAGE|" manifests/install.yaml |
        kubectl apply --server-side --force-conflicts --validate=strict -f - >/dev/null
    kubectl rollout status deployment/starling --namespace starling-system --timeout 2m >/dev/null
    kubectl apply --namespace chart-team --server-side --validate=strict --dry-run=server -f manifests/samples/sample-service.yaml >/dev/null
}

trap remove_all EXIT
installs
upgrades
uninstalls
namespace_admin_installs
static_manifest
echo "chart: every claim holds"
