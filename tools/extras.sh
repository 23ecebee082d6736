# Installs each extra alone into an empty environment, on each Python that is here, and imports what it is for.
#
# EXTRA=django does one. A module that needs a framework which its extra does not bring fails here and nowhere else: every
# other environment has all of them.
set -eu
wheel=$(ls dist/*.whl)
modules() {
  case $1 in
    starlette | fastapi | flask | redis | requests | django | drf | grpc | mcp | fastmcp | aiohttp | litestar) echo "tokenguard.$1" ;;
    otel) echo "opentelemetry.metrics tokenguard.otel" ;; # the module itself imports without
    cli) echo "typer tokenguard.cli" ;;                   # so do these two, to say which extra is missing
    gateway) echo "typer uvicorn tokenguard.cli tokenguard.gateway" ;;
    fast) echo "pybase64 tokenguard" ;;
    all) for one in starlette fastapi flask redis otel cli fast; do modules "$one"; done ;;
    "") echo "tokenguard tokenguard.asgi tokenguard.wsgi tokenguard.testing tokenguard.client tokenguard.httpx tokenguard.routes tokenguard.observe" ;;
    *) echo "unknown_extra_$1" ;; # a row is missing here
  esac
}
extras=$(sed -n '/^\[project.optional-dependencies\]/,/^$/s/^\([a-z0-9-]*\) = .*/\1/p' pyproject.toml)
names=${EXTRA-"- $extras"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
for python in $(sh tools/pythons.sh); do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  for name in $names; do
    extra=${name#-}
    rm -rf "$work/venv"
    "$1" venv --quiet --python "$python" "$work/venv"
    "$1" pip install --quiet --python "$work/venv/bin/python" "tokenguard-oauth${extra:+[$extra]} @ file://$PWD/$wheel" || { failed=1; continue; }
    code="$(for module in $(modules "$extra"); do echo "import $module"; done)"
    if (cd "$work" && "$work/venv/bin/python" -W error -c "$code"); then
      echo "$version ${extra:-(none)}: ok"
    else
      echo "$version ${extra:-(none)}: failed"; failed=1
    fi
  done
done
exit $failed
