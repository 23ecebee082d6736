# Runs the tests on each Python from 3.11 that is here, each in a virtual environment of its own.
# SKIP=3.13 leaves that one out, after it was tested by itself. LESS=1 leaves out the tests that follow documents, drive programs
# of others and our own benchmarks, or search for secrets in all that is shown: these say the same on each Python, and take half
# of the time.
set -u
failed=0
less=
if test -n "${LESS:-}"; then
  for place in adapters/test_leaks.py documents interop gateway/test_proxies.py gateway/test_demo_gateway.py cli/test_demo.py \
    package/test_soak.py package/test_bench_smoke.py; do
    less="$less --ignore tests/$place"
  done
fi
for python in $(sh tools/pythons.sh); do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  test "$version" = "${SKIP:-}" && continue
  echo "== Python $version"
  # Without coverage: it is measured once, by `make coverage`.
  make --no-print-directory VENV=".venv-$version" PYTHON="$python" ARGS="--quiet$less" test || failed=1
done
exit $failed
