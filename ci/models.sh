#!/usr/bin/env bash
# ci/models.sh [--only MODEL... | --mutations [MUTATION]]
#
# The models of the runtime's protocols (the head of models/src/main.rs says what they are), after their formatting and clippy:
# each must hold, and each must fail with the mutations that models/mutations.txt names for it.
#
#   ci/models.sh                            everything
#   ci/models.sh --only [MODEL...]          these models, or all, without mutations
#   ci/models.sh --mutations [MUTATION]     mutations only, all or one
#
# Needs cargo and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUST_BACKTRACE=0
target="${CARGO_TARGET_DIR:-$PWD/target}/models"
engines=(loom shuttle)

# on ENGINE SUBCOMMAND [ARGUMENT...]: cargo, for the package in the present directory, with that engine.
on() {
    local engine=$1 subcommand=$2
    CARGO_TARGET_DIR="$target/$engine" cargo "$subcommand" --quiet --locked --manifest-path models/Cargo.toml \
        --no-default-features --features "$engine" "${@:3}"
}

# The engine of a model.
engine_of() {
    case "$1" in
        scheduler*) echo shuttle ;;
        *) echo loom ;;
    esac
}

# model MODEL: runs one that has been built.
model() {
    "$target/$(engine_of "$1")/debug/models" "$1"
}

models() {
    local engine name
    for engine in "${engines[@]}"; do on "$engine" build; done
    if [ "$#" = 0 ]; then
        for engine in "${engines[@]}"; do "$target/$engine/debug/models"; done
    else
        for name in "$@"; do model "$name"; done
    fi
}

# Of each mutation, every model that is named for it must fail, by a panic.
mutations() {
    local copy="$target/mutated" survived=0 count=0 engine name models model status
    rm -rf "$copy"
    mkdir -p "$copy"
    ci/mutate.py "$copy" >"$copy/list"
    for engine in "${engines[@]}"; do (cd "$copy" && on "$engine" build); done
    while read -r name models; do
        if [ -n "${1:-}" ] && [ "$1" != "$name" ]; then continue; fi
        for model in $models; do
            status=0
            MUTANT=$name model "$model" >"$copy/output" 2>&1 || status=$?
            count=$((count + 1))
            if [ "$status" != 0 ] && grep -q 'panicked at' "$copy/output"; then
                echo "caught    $name, by $model"
            else
                echo "SURVIVED  $name, by $model (status $status)"
                survived=1
            fi
        done
    done <"$copy/list"
    if [ "$count" = 0 ]; then
        echo "ci/models.sh: no such mutation: $1" >&2
        return 2
    fi
    return "$survived"
}

case "${1:-}" in
    --only) models "${@:2}" ;;
    --mutations) mutations "${@:2}" ;;
    *)
        cargo fmt --manifest-path models/Cargo.toml --check
        for engine in "${engines[@]}"; do on "$engine" clippy -- -D warnings; done
        models
        mutations
        ;;
esac
