# Runs the tests on each Python from 3.11 that is here, each in a virtual environment of its own.
# SKIP=3.13 leaves that one out, for who has just tested it. JOBS=2 runs all at once, and shows what each said when it ends.
set -u
failed=0
versions=
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# Without coverage: it is measured once, by `make coverage`.
run() { make --no-print-directory VENV=".venv-$1" PYTHON="$2" ARGS="--quiet" test; }
for python in $(sh tools/pythons.sh); do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  test "$version" = "${SKIP:-}" && continue
  if test "${JOBS:-1}" = 1; then
    echo "== Python $version"
    run "$version" "$python" || failed=1
  else
    versions="$versions $version"
    { run "$version" "$python"; echo $? > "$logs/$version.code"; } > "$logs/$version.log" 2>&1 &
  fi
done
wait
for version in $versions; do
  echo "== Python $version"
  cat "$logs/$version.log"
  test "$(cat "$logs/$version.code")" = 0 || failed=1
done
exit $failed
