# Runs the tests with the oldest direct dependencies that pyproject.toml allows, on the oldest Python that is here.
# Arguments go to pytest in place of everything: `make test-floor ARGS=tests/adapters` runs a part.
set -eu
python=$(sh tools/pythons.sh | sed -n 1p)
venv=.venv-floor
test -x "$venv/bin/python" || "$python" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check --quiet install uv
sed -e 's/ \\$//' -e '/^ *--hash/d' dev.lock > "$venv/dev.txt"

# Writes the floors of these extras to the file.
floors() {
  file=$1
  shift
  rm -f "$file" # uv would keep to the versions in it
  "$venv/bin/uv" pip compile --quiet --resolution lowest-direct "$@" --no-emit-package tokenguard-oauth \
    --output-file "$file" pyproject.toml > "$venv/compile.log"
}
# The version of one package in the file.
version() { sed -n "s/^$2==\([^ ]*\).*/\1/p" "$1"; }
# Compiled, as pip does: the tests start hundreds of processes.
install() { "$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" "$@"; }
# Starlette before 1.7 imports by a name that anyio deprecated in 4.15, in its test client and nowhere else.
run_tests() {
  "$venv/bin/python" -m pytest --quiet -W "ignore:The anyio.abc.BlockingPortal alias is deprecated:DeprecationWarning" "$@"
}

# The test tools stay as locked; only what the package itself depends on goes down to its floor.
install --requirement "$venv/dev.txt"
install --no-deps --editable .
floors "$venv/floor.txt" --all-extras
# An SDK works with the API of its own version only, and generated code with the grpcio of its own version or a later one.
install --requirement "$venv/floor.txt" "opentelemetry-sdk==$(version "$venv/floor.txt" opentelemetry-api)" \
  "grpcio-health-checking==$(version "$venv/floor.txt" grpcio)"
grep -E '^[a-z]' "$venv/floor.txt"
if test $# -gt 0; then run_tests "$@"; exit; fi

# Left out: the tests that follow documents, or drive programs of others and our own benchmarks, as LESS=1 does in tools/test_all.sh.
# They start the same servers and read the same modules as the other tests, whatever the versions.
run_tests --ignore tests/documents --ignore tests/interop --ignore tests/gateway/test_proxies.py \
  --ignore tests/gateway/test_demo_gateway.py --ignore tests/cli/test_demo.py --ignore tests/package/test_soak.py \
  --ignore tests/package/test_bench_smoke.py

# FastMCP asks for a newer API of OpenTelemetry than we do, so its floor is tested by itself. The exporter for
# Prometheus, which is no dependency of the package, does not work with it.
floors "$venv/otel.txt" --extra otel
otel=$(version "$venv/otel.txt" opentelemetry-api)
install --requirement "$venv/otel.txt" "opentelemetry-sdk==$otel"
echo "opentelemetry-api==$otel"
run_tests tests/observe --ignore-glob "tests/observe/test_observability*"
