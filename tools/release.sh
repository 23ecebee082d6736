# Builds what is published, into dist/: the sdist and the wheel, their bill of materials, and a statement of their origin.
#
# Each is built twice, from a copy of the commit alone, and has to be the same octet by octet. Publishing is the last step and
# is done by hand: `twine upload dist/*.whl dist/*.tar.gz`.
set -eu
venv=$1
test -z "$(git status --porcelain --untracked-files=no)" || { echo "release: commit first" >&2; exit 1; }
commit=$(git rev-parse HEAD)
# Hatchling writes this time into both archives, in place of today's.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for turn in 1 2; do
  mkdir "$work/$turn"
  git archive "$commit" | tar -x -C "$work/$turn"
  # The wheel is built from the sdist, as whoever installs from the sdist builds it.
  "$venv/bin/python" -m build --quiet --no-isolation --outdir "$work/$turn/out" "$work/$turn"
done
diff -r "$work/1/out" "$work/2/out" || { echo "release: two builds of one commit differ" >&2; exit 1; }
rm -rf dist
mkdir dist
cp "$work"/1/out/* dist/
"$venv/bin/twine" check --strict dist/*
# The bill of materials of an environment that has the wheel and nothing but what it needs.
python3=$("$venv/bin/python" -c 'import sys; print(sys.executable)')
"$python3" -m venv "$work/runtime"
"$work/runtime/bin/python" -m pip --disable-pip-version-check --quiet install dist/*.whl
"$venv/bin/cyclonedx-py" environment --output-reproducible --of JSON --pyproject pyproject.toml -o dist/sbom.cdx.json "$work/runtime/bin/python" 2>/dev/null
"$venv/bin/python" tools/provenance.py "$commit" dist
ls -l dist
