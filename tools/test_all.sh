# Runs the tests on each Python from 3.11 that is here, each in a virtual environment of its own.
# SKIP=3.13 leaves that one out, for who has just tested it.
set -u
failed=0
for python in $(sh tools/pythons.sh); do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  test "$version" = "${SKIP:-}" && continue
  echo "== Python $version"
  # Without coverage: it is measured once, by `make coverage`.
  make --no-print-directory VENV=".venv-$version" PYTHON="$python" ARGS="--quiet" test || failed=1
done
exit $failed
