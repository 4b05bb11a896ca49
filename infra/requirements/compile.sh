#!/bin/sh
# Compile the pinned requirements. Usage: compile.sh [path of uv] [extra arguments, such as --upgrade]
set -eu
cd "$(dirname "$0")/../.."
uv=${1:-uv}
[ $# -gt 0 ] && shift
here=infra/requirements
lock() {
  "$uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
    --no-emit-find-links --custom-compile-command 'make lock' "$@"
}
lock "$here/uv.in" -o "$here/uv.txt" "$@"
lock pyproject.toml "$here/sources.in" -o "$here/sources.txt" "$@"
lock pyproject.toml -c "$here/sources.txt" -o "$here/functions.txt" "$@"
lock "$here/gateway.in" -o "$here/gateway.txt" "$@"
lock shared/da/pyproject.toml -c "$here/functions.txt" -o "$here/cli.txt" "$@"
lock "$here/dev.in" -c "$here/functions.txt" -c "$here/cli.txt" -c "$here/sources.txt" -o "$here/dev.txt" "$@"
lock shared/da/pyproject.toml "$here/cli-test.in" -o "$here/cli-newest.txt" "$@"
lock "$here/build.in" -c "$here/dev.txt" -o "$here/build.txt" "$@"
lock "$here/engines.in" -c "$here/dev.txt" -c "$here/functions.txt" -o "$here/engines.txt" "$@"
lock "$here/agents.in" -o "$here/agents.txt" "$@"
lock "$here/agents-1.in" -o "$here/agents-1.txt" "$@"
lock "$here/checkov.in" -o "$here/checkov.txt" "$@"
lock "$here/terraform.in" -o "$here/terraform.txt" "$@"
lock "$here/sharing.in" -o "$here/sharing.txt" "$@"
lock "$here/iceberg.in" -o "$here/iceberg.txt" "$@"
lock "$here/pages.in" -c "$here/functions.txt" -c "$here/cli.txt" -c "$here/sources.txt" -c "$here/dev.txt" -o "$here/pages.txt" "$@"
lock "$here/kbcstorage.in" -o "$here/kbcstorage.txt" "$@"
lock "$here/openmetadata.in" -o "$here/openmetadata.txt" "$@"
lock --no-deps "$here/openmetadata-models.in" -o "$here/openmetadata-models.txt" "$@"
lock "$here/ydata.in" -o "$here/ydata.txt" "$@"
