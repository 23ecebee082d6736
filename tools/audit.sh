# Looks for published advisories against the oldest dependencies that pyproject.toml allows, and against the locks.
# What cannot be reached is skipped, and said.
set -eu
venv=$1
test -x "$venv/bin/python" || "$(sh tools/pythons.sh | sed -n 1p)" -m venv "$venv"
test -x "$venv/bin/pip-audit" && test -x "$venv/bin/uv" \
  || "$venv/bin/python" -m pip --disable-pip-version-check --quiet install "pip-audit>=2.9,<3" uv \
  || { echo "audit: skipped: pip-audit cannot be installed here"; exit 0; }
"$venv/bin/uv" pip compile --quiet --resolution lowest-direct --all-extras --no-emit-package tokenguard-oauth \
  --output-file "$venv/floor.txt" pyproject.toml
"$venv/bin/python" tools/audit.py "$venv/bin/pip-audit" "$venv/floor.txt" dev.lock docs.lock proxies.lock
