# Runs the tests on each Python from 3.11 that is here, each in a virtual environment of its own.
# SKIP=3.13 leaves that one out, after it was tested by itself. JOBS=2 runs all at once, and shows what each said when it ends.
# LESS=1 leaves out the tests that follow documents, or drive programs of others and our own benchmarks: these say the same on
# each Python, and take half of the time.
set -u
failed=0
versions=
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
less=
if test -n "${LESS:-}"; then
  for place in documents interop gateway/test_proxies.py gateway/test_demo_gateway.py cli/test_demo.py package/test_soak.py \
    package/test_bench_smoke.py; do
    less="$less --ignore tests/$place"
  done
fi
# Without coverage: it is measured once, by `make coverage`.
run() { make --no-print-directory VENV=".venv-$1" PYTHON="$2" ARGS="--quiet$less" test; }
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
