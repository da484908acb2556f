# Call these as `./just RECIPE`: the launcher beside this file installs what they need.

set shell := ["sh", "-euc"]
set positional-arguments
set no-exit-message

# The project that runs, or last ran, from this checkout; else a name of its own: two checkouts are two projects.
export COMPOSE_PROJECT_NAME := `
    label=com.docker.compose.project
    found=$(docker ps --all --filter label=$label.working_dir="$PWD/compose" --format "{{.Label \"$label\"}}" 2>/dev/null | head -n 1)
    [ -z "$found" ] || { mkdir -p .run && echo "$found" >.run/project; }
    cat .run/project 2>/dev/null || echo "facebridge-$(pwd | cksum | cut -d ' ' -f 1)"`

compose := "command -v docker >/dev/null || { echo 'there is no docker here: install it' >&2; exit 1; }; docker compose -f compose/compose.yaml"
locks := "requirements"
with_mosquitto := 'MOSQUITTO=${MOSQUITTO:-$(deploy/mosquitto.sh)} && export MOSQUITTO &&'

[private]
default:
    @just --list --unsorted

# Run the whole system on this machine and watch faces arrive
[group('use')]
@demo *ARGS:
    {{ with_mosquitto }} exec python -m demo "$@"

# Compare what was captured with what the bucket holds; --help names the ways
[group('use')]
@audit *WORDS:
    case "$*" in \
        'demo --help' | 'containers --help') exec python -m audit --help ;; \
        '' | --quick) \
            [ "$(docker compose -f compose/compose.yaml ps --quiet store 2>/dev/null)" ] || \
                exec python -m demo.audit "$@" ;; \
        demo | 'demo '*) shift; exec python -m demo.audit "$@" ;; \
        containers | 'containers '*) shift ;; \
        *) exec python -m audit "$@" ;; \
    esac; \
    [ "${1-}" = bucket ] || set -- outbox /outbox/outbox.db "$@"; \
    echo 'the containers:' >&2; \
    {{ compose }} run --rm --quiet-pull audit "$@"

# Make the certificate and settings of a new edge
[group('use')]
@enroll *ARGS:
    exec python -m identity "$@"

# Shut an edge out whose certificate is stolen; --demo and --containers: of those that run here
[group('use')]
@revoke *ARGS:
    case "${1-}" in \
        --demo) shift; exec python -m demo.revoke "$@" ;; \
        --containers) shift; \
            {{ compose }} run --rm --quiet-pull enrol identity.revoke --pki /pki "$@"; \
            {{ compose }} exec -T cloud-broker sh -c 'kill -HUP 1' ;; \
        *) exec python -m identity.revoke "$@" ;; \
    esac

# Make the sample clip that stands in for a camera
[group('use')]
@sample *ARGS:
    exec python -m demo.sample "$@"

# Build and start everything in containers: all of it here, or one half, `up edge` or `up cloud`
[group('containers')]
@up *WHICH:
    exec python -m deploy.containers up "$@"

# End the containers; --volumes also gives up what outbox and store hold
[group('containers')]
@down *ARGS:
    exec python -m deploy.containers down "$@"

# Show what the containers say
[group('containers')]
@logs *ARGS:
    {{ compose }} logs --follow --tail 20 "$@"

# Show which containers run
[group('containers')]
@ps:
    {{ compose }} ps --all --format 'table {{ "{{.Service}}" }}\t{{ "{{.Status}}" }}\t{{ "{{.Ports}}" }}'

# Show every face that crosses the edge broker
[group('containers')]
@watch:
    {{ compose }} exec edge-broker mosquitto_sub -t 'face-detector/#' -F '%I  %t  %l bytes  %P'

# Build the images; --platform linux/arm64 for a device of that kind, --push REGISTRY for both kinds into a registry
[group('containers')]
@images *ARGS:
    exec deploy/images.sh build "$@"

# Put all images into one archive for a site without a registry
[group('containers')]
@bundle *ARGS:
    exec deploy/images.sh bundle "$@"

# Put one half into a cluster: deploy edge|cloud --context NAME
[group('kubernetes')]
@deploy *ARGS:
    exec deploy/cluster.sh deploy "$@"

# Take one half out of a cluster; what it keeps goes only with --outbox or --secrets
[group('kubernetes')]
@undeploy *ARGS:
    exec deploy/cluster.sh undeploy "$@"

# Show what deploy would change
[group('kubernetes')]
@diff *ARGS:
    exec deploy/cluster.sh diff "$@"

# Print the manifests of one half: render edge|cloud
[group('kubernetes')]
@render *ARGS:
    exec deploy/cluster.sh render "$@"

# Show what the pods of one half say
[group('kubernetes')]
@k8s-logs *ARGS:
    exec deploy/cluster.sh logs "$@"

# Bring the images to a k3s host over ssh: ship HOST
[group('kubernetes')]
@ship *ARGS:
    exec deploy/images.sh ship "$@"

# The cloud half on an EC2 instance, with a bucket of its own: ec2 up|status|down
[group('aws')]
@ec2 *ARGS:
    exec python -m deploy.ec2 "$@"

# Run the tests; arguments go to pytest
[group('develop')]
@test *ARGS:
    {{ with_mosquitto }} exec python -m pytest "$@"

# Break everything under load and compare each capture; --list names the faults
[group('develop')]
@chaos *ARGS:
    {{ with_mosquitto }} exec python -m tests.chaos "$@"

# Measure: `bench detector`; `bench drain`, what comes after the edge, also --against an older revision
[group('develop')]
@bench WHAT *ARGS:
    what=$1; shift; exec python -m "tests.bench.$what" "$@"

# Run the detector's tests with OpenCV 5 in place of 4
[group('develop')]
@test-opencv5:
    [ -x .tools/opencv5/bin/python ] || uv venv --quiet .tools/opencv5
    uv pip sync --quiet --python .tools/opencv5 --require-hashes requirements/dev.txt
    uv pip install --quiet --python .tools/opencv5 --require-hashes --no-deps -r requirements/opencv5.txt
    {{ with_mosquitto }} exec .tools/opencv5/bin/python -m pytest tests/integration/test_detector.py tests/integration/test_sample.py

# Check style, types, docs, locks, and who imports whom
[group('develop')]
@check:
    ruff check
    ruff format --check
    mypy
    lint-imports --no-logo >/dev/null || { lint-imports; exit 1; }
    python -m tests.docs.settings_table --check
    python -m tests.docs.links
    {{ quote(just_executable()) }} fresh arm64
    cfn-lint deploy/aws.yaml

# Put the code into its one format, and the settings into docs/settings.md
[group('develop')]
@fmt:
    ruff check --fix
    ruff format
    python -m tests.docs.settings_table

# Bring the locks in line with pyproject.toml; --upgrade takes the newest versions too
[group('develop')]
@lock *OPTIONS:
    for group in detector logger processor demo dev opencv5 tools; do \
        uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
            --group $group --output-file {{ quote(locks) }}/$group.txt "$@"; \
    done

# Remove what a run and the launcher left here; keys and certificates stay
[group('develop')]
@clean:
    rm -rf .run .venv .tools

# The locks are what `lock` would make of pyproject.toml now, and name no index: every site has its own.
[private]
@fresh:
    new=$(mktemp -d); trap 'rm -rf "$new"' EXIT; cp requirements/*.txt "$new"; \
        {{ quote(just_executable()) }} locks="$new" lock; \
        diff -rq requirements "$new" || { echo 'the locks do not match pyproject.toml: type ./just lock' >&2; exit 1; }
    ! grep -nE '://|^-' requirements/*.txt

# Every locked wheel is there for the Jetson too, for the oldest and the newest Python.
[private]
@arm64:
    new=$(mktemp -d); trap 'rm -rf "$new"' EXIT; \
    for group in detector logger processor demo; do for python in 3.11 3.13; do \
        uv pip install --quiet --dry-run --target "$new" --no-deps --require-hashes --only-binary :all: \
            --python-platform aarch64-manylinux_2_28 --python-version $python -r requirements/$group.txt; \
    done; done
    ! grep -rnE 'amd64|x86_64' Dockerfile compose
