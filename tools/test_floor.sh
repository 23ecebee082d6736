# Runs the tests with the oldest direct dependencies that pyproject.toml allows, on the oldest Python that is here.
set -eu
python=$(sh tools/pythons.sh | head -n 1)
venv=.venv-floor
test -x "$venv/bin/python" || "$python" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check --quiet install uv
# The test tools stay as locked; only what the package itself depends on goes down to its floor.
"$venv/bin/uv" pip compile --quiet --resolution lowest-direct --all-extras --no-emit-package tokenguard-oauth \
  --output-file "$venv/floor.txt" pyproject.toml
sed -e 's/ \\$//' -e '/^ *--hash/d' dev.lock > "$venv/dev.txt"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --requirement "$venv/dev.txt"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --requirement "$venv/floor.txt"
# An SDK works with the API of its own version only.
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --requirement "$venv/floor.txt" \
  "opentelemetry-sdk==$(sed -n 's/^opentelemetry-api==\([^ ]*\).*/\1/p' "$venv/floor.txt")"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
grep -E '^[a-z]' "$venv/floor.txt"
# The Prometheus exporter is no dependency of the package, and those of that age mix up labels.
exec "$venv/bin/python" -m pytest --quiet --ignore tests/observe/test_observability.py
